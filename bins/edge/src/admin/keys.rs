//! `edge admin keys …`.

use clap::Subcommand;
use tunnel_edge::socket::{Administration, Answer, KeyStatus, RotateKeys};

use super::{
    output::{table, when},
    show,
};

/// What `edge admin keys` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys that sign assertions, those that will, and those that did
    List,
    /// Make other keys that sign assertions; the present ones stay published for a week
    Rotate {
        /// Withdraw the present ones at once, because they are in the wrong hands: what they signed is believed no more
        #[arg(long)]
        revoke_now: bool,
    },
}

pub(super) async fn perform(command: KeysCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    let keys = match command {
        KeysCommand::List => office.keys().await?,
        KeysCommand::Rotate { revoke_now } => office.rotate_keys(RotateKeys { revoke_now }).await?,
    };
    show(json, &keys, || words(&keys))
}

fn words(keys: &[KeyStatus]) -> String {
    let rows = keys.iter().map(|key| {
        let (algorithm, state) = (key.algorithm.to_string(), key.state.as_str().to_owned());
        vec![key.id.clone(), algorithm, state, when(key.since), when(key.until)]
    });
    table(&["ID", "ALGORITHM", "STATE", "SINCE", "UNTIL"], rows)
}
