//! Declaring by file: `edge apply`, `edge export` and `edge check`, as functions on a store.
//!
//! [`apply`] reads `access.yaml`, refuses what it does not understand by name and position, works out what would change,
//! and stores that in one transaction with its audit records, or nothing at all. [`export`] writes the file that `apply`
//! would find nothing to change with. [`check`] says whether what is stored can be served.
//!
//! Things are found again by kind and name, and keep their ids. What the file does not mention stays, unless pruning was
//! asked for; pruning removes only from the sections that the file has. A tunnel without `hostnames` keeps its routes.
//!
//! A secret is never written into the file, but as `{file: …}` or `{env: …}`, which the process that runs `edge apply`
//! resolves ([`references`]), or as `{unchanged: true}`, which is what [`export`] writes. It is sealed before it is stored,
//! and no door gives it out again.

mod cors;
mod countries;
mod diff;
mod fields;
mod method_view;
mod methods;
mod plan;
mod problem;
mod read;
mod rules;
mod scalar;
mod secrets;
mod sessions;
mod view;
mod warning;
mod yaml;

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};
use tunnel_proto::{Revision, UnixTime};

use crate::{
    keys::Keys,
    snapshot::{BuiltIn, Snapshot},
    store::{AuditEvent, AuditRecord, CertificateHolder, Declared, Store, StoreError},
};

pub(crate) use diff::changes;
pub use diff::{Change, FieldChange, What};
pub use problem::{Problem, Problems};
pub use secrets::{Reference, SecretText, Secrets, Source, VALUE_MAX, VALUES_MAX, references};

/// What is asked of [`apply`]. Serde, because it also travels over the edge's own socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What the file is called, for messages.
    pub file: String,
    /// What it says.
    pub text: String,
    /// What it names: the values of `{file: …}` and `{env: …}`, by [`Source::key`].
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Also remove what the file's sections do not mention.
    #[serde(default)]
    pub prune: bool,
}

/// What a declaration is judged by, beside itself.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// What is built in, and the host that nobody may claim.
    pub built_in: &'a BuiltIn,
    /// Whether mail can be sent: `[smtp]`, or the quick start's own ways.
    pub mail: bool,
    /// Whether it can be told in which country an address is.
    pub countries: bool,
    /// What seals secrets; without it none can be declared, and those that there are stay.
    pub keys: Option<&'a Keys>,
    /// Who declares, for the audit.
    pub actor: &'a str,
    /// Now.
    pub now: UnixTime,
}

