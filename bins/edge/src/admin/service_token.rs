//! `edge admin service-token …`.

use std::time::Duration;

use clap::Subcommand;
use tunnel_edge::{
    service_tokens::{GRACE_DEFAULT, GRACE_MAX, LIFE_DEFAULT, LIFE_MAX},
    socket::{Administration, Answer, CreateServiceToken, NamedServiceToken, RotateServiceToken, ServiceTokenIssued},
};
use tunnel_proto::Name;

use super::{
    output::{table, when},
    show,
};

/// What `edge admin service-token` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceTokenCommand {
    /// Make a token by which a machine is admitted where a `service_auth` policy says so; its secret is shown once
    Create {
        /// Its name, by which policies mean it
        name: Name,
        /// How long it counts, in hours or days: 12h, 365d
        #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = life)]
        duration: Duration,
    },
    /// List the tokens
    List,
    /// Give a token another secret; the present one goes on counting for a while
    Rotate {
        /// The token
        name: Name,
        /// How long the present secret goes on counting: 0s cuts it off now
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = grace)]
        grace: Duration,
        /// How long the token counts from now on, if that is to change
        #[arg(long, value_name = "DURATION", value_parser = life)]
        duration: Option<Duration>,
    },
    /// Delete a token: it opens nothing any more, and what it opened ends
    Delete {
        /// The token
        name: Name,
    },
}

pub(super) async fn perform(command: ServiceTokenCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        ServiceTokenCommand::Create { name, duration } => {
            let issued = office.create_service_token(CreateServiceToken { name, life: duration.as_secs() }).await?;
            show(json, &issued, || words(&issued))
        }
        ServiceTokenCommand::Rotate { name, grace, duration } => {
            let life = duration.map(|life| life.as_secs());
            let request = RotateServiceToken { name, grace: grace.as_secs(), life };
            let issued = office.rotate_service_token(request).await?;
            show(json, &issued, || words(&issued))
        }
        ServiceTokenCommand::List => {
            let tokens = office.service_tokens().await?;
            show(json, &tokens, || {
                let rows = tokens.iter().map(|token| {
                    let previous = token.previous_until.map_or_else(|| "-".to_owned(), when);
                    let (made, ends) = (when(token.created), when(token.expires));
                    vec![token.name.to_string(), token.id.clone(), made, ends, previous]
                });
                table(&["NAME", "ID", "SINCE", "UNTIL", "OLD SECRET UNTIL"], rows)
            })
        }
        ServiceTokenCommand::Delete { name } => {
            office.delete_service_token(NamedServiceToken { name: name.clone() }).await?;
            show(json, &serde_json::json!({ "deleted": name }), || format!("service token `{name}` is deleted"))
        }
    }
}

fn words(issued: &ServiceTokenIssued) -> String {
    format!(
        "service token `{}`, good until {}\n  id      {}\n  secret  {}\nThe secret is shown this once. Admit the token by \
         a policy with `action: service_auth`.",
        issued.name,
        when(issued.expires),
        issued.id,
        issued.secret
    )
}

fn life(text: &str) -> Result<Duration, String> {
    duration(text, LIFE_DEFAULT, LIFE_MAX).and_then(|life| match life.as_secs() {
        0 => Err("a service token counts for a while".to_owned()),
        _ => Ok(life),
    })
}

fn grace(text: &str) -> Result<Duration, String> {
    duration(text, GRACE_DEFAULT, GRACE_MAX)
}

/// Reads `30s`, `15m`, `24h` or `90d`.
fn duration(text: &str, usual: Duration, most: Duration) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => 0,
    };
    let wrong = || format!("`{text}` is not a duration: write for example {}h or 30d", usual.as_secs() / 3600);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let read = number.checked_mul(seconds).map(Duration::from_secs).filter(|_| seconds > 0).ok_or_else(wrong)?;
    if read > most { Err(format!("at most {} days", most.as_secs() / 86400)) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_limits() {
        assert_eq!(life("365d"), Ok(LIFE_DEFAULT));
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        for bad in ["", "h", "24", "1w", "-1h", "3651d", "0d", "99999999999999999999d"] {
            assert!(life(bad).is_err(), "{bad}");
        }
        assert!(grace("31d").is_err());
    }
}
