//! `edge policy …`: tries policies out.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tunnel_edge::{
    declare,
    socket::{
        Administration, Answer, Explain, ExplainedRecord, PolicyTested, Replay, Replayed, TestPolicy, Tested, Who,
        problem,
    },
};
use tunnel_policy::{Attributes, Country, GithubOrganization};
use tunnel_proto::{EmailAddress, Name, UnixTime};

use crate::admin::{
    office,
    output::{clean, table, when},
    show,
};

/// What `edge policy` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Whether somebody would get in, and why, rule by rule
    #[command(after_help = TEST_EXAMPLES)]
    Test(Box<Test>),
    /// What became of a request, by the reference that its page showed
    Explain {
        /// The reference, such as 7F3A-92C1-E08B
        reference: String,
    },
    /// Make past decisions again: what would have differed
    Replay {
        /// By a declaration laid over what is declared; without one, by what is declared now
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// As if what the file does not mention were removed
        #[arg(long, requires = "file")]
        prune: bool,
        /// How far back, in hours or days
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
        since: Duration,
    },
}

const TEST_EXAMPLES: &str = "Examples:
  edge policy test --application www --email ann@example.com --ip 203.0.113.9
  edge policy test --application www --email ann@example.com --method entra --group staff
  edge policy test --application www --everyone
  edge policy test --application rdp --email ann@example.com --destination 192.168.1.29:3389";

/// Who would ask for what.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The application
    #[arg(long, value_name = "NAME")]
    application: Name,
    /// Somebody with this address
    #[arg(long, value_name = "EMAIL", group = "who", required_unless_present_any = ["everyone", "nobody", "service_token"])]
    email: Option<EmailAddress>,
    /// Everybody who has ever logged in
    #[arg(long, group = "who")]
    everyone: bool,
    /// Somebody who has not logged in
    #[arg(long, group = "who")]
    nobody: bool,
    /// A machine with this service token
    #[arg(long, value_name = "NAME", group = "who")]
    service_token: Option<Name>,
    /// The login method; without it, as the person last logged in
    #[arg(long, value_name = "NAME", requires = "email")]
    method: Option<Name>,
    /// A group that the provider would name (repeatable)
    #[arg(long, value_name = "GROUP", requires = "method")]
    group: Vec<String>,
    /// How the person would have authenticated, such as mfa (repeatable)
    #[arg(long, value_name = "AMR", requires = "method")]
    auth_method: Vec<String>,
    /// A GitHub organisation, or a team in one (repeatable)
    #[arg(long, value_name = "ORG[/TEAM]", requires = "method")]
    github: Vec<String>,
    /// A claim that the provider would make (repeatable)
    #[arg(long, value_name = "NAME=VALUE", requires = "method", value_parser = claim)]
    claim: Vec<(String, String)>,
    /// An external evaluation that would say yes, by where it is asked (repeatable); nobody is asked for a test
    #[arg(long, value_name = "URL", conflicts_with_all = ["nobody", "service_token"])]
    evaluation: Vec<String>,
    /// The address that they would come from
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The country, in place of the one that the address is in
    #[arg(long, value_name = "COUNTRY")]
    country: Option<Country>,
    /// When (RFC 3339), such as 2026-11-26T09:00:00+09:00; now without it
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<UnixTime>,
    /// Where a stream of a bastion would lead
    #[arg(long, value_name = "ADDRESS:PORT")]
    destination: Option<SocketAddr>,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn moment(text: &str) -> Result<UnixTime, String> {
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write a time such as 2026-11-26T09:00:00+09:00".to_owned())?;
    u64::try_from(moment.unix_timestamp()).map(UnixTime).map_err(|_| "a time before 1970".to_owned())
}

/// Reads `12h` or `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write for example 12h or 30d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "h" => 3600,
        "d" => 86400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(scale).map(Duration::from_secs).ok_or_else(wrong)
}

impl Test {
    fn request(self) -> TestPolicy {
        let organization = |text: String| {
            let text = text.to_ascii_lowercase();
            match text.split_once('/') {
                Some((name, team)) => GithubOrganization { name: name.to_owned(), teams: vec![team.to_owned()] },
                None => GithubOrganization { name: text, teams: Vec::new() },
            }
        };
        let attributes = Attributes {
            amr: self.auth_method,
            groups: self.group,
            github: self.github.into_iter().map(organization).collect(),
            claims: self.claim.into_iter().map(|(name, value)| (name, value.into())).collect(),
            ..Attributes::default()
        };
        let who = match (self.email, self.service_token) {
            (Some(email), _) => Who::Person { email, method: self.method, attributes: Box::new(attributes) },
            (None, Some(name)) => Who::Service(name),
            (None, None) if self.nobody => Who::Nobody,
            (None, None) => Who::Everyone,
        };
        TestPolicy {
            application: self.application,
            who,
            source: self.ip,
            country: self.country,
            at: self.at,
            destination: self.destination,
            evaluations: self.evaluation,
        }
    }
}

