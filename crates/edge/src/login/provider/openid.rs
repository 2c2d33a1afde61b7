//! What an OpenID provider is asked, and who somebody is by its word.

use std::sync::Arc;

use serde_json::json;
use tunnel_auth::{
    LoginState,
    oidc::{
        Authorization, CodeExchange, Expected, Reading, Refusal, Resolution, TokenAnswer, Trust, Userinfo, challenge,
        graph_groups, verify,
    },
};
use tunnel_policy::Attributes;
use tunnel_proto::Name;

use super::{
    Came, Failure, Found, FoundEmail, Manner,
    known::{Entry, Known, body},
    pending::Pending,
};
use crate::{
    login::{Ask, Desk},
    store::{OpenIdMethod, OpenIdPreset},
};

/// What is asked for always.
const SCOPES: [&str; 3] = ["openid", "email", "profile"];
/// What reading groups from Microsoft Graph needs.
const GRAPH_SCOPES: [&str; 2] = ["User.Read", "GroupMember.Read.All"];
const GRAPH: &str = "https://graph.microsoft.com";
/// What it is called in the record.
const GRAPH_NAME: &str = "Microsoft Graph (groups)";

/// The address that a visitor is sent to.
pub(super) async fn authorization(
    entry: &Arc<Entry>,
    method: &OpenIdMethod,
    redirect_uri: &str,
    state: &LoginState,
    pending: &Pending,
    manner: Manner,
) -> Result<String, Failure> {
    let known = entry.known(method).await?;
    // A browser that is sent to nobody shows a page that names nobody.
    entry.is_there(&known.discovery.token).await?;
    let mut more = Vec::new();
    if let Some(domain) = &method.hosted_domain {
        more.push(("hd", domain.as_str()));
    }
    match manner {
        Manner::Any => {}
        Manner::Choose => more.push(("prompt", account_prompt(method.preset))),
        // That it was done is read off the token.
        Manner::Anew(_) => more.extend([("prompt", anew_prompt(method.preset)), ("max_age", "0")]),
    }
    let request = Authorization {
        endpoint: &known.discovery.authorization,
        client_id: &method.client_id,
        redirect_uri,
        scopes: &scopes(method),
        state: &state.reveal(),
        nonce: Some(&pending.nonce),
        challenge: &challenge(&pending.verifier),
        more: &more,
    };
    request.url().ok_or_else(|| Failure::Setup("its address cannot be used".to_owned()))
}

/// What is asked for by a method.
pub fn scopes(method: &OpenIdMethod) -> Vec<&str> {
    let graph: &[&str] = if method.groups { &GRAPH_SCOPES } else { &[] };
    let mut scopes: Vec<&str> = SCOPES.iter().chain(graph).copied().collect();
    for scope in &method.scopes {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    scopes
}

/// How a provider is asked to let the person choose an account. The one word is known everywhere, the other where
/// people have several.
const fn account_prompt(preset: OpenIdPreset) -> &'static str {
    match preset {
        OpenIdPreset::Entra | OpenIdPreset::Google => "select_account",
        _ => "login",
    }
}

/// How a provider is asked to have the person prove anew who they are. Google knows no such word and refuses it.
const fn anew_prompt(preset: OpenIdPreset) -> &'static str {
    match preset {
        OpenIdPreset::Google => "select_account",
        _ => "login",
    }
}

