//! A browser somewhere else: a person opens an address, types the code that is shown here and decides (after RFC 8628).

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tunnel_proto::{
    access::{CLI_DEVICE_PATH, CLI_TOKEN_PATH, DeviceRequest, DeviceStarted, TokenAnswer, TokenRequest},
    dial::AskError,
};
use url::{Host, Url};

use super::{Desk, LOGIN_LIMIT, Prompt};
use crate::{auth::LoginMethod, error::Error, token::Login};

/// The shortest and the longest pause between two questions, in seconds, whatever the edge says.
const INTERVAL: (u32, u32) = (1, 30);

/// Shows an address and a code, and asks until somebody has decided.
pub(crate) struct Device {
    show: Box<dyn Fn(&Prompt) + Send + Sync>,
}

impl Device {
    pub(crate) fn new(show: impl Fn(&Prompt) + Send + Sync + 'static) -> Self {
        Self { show: Box::new(show) }
    }
}

#[async_trait]
impl LoginMethod for Device {
    async fn login(&self, desk: &Desk<'_>) -> Result<Login, Error> {
        let request = DeviceRequest {
            app: desk.app.id,
            host: desk.app.host.clone(),
            computer: desk.computer.to_owned(),
            command: desk.command.to_owned(),
        };
        let started: DeviceStarted = match desk.ask(CLI_DEVICE_PATH, &request).await {
            Ok(started) => started,
            // Nothing was begun that could lapse.
            Err(AskError::Refused(problem)) if problem.code == "gone" => return Err(desk.refused(problem.message)),
            Err(error) => return Err(desk.failed(error)),
        };
        if !is_page_of(&started.url, desk) {
            let reason = "it names a page of somebody else".to_owned();
            return Err(Error::Protocol { at: desk.app.edge.to_string(), reason });
        }
        (self.show)(&desk.prompt(started.url, started.code, false));
        let interval = Duration::from_secs(u64::from(started.interval.clamp(INTERVAL.0, INTERVAL.1)));
        let last = Instant::now() + LOGIN_LIMIT;
        let poll = TokenRequest::Poll { secret: started.secret };
        while Instant::now() < last {
            sleep(interval).await;
            match desk.ask(CLI_TOKEN_PATH, &poll).await {
                Ok(TokenAnswer::Pending) => {}
                Ok(TokenAnswer::Token(issued)) => return desk.accept(issued),
                Ok(TokenAnswer::Refused { reason }) => return Err(desk.refused(reason)),
                Ok(TokenAnswer::Ended | TokenAnswer::Applications { .. }) => return Err(desk.unexpected()),
                // The network may have a bad moment; the login lives on at the edge.
                Err(error) if error.is_retryable() => tracing::debug!(%error, "asking again"),
                Err(error) => return Err(desk.failed(error)),
            }
        }
        Err(desk.lapsed())
    }
}

/// Whether a page is one of the login host that was verified, over HTTPS or on this machine.
fn is_page_of(url: &str, desk: &Desk<'_>) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let login_host = desk.app.edge.name().as_str();
    let local = login_host.ends_with(".localhost");
    matches!(url.host(), Some(Host::Domain(host)) if host == login_host)
        && (url.scheme() == "https" || (url.scheme() == "http" && local))
}