/// Runs a command. 0: they would get in, or the command did what it should; 3: somebody would not.
pub(crate) async fn run(command: PolicyCommand, data_dir: &Path, json: bool) -> ExitCode {
    match perform(command, data_dir, json).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(problem) => {
            eprintln!("edge: {}", clean(&problem.message));
            ExitCode::FAILURE
        }
    }
}

async fn perform(command: PolicyCommand, data_dir: &Path, json: bool) -> Answer<bool> {
    let office = office(data_dir).await?;
    match command {
        PolicyCommand::Test(test) => {
            let everyone = test.everyone;
            let tested = office.test_policy(test.request()).await?;
            show(json, &tested, || if everyone { many(&tested) } else { each(&tested) })?;
            Ok(everyone || tested.admitted > 0)
        }
        PolicyCommand::Explain { reference } => explain(&*office, reference, json).await.map(|()| true),
        PolicyCommand::Replay { file, prune, since } => {
            let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
            let since = UnixTime(now.saturating_sub(since.as_secs()));
            let declaration = file.map(|file| read(&file, prune)).transpose()?;
            let replayed = office.replay(Replay { declaration, since }).await?;
            show(json, &replayed, || differences(&replayed))?;
            Ok(true)
        }
    }
}

fn read(file: &Path, prune: bool) -> Answer<declare::Request> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| problem("bad_request", format!("`{}` cannot be read: {error}", file.display())))?;
    let secrets = crate::declare::named(file, &text).map_err(|error| problem("bad_request", error))?;
    Ok(declare::Request { file: file.display().to_string(), text, secrets, dry_run: true, prune })
}

fn each(tested: &PolicyTested) -> String {
    let one = |one: &Tested| {
        let verdict = if one.admitted { "would get in" } else { "would be turned away" };
        let source = if one.source.is_unspecified() { String::new() } else { format!(" from {}", one.source) };
        format!("{}{source} {verdict}: {}\n{}", one.who, one.why, one.explanation)
    };
    clean_lines(&tested.tested.iter().map(one).collect::<Vec<_>>().join("\n\n"))
}

fn many(tested: &PolicyTested) -> String {
    let of = tested.tested.len();
    let share = tested.admitted.saturating_mul(100).checked_div(of).unwrap_or(0);
    let rows = tested.tested.iter().map(|one| {
        let verdict = if one.admitted { "in" } else { "turned away" };
        vec![one.who.clone(), one.source.to_string(), verdict.to_owned(), one.why.clone()]
    });
    let summary =
        format!("{} of {of} known people ({share} %) would get into `{}`", tested.admitted, tested.application);
    if of == 0 {
        return "nobody is known yet: nobody has logged in".to_owned();
    }
    format!("{}\n{summary}", table(&["PERSON", "LAST FROM", "VERDICT", "WHY"], rows))
}

async fn explain(office: &dyn Administration, reference: String, json: bool) -> Answer<()> {
    let explained = office.explain(Explain { reference }).await?;
    show(json, &explained, || {
        let record = |one: &ExplainedRecord| {
            let record = &one.record;
            let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let source = record.source.map_or_else(|| "-".to_owned(), |source| source.to_string());
            let (at, event) = (when(record.at), record.event.as_str());
            let (actor, object) = (or_dash(&record.actor), or_dash(&record.object));
            let detail = or_dash(&record.detail);
            let mut text = format!("{at}  {event}\n  who    {actor}\n  from   {source}\n  about  {object}\n{detail}");
            if let Some(today) = &one.today {
                let verdict = if today.admitted { "admitted" } else { "turned away" };
                text += &format!("\nBy today's policies: {verdict}: {}\n{}", today.why, today.explanation);
            }
            text
        };
        clean_lines(&explained.records.iter().map(record).collect::<Vec<_>>().join("\n\n"))
    })
}

fn differences(replayed: &Replayed) -> String {
    let rows = replayed.differences.iter().map(|one| {
        let verdict = |admitted| if admitted { "in" } else { "turned away" }.to_owned();
        let reference = one.reference.clone().unwrap_or_else(|| "-".to_owned());
        let (was, would) = (verdict(one.was), verdict(one.would));
        vec![
            one.who.clone(),
            one.application.to_string(),
            was,
            would,
            one.count.to_string(),
            when(one.last),
            one.source.to_string(),
            reference,
            one.why.clone(),
        ]
    });
    let mut text = format!("{} decisions since {}", replayed.decisions, when(replayed.since));
    if replayed.gone > 0 {
        text += &format!("; {} about applications that would not be there", replayed.gone);
    }
    if replayed.differences.is_empty() {
        return format!("{text}: none would have come out otherwise");
    }
    let headings = ["PERSON", "APPLICATION", "WAS", "WOULD BE", "TIMES", "LAST", "FROM", "REFERENCE", "WHY"];
    format!("{}\n{text}", table(&headings, rows))
}

/// Lines that strangers may have had a hand in, each made harmless.
fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}
