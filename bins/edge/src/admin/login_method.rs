//! `edge admin login-method …`.

mod guide;

use clap::{Subcommand, ValueEnum};
use tunnel_edge::socket::{
    Administration, Answer, LastLogin, LoginTestBegun, LoginTestQuery, LoginTestResult, NamedLoginMethod, problem,
};
use tunnel_proto::Name;

use super::{
    output::{clean, table, when},
    show,
};

/// What `edge admin login-method` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum LoginMethodCommand {
    /// List the login methods, with the addresses to register at their providers
    List,
    /// Show what to set up at the provider of a method
    Show {
        /// The method
        name: Name,
        /// In which language
        #[arg(long, value_name = "LANG", value_enum, default_value = "en")]
        lang: Language,
    },
    /// Log in at the provider of a method without logging anybody in, and show who that would be; without a provider, show
    /// who last logged in by it
    Test {
        /// The method
        name: Name,
    },
}

/// A language of the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// English
    En,
    /// Japanese
    Ja,
}

pub(super) async fn perform(command: LoginMethodCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        LoginMethodCommand::List => {
            let methods = office.login_methods().await?;
            show(json, &methods, || {
                let rows = methods.iter().map(|method| {
                    let addresses = method.redirect_uris.join(" ");
                    let addresses = if addresses.is_empty() { "-".to_owned() } else { addresses };
                    vec![method.name.to_string(), method.r#type.clone(), addresses]
                });
                table(&["NAME", "TYPE", "REDIRECT URI"], rows)
            })
        }
        LoginMethodCommand::Show { name, lang } => {
            let methods = office.login_methods().await?;
            let method = methods.into_iter().find(|method| method.name == name).ok_or_else(|| unknown(&name))?;
            show(json, &method, || guide::text(&method, lang))
        }
        LoginMethodCommand::Test { name } => test(office, name, json).await,
    }
}

fn unknown(name: &Name) -> tunnel_proto::enrol::EnrolProblem {
    let text = format!("there is no login method `{name}`; `edge admin login-method list` shows those there are");
    problem("unknown_login_method", text)
}

/// Prints a link, waits for whoever opens it, and shows what came of it.
async fn test(office: &dyn Administration, name: Name, json: bool) -> Answer<()> {
    let methods = office.login_methods().await?;
    let method = methods.iter().find(|method| method.name == name).ok_or_else(|| unknown(&name))?;
    if method.redirect_uris.is_empty() {
        // Nobody is sent anywhere by it, so that nothing can be tried without a login.
        let last = office.last_login(NamedLoginMethod { name }).await?;
        return show(json, &last, || last_words(&last));
    }
    let LoginTestBegun { id, url, seconds } = office.begin_login_test(NamedLoginMethod { name }).await?;
    // Data is the result; the link is on the way to it.
    eprintln!("Open this in a browser and log in there; it works once, for {} minutes:\n\n  {url}\n", seconds / 60);
    eprintln!("Nobody is logged in by it. Waiting …");
    let outcome = loop {
        let LoginTestResult { outcome } = office.login_test(LoginTestQuery { id: id.clone() }).await?;
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    show(json, &outcome, || {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("{name:<10}{}", clean(&value))));
        };
        let list = |list: &[String]| if list.is_empty() { "(none)".to_owned() } else { list.join(", ") };
        line("issuer", outcome.issuer.clone());
        line("subject", outcome.subject.clone());
        let why = outcome.email_claim.iter().zip(&outcome.email_accepted).next();
        let why = why.map(|(claim, why)| format!(" (from `{claim}`: {why})")).unwrap_or_default();
        line("e-mail", outcome.email.as_ref().map(|email| format!("{email}{why}")));
        if outcome.subject.is_some() {
            line("groups", Some(list(&outcome.groups)));
            line("amr", Some(list(&outcome.amr)));
        }
        for organization in &outcome.github {
            let teams = if organization.teams.is_empty() {
                String::new()
            } else {
                format!(": {}", organization.teams.join(", "))
            };
            line("github", Some(format!("{}{teams}", organization.name)));
        }
        for (name, value) in &outcome.claims {
            line("claim", Some(format!("{name} = {value}")));
        }
        for why in &outcome.refused {
            line("refused", Some(why.clone()));
        }
        lines.join("\n")
    })?;
    if outcome.refused.is_empty() {
        return Ok(());
    }
    Err(problem("test_refused", format!("`{}` would let nobody in by this", outcome.method)))
}

fn last_words(last: &LastLogin) -> String {
    let Some(who) = &last.who else {
        return format!("nobody is known who has logged in by `{}`: do so at {}", last.method, last.url);
    };
    let amr = if who.amr.is_empty() { "(none)".to_owned() } else { who.amr.join(", ") };
    let lines = [
        ("person", who.person.to_string()),
        ("issuer", who.issuer.clone()),
        ("subject", who.subject.clone()),
        ("e-mail", who.email.to_string()),
        ("amr", amr),
        ("when", when(who.at)),
    ];
    let lines = lines.iter().map(|(name, value)| format!("\n{name:<10}{}", clean(value)));
    format!("the last login by `{}`:{}", last.method, lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use tunnel_edge::socket::{LoggedIn, LoginMethodStatus};
    use tunnel_proto::{PersonId, UnixTime};

    use super::*;

    pub(super) fn status(kind: &str) -> LoginMethodStatus {
        LoginMethodStatus {
            name: "work".parse().unwrap(),
            r#type: kind.to_owned(),
            redirect_uris: vec!["https://access.example.com/.access/callback/work".into()],
            issuer: Some("https://id.example.com/realms/x".into()),
            client_id: Some("edge".into()),
            scopes: vec!["openid".into(), "email".into(), "profile".into()],
            tenant: Some("8f0b6b1e-5c1d-4c0a-9d39-1f2f3a4b5c6d".into()),
            groups: true,
            hosted_domain: None,
        }
    }

    #[test]
    fn a_method_without_a_provider_shows_its_last_login_or_where_to_log_in() {
        let url = "https://access.example.com/.access/account".to_owned();
        let mut last = LastLogin { method: "pin".parse().unwrap(), url, who: None };
        let nobody = "nobody is known who has logged in by `pin`: do so at https://access.example.com/.access/account";
        assert_eq!(last_words(&last), nobody);
        last.who = Some(LoggedIn {
            person: PersonId::from_bytes([4; 16]),
            issuer: "mailbox".into(),
            subject: "ann@example.com".into(),
            email: "ann@example.com".parse().unwrap(),
            amr: vec!["otp".into()],
            at: UnixTime(0),
        });
        let words = last_words(&last);
        for line in
            ["issuer    mailbox", "subject   ann@example.com", "amr       otp", "when      1970-01-01T00:00:00Z"]
        {
            assert!(words.lines().any(|found| found == line), "{line}: {words}");
        }
    }
}
