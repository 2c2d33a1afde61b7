//! The login of this machine: the operator's credentials, and the link on which it manages tunnels.

use serde::{Deserialize, Serialize};
use tunnel_origin::{
    Credentials, EdgeAddress,
    operator::{OperatorError, OperatorLink},
    pem,
};
use tunnel_proto::{HostPattern, Hostname, UnixTime};
use zeroize::Zeroizing;

use crate::{AGENT, edges, failure::Failure, files, paths::Paths};

/// What is known about a login, no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) zone: Hostname,
    /// The edge, as `https://access.ZONE[:port]`.
    pub(crate) edge: String,
    /// What an administrator approved.
    pub(crate) hostnames: Vec<HostPattern>,
}

/// A machine that logged in.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) about: About,
    credentials: Credentials,
}

impl Operator {
    /// The login that is stored, if there is one.
    pub(crate) fn load(paths: &Paths) -> Result<Option<Self>, Failure> {
        let (certificate, key) = (paths.operator_certificate(), paths.operator_key());
        let Some(certificates) = files::read(&certificate)? else { return Ok(None) };
        let broken = |reason: &str| {
            Failure::failed(format!(
                "the login in `{}` cannot be used ({reason}): move cert.pem and key.pem away and run `connector login` again",
                paths.config().display()
            ))
        };
        let about = files::read(&paths.operator_about())?.ok_or_else(|| broken("operator.json is missing"))?;
        let about: About = serde_json::from_str(&about).map_err(|error| broken(&error.to_string()))?;
        let key = files::read_private(&key)?.ok_or_else(|| broken("key.pem is missing"))?;
        let credentials = pem::with_key(about.zone.clone(), &certificates, Zeroizing::new(key));
        let credentials = credentials.map_err(|reason| broken(&reason))?;
        Ok(Some(Self { about, credentials }))
    }

    /// The edge's CA (PEM).
    pub(crate) fn ca_pem(&self) -> &str {
        self.credentials.ca_pem()
    }

    /// The edge that this login is for, dialled where `--edge` says.
    pub(crate) fn edge(&self, flag: Option<&str>) -> Result<EdgeAddress, Failure> {
        edges::address(flag, &self.about.edge, &self.about.zone)
    }

    /// Connects. An expired login is named here, since the edge can only break off.
    pub(crate) async fn connect(&self, edge: EdgeAddress, now: UnixTime) -> Result<OperatorLink, Failure> {
        if self.credentials.expires() <= now {
            return Err(Failure::refused(
                "this machine's login has expired: move cert.pem and key.pem away and run `connector login` again",
            ));
        }
        OperatorLink::connect(edge, &self.credentials, AGENT).await.map_err(failure)
    }
}

/// How a question that was not answered ends the program.
pub(crate) fn failure(error: OperatorError) -> Failure {
    match error {
        OperatorError::Refused(problem) => edges::refusal(problem),
        OperatorError::Link(error) => edges::link_failure(error),
        other => Failure::failed(other),
    }
}
