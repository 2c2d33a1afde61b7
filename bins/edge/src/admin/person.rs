//! `edge admin person …`.

use clap::Subcommand;
use tunnel_edge::socket::{Administration, Answer, BanPerson, UnbanPerson};
use tunnel_proto::EmailAddress;

use super::{
    output::{clean, table, when},
    show,
};

/// What `edge admin person` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum PersonCommand {
    /// List everybody who has ever logged in, the last first
    List,
    /// Let somebody in by nothing any more: their sessions end, and they cannot log in
    Ban {
        /// The e-mail address
        email: EmailAddress,
        /// Why, for other administrators
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Lift a ban
    Unban {
        /// The e-mail address
        email: EmailAddress,
    },
}

pub(super) async fn perform(command: PersonCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        PersonCommand::List => {
            let people = office.people().await?;
            show(json, &people, || {
                let rows = people.iter().map(|person| {
                    let banned = person.banned.map_or_else(|| "-".to_owned(), when);
                    let (email, method) = (person.email.to_string(), person.method.to_string());
                    let issuer = clean(&person.issuer);
                    // Refused by the provider since.
                    let seen = if person.seen.0 == 0 { "-".to_owned() } else { when(person.seen) };
                    vec![email, method, issuer, seen, person.sessions.to_string(), banned]
                });
                table(&["PERSON", "BY", "VOUCHED FOR BY", "LAST LOGIN", "SESSIONS", "BANNED SINCE"], rows)
            })
        }
        PersonCommand::Ban { email, reason } => {
            let banned = office.ban(BanPerson { email, reason }).await?;
            show(json, &banned, || format!("`{}` is banned; sessions ended: {}", banned.email, banned.ended))
        }
        PersonCommand::Unban { email } => {
            office.unban(UnbanPerson { email: email.clone() }).await?;
            show(json, &serde_json::json!({ "email": email }), || format!("`{email}` may log in again"))
        }
    }
}
