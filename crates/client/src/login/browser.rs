//! A browser on this machine: it comes back to a port of the loopback address with a code (RFC 8252, RFC 7636).

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use tokio::time::timeout;
use tunnel_proto::{
    access::{AuthorizeQuery, CLI_PATH, TokenAnswer, TokenRequest},
    dial::random,
};
use url::Url;

use super::{
    Desk, LOGIN_LIMIT, Prompt,
    callback::{Brought, Callback},
};
use crate::{auth::LoginMethod, error::Error, token::Login};

/// Sends a browser to the login host, and waits for it to come back.
pub(crate) struct Browser {
    show: Box<dyn Fn(&Prompt) + Send + Sync>,
}

impl Browser {
    pub(crate) fn new(show: impl Fn(&Prompt) + Send + Sync + 'static) -> Self {
        Self { show: Box::new(show) }
    }
}

#[async_trait]
impl LoginMethod for Browser {
    async fn login(&self, desk: &Desk<'_>) -> Result<Login, Error> {
        let verifier = opaque()?;
        let callback = Callback::bind(opaque()?, opaque()?).await.map_err(Error::internal)?;
        let code = format!("{:04}", u32::from_le_bytes(random().map_err(Error::internal)?) % 10_000);
        let query = AuthorizeQuery {
            app: desk.app.id,
            host: desk.app.host.clone(),
            redirect_uri: callback.redirect_uri().to_owned(),
            code_challenge: BASE64URL_NOPAD.encode(digest(&SHA256, verifier.as_bytes()).as_ref()),
            code_challenge_method: "S256".to_owned(),
            state: callback.state().to_owned(),
            code: code.clone(),
            computer: desk.computer.to_owned(),
            command: desk.command.to_owned(),
        };
        let url = address(desk, &query)?;
        let redirect_uri = callback.redirect_uri().to_owned();
        (self.show)(&desk.prompt(url, code, true));
        let brought = timeout(LOGIN_LIMIT, callback.wait()).await.map_err(|_| desk.lapsed())?;
        let code = match brought.map_err(Error::internal)? {
            Brought::Code(code) => code,
            Brought::Refusal(error) if error == "access_denied" => {
                return Err(desk.refused("it was refused in the browser".to_owned()));
            }
            Brought::Refusal(error) => return Err(desk.refused(super::claim(&error))),
        };
        match desk.token(&TokenRequest::Redeem { code, verifier, redirect_uri }).await? {
            TokenAnswer::Token(issued) => desk.accept(issued),
            TokenAnswer::Refused { reason } => Err(desk.refused(reason)),
            _ => Err(desk.unexpected()),
        }
    }
}

/// 43 random characters.
fn opaque() -> Result<String, Error> {
    Ok(BASE64URL_NOPAD.encode(&random::<32>().map_err(Error::internal)?))
}

/// The page on which the person lets this program in.
fn address(desk: &Desk<'_>, query: &AuthorizeQuery) -> Result<String, Error> {
    let base = desk.pages.unwrap_or(&desk.app.issuer);
    let mut url = Url::parse(base).and_then(|base| base.join(CLI_PATH)).map_err(Error::internal)?;
    let fields = serde_json::to_value(query).map_err(Error::internal)?;
    let fields = fields.as_object().into_iter().flatten();
    url.query_pairs_mut().extend_pairs(fields.filter_map(|(name, value)| Some((name, value.as_str()?))));
    Ok(url.into())
}
