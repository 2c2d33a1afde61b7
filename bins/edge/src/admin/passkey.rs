//! `edge admin passkey …`.

use clap::Subcommand;
use tunnel_edge::socket::{
    Administration, Answer, PASSKEY_PREFIX_MIN, PasskeyList, PasskeyStatus, PasskeysRemoved, RemovePasskeys,
    WhosePasskeys,
};
use tunnel_proto::EmailAddress;

use super::{
    output::{clean, table, when},
    show,
};

/// The most digits of a passkey's number.
const NUMBER_MAX: usize = 64;
/// How many of them are shown in a list.
const NUMBER_SHOWN: usize = 12;

/// What `edge admin passkey` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum PasskeyCommand {
    /// List passkeys, with whose they are and when they were last used
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only those of everybody who is known by this address
        email: Option<EmailAddress>,
    },
    /// Take passkeys away from somebody, whoever vouches for them: what a passkey has open ends, and it logs in no more
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// The address: all passkeys of everybody who is known by it
        email: EmailAddress,
        /// Only the one whose number begins so (at least 8 digits), as the list shows it
        #[arg(value_name = "ID", value_parser = number)]
        id: Option<String>,
    },
}

const LIST_EXAMPLES: &str = "Examples:
  edge admin passkey list
  edge admin passkey list ann@example.com --json";

const REMOVE_EXAMPLES: &str = "Examples:
  edge admin passkey remove ann@example.com
  edge admin passkey remove ann@example.com 5f0c2d9a7b41";

pub(super) async fn perform(command: PasskeyCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        PasskeyCommand::List { email } => {
            let list = office.passkeys(WhosePasskeys { email }).await?;
            show(json, &list, || listed(&list))
        }
        PasskeyCommand::Remove { email, id } => {
            let removed = office.remove_passkeys(RemovePasskeys { email, id }).await?;
            show(json, &removed, || words(&removed))
        }
    }
}

fn listed(list: &PasskeyList) -> String {
    let rows = list.passkeys.iter().map(|passkey| {
        let used = passkey.used.map_or_else(|| "-".to_owned(), when);
        let (email, method) = (passkey.email.to_string(), passkey.method.to_string());
        let (issuer, label) = (clean(&passkey.issuer), clean(&passkey.label));
        vec![email, method, issuer, label, shown(passkey), when(passkey.created), used]
    });
    let table = table(&["PERSON", "BY", "VOUCHED FOR BY", "PASSKEY", "ID", "SINCE", "LAST USED"], rows);
    if !list.truncated {
        return table;
    }
    format!("{table}\nthere are more than these {}; give an address to see those of one person", list.passkeys.len())
}

fn words(removed: &PasskeysRemoved) -> String {
    let mut lines: Vec<_> = removed
        .passkeys
        .iter()
        .map(|passkey| {
            let (email, label, issuer) = (&passkey.email, clean(&passkey.label), clean(&passkey.issuer));
            format!("removed: `{label}` ({}) of `{email}`, vouched for by {issuer}", shown(passkey))
        })
        .collect();
    let (email, count, sessions) = (&removed.email, removed.passkeys.len(), removed.sessions);
    lines.push(format!("`{email}`: passkeys removed: {count}, sessions ended: {sessions}"));
    lines.join("\n")
}

/// The beginning of a passkey's number.
fn shown(passkey: &PasskeyStatus) -> String {
    passkey.id.get(..NUMBER_SHOWN).unwrap_or(&passkey.id).to_owned()
}

fn number(text: &str) -> Result<String, String> {
    let digits = text.to_ascii_lowercase();
    let length = PASSKEY_PREFIX_MIN..=NUMBER_MAX;
    if !length.contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!(
            "give at least {PASSKEY_PREFIX_MIN} digits of the number that `edge admin passkey list` shows"
        ));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use tunnel_proto::{PersonId, UnixTime};

    use super::*;

    #[test]
    fn a_list_that_is_cut_says_so_in_words_and_to_programs() {
        let passkey = PasskeyStatus {
            id: "cd".repeat(32),
            person: PersonId::from_bytes([1; 16]),
            email: "ann@example.com".parse().unwrap(),
            method: "pin".parse().unwrap(),
            issuer: "mailbox".into(),
            label: "Laptop".into(),
            created: UnixTime(0),
            used: None,
        };
        let list = |truncated| PasskeyList { passkeys: vec![passkey.clone()], truncated };
        assert_eq!(listed(&list(false)).lines().count(), 2);
        let cut = listed(&list(true));
        assert!(cut.lines().count() == 3 && cut.contains("more than these 1"), "{cut}");
        assert_eq!(serde_json::to_value(list(true)).unwrap()["truncated"], true);
    }
}
