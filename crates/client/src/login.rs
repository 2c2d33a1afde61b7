//! A person logs in to one application: in a browser on this machine, or in one somewhere else.

mod browser;
mod callback;
mod device;

use std::time::Duration;

use serde::Serialize;
use tokio::sync::broadcast;
use tunnel_proto::{
    Hostname, Name,
    access::{CLAIM_MAX, CLI_TOKEN_PATH, TokenAnswer, TokenIssued, TokenRequest},
    dial::AskError,
};

pub(crate) use browser::Browser;
pub(crate) use device::Device;

use crate::{
    carrier::Carrier,
    descriptor::App,
    error::Error,
    event::Event,
    text::is_plain,
    token::{Login, Token},
};

/// How long a person may take.
const LOGIN_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What a person has to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prompt {
    /// The host to be opened.
    pub host: Hostname,
    /// The application's name.
    pub app: Name,
    /// The login host, which the address leads to.
    pub login_host: Hostname,
    /// The address to open, of the login host.
    pub url: String,
    /// The code: with a browser here the page shows it as well, to be compared; elsewhere it has to be typed there.
    pub code: String,
    /// Whether the browser has to be on this machine.
    pub here: bool,
}

/// Where a login is asked for: the application, its edge, and who asks.
pub struct Desk<'a> {
    pub(crate) app: &'a App,
    pub(crate) carrier: &'a Carrier,
    pub(crate) pages: Option<&'a str>,
    pub(crate) computer: &'a str,
    pub(crate) command: &'a str,
    pub(crate) events: &'a broadcast::Sender<Event>,
}

impl Desk<'_> {
    /// The application to log in to.
    pub const fn app(&self) -> &App {
        self.app
    }

    /// What this computer calls itself.
    pub const fn computer(&self) -> &str {
        self.computer
    }

    /// What the person typed.
    pub const fn command(&self) -> &str {
        self.command
    }

    /// Asks the login host a question.
    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, question: &impl Serialize) -> Result<T, AskError> {
        self.carrier.ask(&self.app.edge, path, Some(question)).await
    }

    /// Turns what a browser brought back into a login, or asks for the state of one.
    pub async fn token(&self, request: &TokenRequest) -> Result<TokenAnswer, Error> {
        self.ask(CLI_TOKEN_PATH, request).await.map_err(|error| self.failed(error))
    }

    /// Takes what was issued, if it is for the application that was asked for and for no other.
    pub fn accept(&self, issued: TokenIssued) -> Result<Login, Error> {
        let strange = |reason: String| Error::Protocol {
            at: self.app.edge.to_string(),
            reason: format!("the login is {reason}"),
        };
        let token = Token::new(issued.token).ok_or_else(|| strange("no token".to_owned()))?;
        if issued.host != self.app.host {
            return Err(strange(format!("for `{}`, and `{}` was asked for", issued.host, self.app.host)));
        }
        if issued.app != self.app.id {
            return Err(strange("for another application".to_owned()));
        }
        Ok(Login { token, app: issued.app, email: issued.email, expires: issued.expires })
    }

    fn prompt(&self, url: String, code: String, here: bool) -> Prompt {
        let prompt = Prompt {
            host: self.app.host.clone(),
            app: self.app.name.clone(),
            login_host: self.app.edge.name().clone(),
            url,
            code,
            here,
        };
        // Nobody may be listening.
        let _ = self.events.send(Event::LoginNeeded(prompt.clone()));
        prompt
    }

    fn failed(&self, error: AskError) -> Error {
        match error {
            AskError::Refused(problem) if problem.code == "refused" => self.refused(problem.message),
            AskError::Refused(problem) if problem.code == "gone" => self.lapsed(),
            other => Error::ask(&self.app.edge.to_string(), other),
        }
    }

    fn refused(&self, reason: String) -> Error {
        Error::LoginRefused { host: self.app.host.to_string(), reason }
    }

    fn lapsed(&self) -> Error {
        Error::LoginLapsed { host: self.app.host.to_string() }
    }

    fn unexpected(&self) -> Error {
        let reason = "it answered something else than was asked".to_owned();
        Error::Protocol { at: self.app.edge.to_string(), reason }
    }
}

/// What is said about this computer, as long as it may be and without what moves a cursor or turns text around.
pub(crate) fn claim(text: &str) -> String {
    text.chars().filter(|c| is_plain(*c)).take(CLAIM_MAX).collect()
}
