//! Managing tunnels from an enrolled machine: a link of the role `operator`, which carries questions and no streams.

use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;
use tunnel_proto::{
    HostPattern, InstanceId, TunnelId,
    dial::{EdgeAddress, random},
    enrol::{CreateTunnel, EnrolProblem, TunnelCreated},
    identity::CertRole,
    link::Connected,
    message::{Delete, Hello, List, Message, Renewed, Role, Rotate, Route, TunnelEntry},
};

use crate::{credentials::Credentials, error::Error, establish::establish};

/// Time for the edge to answer one question.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A link on which an operator manages the tunnels of its approved scope.
#[derive(Debug)]
pub struct OperatorLink {
    edge: EdgeAddress,
    connected: Connected,
}

impl OperatorLink {
    /// Connects to `edge` with the credentials of `connector login`.
    pub async fn connect(edge: EdgeAddress, credentials: &Credentials, agent: &str) -> Result<Self, OperatorError> {
        if !matches!(credentials.role(), CertRole::Operator(_)) {
            return Err(Error::Incomplete { what: "the credentials of an operator" }.into());
        }
        let instance = random().map_err(|error| Error::Internal { reason: error.to_string() })?;
        let hello = Hello::new(Role::Operator, agent, InstanceId::from_random(instance));
        let connected = establish(&edge, credentials, hello).await?;
        Ok(Self { edge, connected })
    }

    /// Creates a tunnel, or reuses the one of that name, and routes the hostnames to it.
    pub async fn create(&mut self, request: CreateTunnel) -> Result<TunnelCreated, OperatorError> {
        match self.ask(request.into()).await? {
            Message::TunnelCreated(created) => Ok(created),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The tunnels within the scope.
    pub async fn list(&mut self) -> Result<Vec<TunnelEntry>, OperatorError> {
        match self.ask(List {}.into()).await? {
            Message::Tunnels(tunnels) => Ok(tunnels.tunnels),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Routes hostnames to a tunnel, all or none.
    pub async fn route(&mut self, tunnel: TunnelId, hostnames: Vec<HostPattern>) -> Result<(), OperatorError> {
        match self.ask(Route { tunnel, hostnames }.into()).await? {
            Message::Done(_) => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Deletes a tunnel.
    pub async fn delete(&mut self, tunnel: TunnelId) -> Result<(), OperatorError> {
        match self.ask(Delete { tunnel }.into()).await? {
            Message::Done(_) => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks for a new certificate of a tunnel for the key of `csr`; earlier certificates are revoked.
    pub async fn rotate(&mut self, tunnel: TunnelId, csr: String) -> Result<Renewed, OperatorError> {
        match self.ask(Rotate { tunnel, csr }.into()).await? {
            Message::Renewed(renewed) => Ok(renewed),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Ends the link.
    pub async fn close(self) {
        self.connected.link.close();
        self.connected.link.closed().await;
    }

    async fn ask(&mut self, question: Message) -> Result<Message, OperatorError> {
        let control = &mut self.connected.control;
        if let Err(error) = control.send(question).await {
            return match error {
                tunnel_proto::link::ControlError::Closed => Err(Error::Lost(self.connected.link.closed().await).into()),
                other => Err(Error::Internal { reason: other.to_string() }.into()),
            };
        }
        let answer = async {
            loop {
                match control.next().await {
                    Some(Message::Problem(problem)) => return Err(OperatorError::Refused(problem)),
                    Some(Message::Drain(drain)) => debug!(reason = %drain.reason, "the edge drains the link"),
                    Some(answer) => return Ok(answer),
                    None => return Err(Error::Lost(self.connected.link.closed().await).into()),
                }
            }
        };
        let late = || Error::Late { edge: self.edge.to_string(), limit: ANSWER_LIMIT };
        timeout(ANSWER_LIMIT, answer).await.map_err(|_| late())?
    }

    fn unexpected(&self, answer: &Message) -> OperatorError {
        let reason = format!("`{:?}` is no answer to this question", answer.kind());
        Error::Protocol { edge: self.edge.to_string(), reason }.into()
    }
}

/// Why a question of an operator has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The edge said no, and why.
    #[error("{}", .0.message)]
    Refused(EnrolProblem),
    /// There is no link, or it was lost.
    #[error(transparent)]
    Link(#[from] Error),
}
