//! `edge admin user …`.

use clap::Subcommand;
use tunnel_edge::socket::{Administration, Answer, InviteUser, NamedUser, UserInvited};
use tunnel_proto::EmailAddress;

use super::{
    output::{clean, table, when},
    show,
};

/// What `edge admin user` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a link by which somebody joins, once: they make a passkey there, and log in by it from then on
    Invite {
        /// Their address, by which policies know them
        email: EmailAddress,
        /// Their name, for their device to show
        #[arg(long)]
        name: Option<String>,
    },
    /// List everybody who was invited
    List,
    /// Remove somebody who was invited: their passkeys and links are deleted, and their sessions end
    Remove {
        /// Their address
        email: EmailAddress,
    },
    /// Make a new link for somebody who was invited; their passkeys are deleted, and their sessions end
    Reset {
        /// Their address
        email: EmailAddress,
    },
}

pub(super) async fn perform(command: UserCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        UserCommand::Invite { email, name } => {
            let invited = office.invite_user(InviteUser { email, name }).await?;
            issued(&invited, json)
        }
        UserCommand::Reset { email } => {
            let invited = office.reset_user(NamedUser { email }).await?;
            issued(&invited, json)
        }
        UserCommand::List => {
            let users = office.users().await?;
            show(json, &users, || {
                let or_dash = |at: Option<_>| at.map_or_else(|| "-".to_owned(), when);
                let rows = users.iter().map(|user| {
                    let (joined, used) = (or_dash(user.joined), or_dash(user.used));
                    let passkeys = user.passkeys.to_string();
                    vec![user.email.to_string(), joined, passkeys, used, or_dash(user.invited_until)]
                });
                table(&["PERSON", "SINCE", "PASSKEYS", "LAST USED", "LINK UNTIL"], rows)
            })
        }
        UserCommand::Remove { email } => {
            let removed = office.remove_user(NamedUser { email }).await?;
            show(json, &removed, || {
                format!(
                    "`{}` is removed; passkeys deleted: {}, sessions ended: {}",
                    removed.email, removed.passkeys, removed.sessions
                )
            })
        }
    }
}

/// The link alone on standard output, so that it can be passed on; the rest beside it.
fn issued(invited: &UserInvited, json: bool) -> Answer<()> {
    show(json, invited, || invited.url.clone())?;
    if !json {
        eprintln!(
            "Whoever opens it first, by {}, becomes `{}`: pass it on by a way that nobody else reads.",
            when(invited.expires),
            invited.email
        );
        if let Some(warning) = &invited.warning {
            eprintln!("Note: {}", clean(warning));
        }
    }
    Ok(())
}
