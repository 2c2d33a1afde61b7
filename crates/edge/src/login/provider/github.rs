//! What GitHub is asked, and who somebody is by its word.

use std::{collections::BTreeMap, sync::Arc};

use tunnel_auth::{
    LoginState,
    github::{self, GithubError, MEMBERSHIPS_MAX, PAGES_MAX},
    oidc::{Authorization, ClientAuthentication, CodeExchange, TokenAnswer, challenge},
};
use tunnel_policy::{Attributes, GithubOrganization};
use tunnel_proto::Name;
use url::Url;

use super::{
    Came, Failure, Found, FoundEmail, Manner,
    known::{Entry, body},
    pending::Pending,
};
use crate::{login::Desk, store::GithubMethod};

/// What its interface is asked for.
const ACCEPT: &str = "application/vnd.github+json";

/// The address that a visitor is sent to.
pub(super) async fn authorization(
    entry: &Arc<Entry>,
    method: &GithubMethod,
    redirect_uri: &str,
    state: &LoginState,
    pending: &Pending,
    manner: Manner,
) -> Result<String, Failure> {
    entry.is_there(&method.api).await?;
    let request = Authorization {
        endpoint: &format!("{}/login/oauth/authorize", method.authority),
        client_id: &method.client_id,
        redirect_uri,
        scopes: &github::SCOPES,
        state: &state.reveal(),
        nonce: None,
        challenge: &challenge(&pending.verifier),
        // GitHub cannot be asked to have somebody prove anew who they are: at least it does not answer without them.
        more: if manner == Manner::Any { &[] } else { &[("prompt", "select_account")] },
    };
    request.url().ok_or_else(|| Failure::Setup("its address cannot be used".to_owned()))
}

/// Exchanges the code, and asks who came.
pub(super) async fn resolve(
    desk: &Desk<'_>,
    entry: &Arc<Entry>,
    name: &Name,
    method: &GithubMethod,
    came: &Came<'_>,
) -> Result<Found, Failure> {
    let secret = method.client_secret.open(desk.keys, name);
    let secret = secret.map_err(|error| Failure::Setup(format!("its secret cannot be opened: {error}")))?;
    let exchange = CodeExchange {
        code: came.code,
        redirect_uri: came.redirect_uri,
        verifier: &came.pending.verifier,
        client_id: &method.client_id,
        client_secret: &secret,
    };
    let form = exchange.form(ClientAuthentication::Post);
    let fetched = entry.post_form(&format!("{}/login/oauth/access_token", method.authority), &form, None).await?;
    let answer = TokenAnswer::read(fetched.status.as_u16(), &fetched.body)?;
    let token = answer.access_token.ok_or_else(|| Failure::Answer("there is no access token".to_owned()))?;
    let api = Api { entry, base: &method.api, token: &token };
    let user = api.entry.get_as(&format!("{}/user", method.api), ACCEPT, &token).await?;
    let account = github::account(body(&user)?)?;
    let (mut email, mut refusals) = (None, Vec::new());
    match api.email().await {
        Ok(address) => {
            let (claim, why) = ("primary address".to_owned(), "GitHub calls it verified");
            email = Some(FoundEmail { address, claim, why });
        }
        Err(failure @ Failure::Account(..)) => refusals.push(failure),
        Err(failure) => return Err(failure),
    }
    let github = api.memberships().await?;
    Ok(Found {
        issuer: method.authority.clone(),
        subject: account.to_string(),
        email,
        attributes: Attributes { github, ..Attributes::default() },
        refresh: None,
        refusals,
    })
}

/// Its programming interface, as somebody.
struct Api<'a> {
    entry: &'a Arc<Entry>,
    base: &'a str,
    token: &'a str,
}

impl Api<'_> {
    /// The primary address.
    async fn email(&self) -> Result<tunnel_proto::EmailAddress, Failure> {
        let mut found = None;
        self.pages("/user/emails", |page| {
            found = github::primary_email(page)?;
            Ok(found.is_some())
        })
        .await?;
        found.ok_or_else(|| GithubError::NoEmail.into())
    }

    /// Organisations, with the teams in them.
    async fn memberships(&self) -> Result<Vec<GithubOrganization>, Failure> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut many = 0usize;
        let mut count = |more: usize| {
            many = many.saturating_add(more);
            if many > MEMBERSHIPS_MAX { Err(GithubError::TooMany) } else { Ok(false) }
        };
        self.pages("/user/orgs", |page| {
            let organizations = github::organizations(page)?;
            let more = organizations.len();
            for name in organizations {
                all.entry(name).or_default();
            }
            count(more)
        })
        .await?;
        self.pages("/user/teams", |page| {
            let teams = github::teams(page)?;
            let more = teams.len();
            teams.into_iter().for_each(|(organization, team)| all.entry(organization).or_default().push(team));
            count(more)
        })
        .await?;
        Ok(all.into_iter().map(|(name, teams)| GithubOrganization { name, teams }).collect())
    }

    /// Reads a list page by page until `each` has enough. Pages are only at the place that was asked first: the token is
    /// sent nowhere else.
    async fn pages(&self, path: &str, mut each: impl FnMut(&[u8]) -> Result<bool, GithubError>) -> Result<(), Failure> {
        let first = format!("{}{path}?per_page=100", self.base);
        let place = |url: &str| Url::parse(url).ok().map(|url| (url.origin(), url.path().to_owned()));
        let mut url = first.clone();
        for _ in 0..PAGES_MAX {
            let fetched = self.entry.get_as(&url, ACCEPT, self.token).await?;
            if each(body(&fetched)?)? {
                return Ok(());
            }
            let link = fetched.headers.get(http::header::LINK).and_then(|value| value.to_str().ok());
            match link.and_then(github::next_page) {
                None => return Ok(()),
                Some(next) if place(next).is_some() && place(next) == place(&first) => url = next.to_owned(),
                Some(_) => return Err(Failure::Answer("a list of GitHub's goes on at another place".to_owned())),
            }
        }
        Err(GithubError::TooMany.into())
    }
}