/// Exchanges the code, verifies what comes of it, and reads it.
pub(super) async fn resolve(
    desk: &Desk<'_>,
    ask: &Ask<'_>,
    entry: &Arc<Entry>,
    name: &Name,
    method: &OpenIdMethod,
    came: &Came<'_>,
) -> Result<Found, Failure> {
    let known = entry.known(method).await?;
    let answer = exchange(desk, entry, name, method, &known, came).await?;
    let token = answer.id_token.as_ref().ok_or_else(|| Failure::Answer("there is no ID token".to_owned()))?;
    let access = answer.access_token.as_ref().map(|token| token.as_str());
    let expected = Expected {
        issuer: &method.issuer,
        client_id: &method.client_id,
        nonce: &came.pending.nonce,
        access_token: access,
        authenticated_since: came.pending.since,
        now: ask.visit.now,
    };
    let claims = match verify(token, &known.keys, &expected) {
        Err(error) if error.may_be_new_key() => match entry.with_new_keys(&known).await? {
            Some(known) => verify(token, &known.keys, &expected)?,
            None => return Err(error.into()),
        },
        verified => verified?,
    };
    let reading = Reading {
        tenant: method.tenant(),
        email_claim: method.email_claim.as_deref(),
        groups_claim: method.groups_claim.as_deref(),
        // Its tokens name only some.
        groups_by_userinfo: method.preset == OpenIdPreset::Gitlab,
        hosted_domain: method.hosted_domain.as_ref(),
        authoritative_for: &method.authoritative_for,
        claims: &method.claims,
    };
    let userinfo = match (&known.discovery.userinfo, access) {
        (Some(url), Some(access)) if reading.wants_userinfo(&claims) => {
            let fetched = entry.get(url, Some(access)).await.inspect_err(|_| entry.doubt())?;
            let bytes = body(&fetched).inspect_err(|_| entry.doubt()).map_err(|failure| failure.of("userinfo"))?;
            Some(Userinfo::read(bytes, claims.subject())?)
        }
        _ => None,
    };
    let mut resolution = reading.resolve(&claims, userinfo.as_ref());
    if resolution.overage && method.groups {
        match graph(entry, method, access).await? {
            Ok(groups) => resolution.groups = groups,
            Err(refusal) => resolution.refusals.push(refusal),
        }
    }
    Ok(found(method, resolution))
}

async fn exchange(
    desk: &Desk<'_>,
    entry: &Arc<Entry>,
    name: &Name,
    method: &OpenIdMethod,
    known: &Known,
    came: &Came<'_>,
) -> Result<TokenAnswer, Failure> {
    let secret = method.client_secret.open(desk.keys, name);
    let secret = secret.map_err(|error| Failure::Setup(format!("its secret cannot be opened: {error}")))?;
    let exchange = CodeExchange {
        code: came.code,
        redirect_uri: came.redirect_uri,
        verifier: &came.pending.verifier,
        client_id: &method.client_id,
        client_secret: &secret,
    };
    let way = known.discovery.authentication;
    let (form, authorization) = (exchange.form(way), exchange.authorization(way));
    let authorization = authorization.as_ref().map(|value| value.as_str());
    // What fails may have moved since it was described.
    let fetched = entry.post_form(&known.discovery.token, &form, authorization).await.inspect_err(|_| entry.doubt())?;
    let answer = TokenAnswer::read(fetched.status.as_u16(), &fetched.body);
    Ok(answer.inspect_err(|_| entry.doubt())?)
}

/// The groups of somebody in more than fit into a token. Where the token says to ask is not looked at: it is an address of
/// somebody else's choosing.
async fn graph(
    entry: &Arc<Entry>,
    method: &OpenIdMethod,
    access: Option<&str>,
) -> Result<Result<Vec<String>, Refusal>, Failure> {
    let access = access.ok_or_else(|| Failure::Answer("there is no access token for Microsoft Graph".to_owned()))?;
    let base = method.graph.as_deref().unwrap_or(GRAPH);
    let url = format!("{base}/v1.0/me/getMemberObjects");
    let asked = entry.post_json(&url, &json!({"securityEnabledOnly": false}), access).await;
    let fetched = asked.map_err(|failure| failure.of(GRAPH_NAME))?;
    if matches!(fetched.status.as_u16(), 401 | 403) {
        let text = "Microsoft Graph does not tell the groups: grant `GroupMember.Read.All` and consent to it";
        return Err(Failure::Setup(text.to_owned()));
    }
    let bytes = body(&fetched).map_err(|failure| failure.of(GRAPH_NAME))?;
    graph_groups(bytes).ok_or_else(|| Failure::Answer(format!("{GRAPH_NAME}: not an answer to a question for groups")))
}

fn found(method: &OpenIdMethod, resolution: Resolution) -> Found {
    let Resolution { subject, email, groups, amr, claims, refusals, .. } = resolution;
    let email = email.map(|email| FoundEmail {
        address: email.address,
        claim: email.claim,
        why: match email.trust {
            Trust::Verified => "the provider calls it verified",
            Trust::Declared => "the method is declared authoritative for its domain",
            Trust::Tenant => "the tenant vouches for its own people",
        },
    });
    Found {
        issuer: method.issuer.clone(),
        subject,
        email,
        attributes: Attributes { amr, groups, claims, ..Attributes::default() },
        refusals: refusals.into_iter().map(Failure::from).collect(),
    }
}
