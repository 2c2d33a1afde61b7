//! What an OpenID provider is asked, and who somebody is by its word.

use std::sync::Arc;

use serde_json::json;
use tunnel_auth::{
    LoginState,
    oidc::{
        Authorization, Claims, CodeExchange, Expected, Nonce, Reading, Refusal, Resolution, TokenAnswer, TokenError,
        Trust, Userinfo, challenge, graph_groups, verify,
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
/// What asking again later needs (OpenID Connect Core §11).
const OFFLINE: &str = "offline_access";
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
    let offline = method.revalidate.is_some();
    if offline && method.preset == OpenIdPreset::Google {
        more.push(("access_type", "offline"));
    }
    let prompt = prompt(method.preset, manner, offline);
    if !prompt.is_empty() {
        more.push(("prompt", prompt.as_str()));
    }
    if let Manner::Anew(_) = manner {
        // That it was done is read off the token.
        more.push(("max_age", "0"));
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
    // Google and GitLab refuse a scope that they do not know: the one is asked in another way, the other needs none.
    let offline: &[&str] = match (method.revalidate, method.preset) {
        (None, _) | (_, OpenIdPreset::Google | OpenIdPreset::Gitlab) => &[],
        (Some(_), _) => &[OFFLINE],
    };
    let mut scopes: Vec<&str> = SCOPES.iter().chain(graph).chain(offline).copied().collect();
    for scope in &method.scopes {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    scopes
}

/// How a provider is asked to ask the person: for an account or for a proof, where that is wanted, and for consent, where it
/// would else give nothing by which it can be asked again.
fn prompt(preset: OpenIdPreset, manner: Manner, offline: bool) -> String {
    let who = match manner {
        Manner::Any => None,
        Manner::Choose => Some(account_prompt(preset)),
        Manner::Anew(_) => Some(anew_prompt(preset)),
    };
    // The specification has it (§11), and Google gives a refresh token only with a consent; others need none.
    let consent = offline && matches!(preset, OpenIdPreset::Oidc | OpenIdPreset::Google);
    let words = [who, consent.then_some("consent")];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
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
    let mut answer = exchange(desk, entry, name, method, &known, came).await?;
    let refresh = answer.refresh_token.take().filter(|_| method.revalidate.is_some());
    let token = answer.id_token.as_ref().ok_or_else(|| Failure::Answer("there is no ID token".to_owned()))?;
    let access = answer.access_token.as_ref().map(|token| token.as_str());
    let expected = Expected {
        issuer: &method.issuer,
        client_id: &method.client_id,
        nonce: Nonce::Of(&came.pending.nonce),
        access_token: access,
        authenticated_since: came.pending.since,
        now: ask.visit.now,
    };
    let claims = verified(entry, &known, token, &expected).await??;
    let reading = reading(method);
    let userinfo = match (&known.discovery.userinfo, access) {
        (Some(url), Some(access)) if reading.wants_userinfo(&claims) => {
            let fetched = entry.get(url, Some(access)).await.inspect_err(|_| entry.doubt())?;
            let bytes = body(&fetched).inspect_err(|_| entry.doubt()).map_err(|failure| failure.of("userinfo"))?;
            Some(Userinfo::read(bytes, claims.subject())?)
        }
        _ => None,
    };
    let mut resolution = reading.resolve(&claims, userinfo.as_ref());
    complete(entry, method, access, &mut resolution).await?;
    Ok(Found { refresh, ..found(method, resolution) })
}

/// How often other keys are tried. Those of a reading that began before they changed are not the last.
const KEYS_TRIES: usize = 2;

/// What a token says, if a key of the provider's signed it: one that is known, or one of now.
pub(super) async fn verified(
    entry: &Entry,
    known: &Arc<Known>,
    token: &str,
    expected: &Expected<'_>,
) -> Result<Result<Claims, TokenError>, Failure> {
    let mut known = known.clone();
    for _ in 0..KEYS_TRIES {
        match verify(token, &known.keys, expected) {
            Err(error) if error.may_be_new_key() => match entry.with_new_keys(&known).await? {
                Some(newer) => known = newer,
                None => return Ok(Err(error)),
            },
            verified => return Ok(verified),
        }
    }
    Ok(verify(token, &known.keys, expected))
}

/// How the provider's word is understood.
pub(super) fn reading(method: &OpenIdMethod) -> Reading<'_> {
    Reading {
        tenant: method.tenant(),
        email_claim: method.email_claim.as_deref(),
        groups_claim: method.groups_claim.as_deref(),
        // Its tokens name only some.
        groups_by_userinfo: method.preset == OpenIdPreset::Gitlab,
        hosted_domain: method.hosted_domain.as_ref(),
        authoritative_for: &method.authoritative_for,
        claims: &method.claims,
    }
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

/// Adds the groups of somebody in more than fit into a token. Without their groups nobody is judged: a rule that keeps
/// somebody out by one would not hold.
pub(super) async fn complete(
    entry: &Entry,
    method: &OpenIdMethod,
    access: Option<&str>,
    resolution: &mut Resolution,
) -> Result<(), Failure> {
    if resolution.overage && method.groups {
        match graph(entry, method, access).await? {
            Ok(groups) => resolution.groups = groups,
            Err(refusal) => resolution.refusals.push(refusal),
        }
    } else if resolution.overage {
        resolution.refusals.push(Refusal::GroupsElsewhere);
    }
    Ok(())
}

/// The groups of somebody in more than fit into a token. Where the token says to ask is not looked at: it is an address of
/// somebody else's choosing.
async fn graph(
    entry: &Entry,
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
        refresh: None,
        refusals: refusals.into_iter().map(Failure::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // O9
    #[test]
    fn each_provider_is_asked_in_its_way_for_what_asking_again_needs_and_only_then() {
        let mut method = OpenIdMethod {
            preset: OpenIdPreset::Oidc,
            issuer: "https://id.example.com".to_owned(),
            client_id: "edge".to_owned(),
            client_secret: crate::store::SealedSecret(Vec::new()),
            scopes: Vec::new(),
            email_claim: None,
            groups_claim: None,
            groups: false,
            graph: None,
            claims: Vec::new(),
            hosted_domain: None,
            authoritative_for: Vec::new(),
            revalidate: None,
            private_address: false,
            ca: None,
        };
        for (preset, scope, by_itself, another_account) in [
            (OpenIdPreset::Oidc, true, "consent", "login consent"),
            (OpenIdPreset::Entra, true, "", "select_account"),
            (OpenIdPreset::Google, false, "consent", "select_account consent"),
            (OpenIdPreset::Okta, true, "", "login"),
            (OpenIdPreset::Keycloak, true, "", "login"),
            (OpenIdPreset::Auth0, true, "", "login"),
            (OpenIdPreset::Gitlab, false, "", "login"),
        ] {
            method.preset = preset;
            method.revalidate = Some(OpenIdMethod::REVALIDATE_MIN);
            assert_eq!(scopes(&method).contains(&OFFLINE), scope, "{preset:?}");
            assert_eq!(prompt(preset, Manner::Any, true), by_itself, "{preset:?}");
            assert_eq!(prompt(preset, Manner::Choose, true), another_account, "{preset:?}");
            method.revalidate = None;
            assert!(!scopes(&method).contains(&OFFLINE), "{preset:?}");
            assert!(
                !prompt(preset, Manner::Choose, false).contains("consent")
                    && prompt(preset, Manner::Any, false).is_empty()
            );
        }
    }
}