/// What [`apply`] did or would do. `Display` is for people, serde for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was added, changed or removed.
    pub changes: Vec<Change>,
    /// What an administrator should look at twice.
    pub warnings: Vec<String>,
    /// What else is good to know.
    pub notes: Vec<String>,
    /// Whether nothing was to be written.
    pub dry_run: bool,
    /// The revision that was written, if anything was.
    pub revision: Option<Revision>,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The file, or what would come of it, makes no sense.
    #[error(transparent)]
    Refused(#[from] Problems),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How often a change is worked out anew because somebody else's came first.
const RETRIES: u32 = 16;

/// Applies a file: whole, or not at all. A configuration that is there already is not written again.
pub async fn apply(store: &dyn Store, request: &Request, ground: &Ground<'_>) -> Result<Report, ApplyError> {
    let refuse = |problems| Problems::new(&request.file, problems);
    let file = read::file(&request.text).map_err(refuse)?;
    secrets::check(&request.secrets).map_err(|problem| refuse(vec![problem]))?;
    let mut tries = RETRIES;
    loop {
        let (revision, before) = store.declared().await?;
        let plan = plan::plan(&file, &before, ground, request, &mut crate::random::<32>).map_err(refuse)?;
        let warnings = serve(revision, &plan.after, ground).map_err(|problem| refuse(vec![file.locate(problem)]))?;
        let changes = changes(&before, &plan.after);
        let mut report = Report { changes, warnings, notes: plan.notes, dry_run: request.dry_run, revision: None };
        if request.dry_run || report.changes.is_empty() {
            return Ok(report);
        }
        let audit: Vec<_> = report.changes.iter().map(|change| audit(change, ground)).collect();
        match store.replace_declared(revision, &plan.after, &audit).await {
            Ok(written) => report.revision = Some(written),
            Err(StoreError::Conflict(_)) if tries > 0 => {
                tries = tries.saturating_sub(1);
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let left: HashSet<_> = plan.after.tunnels.iter().map(|tunnel| tunnel.id).collect();
        for gone in before.tunnels.iter().filter(|tunnel| !left.contains(&tunnel.id)) {
            store.revoke_certificates(&CertificateHolder::Tunnel(gone.id), ground.now).await?;
        }
        return Ok(report);
    }
}

/// What an edge would serve from if a file were applied; nothing is written.
pub async fn preview(store: &dyn Store, request: &Request, ground: &Ground<'_>) -> Result<Snapshot, ApplyError> {
    let refuse = |problems| Problems::new(&request.file, problems);
    let file = read::file(&request.text).map_err(refuse)?;
    let (revision, before) = store.declared().await?;
    let plan = plan::plan(&file, &before, ground, request, &mut crate::random::<32>).map_err(refuse)?;
    let snapshot = Snapshot::new(revision, plan.after, ground.built_in);
    Ok(snapshot.map_err(|error| refuse(vec![file.locate(Problem::new(None, error.to_string()))]))?)
}

/// The file that declares what is declared now, in the order in which it is kept. Provisional applications are not part
/// of it, since nobody declared them.
pub async fn export(store: &dyn Store) -> Result<String, StoreError> {
    let (_, declared) = store.declared().await?;
    let corrupt = |error: fmt::Error| StoreError::Corrupt { what: "the configuration", reason: error.to_string() };
    written(&declared).map_err(corrupt)
}

/// What would be declared after a file, where `before` is; nothing is read or written but what is given.
pub(crate) fn laid(request: &Request, before: &Declared, ground: &Ground<'_>) -> Result<Declared, Problems> {
    let refuse = |problems| Problems::new(&request.file, problems);
    let file = read::file(&request.text).map_err(refuse)?;
    let plan = plan::plan(&file, before, ground, request, &mut crate::random::<32>).map_err(refuse)?;
    serve(Revision::default(), &plan.after, ground).map_err(|problem| refuse(vec![file.locate(problem)]))?;
    Ok(plan.after)
}

/// The file that declares this; see [`export`].
pub(crate) fn written(declared: &Declared) -> Result<String, fmt::Error> {
    yaml::write(&view::File::of(declared))
}

/// Whether what is stored can be served; answers with what an administrator should look at twice.
pub async fn check(store: &dyn Store, ground: &Ground<'_>) -> Result<Vec<String>, ApplyError> {
    let (revision, declared) = store.declared().await?;
    let refuse = |problems| Problems::new("the stored configuration", problems);
    let mut problems = plan::mail(&declared, ground);
    problems.extend(plan::countries(&declared, ground));
    if !problems.is_empty() {
        return Err(refuse(problems).into());
    }
    Ok(serve(revision, &declared, ground).map_err(|problem| refuse(vec![problem]))?)
}

/// Makes what an edge would serve from, and throws it away.
fn serve(revision: Revision, declared: &Declared, ground: &Ground<'_>) -> Result<Vec<String>, Problem> {
    let snapshot = Snapshot::new(revision, declared.clone(), ground.built_in);
    let snapshot = snapshot.map_err(|error| Problem::new(None, error.to_string()))?;
    let mut warnings: Vec<_> = snapshot.policies.warnings().iter().map(ToString::to_string).collect();
    warnings.extend(warning::all(&snapshot.declared));
    warnings.extend(ground.built_in.warnings(&snapshot.declared));
    Ok(warnings)
}

fn audit(change: &Change, ground: &Ground<'_>) -> AuditRecord {
    AuditRecord {
        actor: Some(ground.actor.to_owned()),
        object: Some(change.object()),
        detail: Some(change.summary()),
        ..AuditRecord::new(ground.now, AuditEvent::ConfigurationChanged)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        let many = match self.changes.len() {
            0 => return f.write_str("no changes"),
            1 => "1 change".to_owned(),
            many => format!("{many} changes"),
        };
        match self.revision {
            Some(revision) => write!(f, "{many} applied (revision {revision})"),
            None if self.dry_run => write!(f, "{many}; nothing was written (--dry-run)"),
            None => write!(f, "{many}"),
        }
    }
}
