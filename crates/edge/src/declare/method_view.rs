//! Login methods in the shape of the file.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use tunnel_proto::{Hostname, Name};

use super::{
    methods::{ENTRA, ENTRA_VERSION, GITHUB, GITHUB_API, GITLAB, GOOGLE},
    scalar::duration_text,
    view::{self, Said},
};
use crate::store::{GithubMethod, LoginMethod, LoginMethodKind, OpenIdMethod, OpenIdPreset, PasskeyMethod};

#[derive(Debug, Default, Serialize)]
pub(super) struct MethodView {
    name: Option<Name>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<Unchanged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hosted_domain: Option<Hostname>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_claim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups_claim: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    groups: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claims: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authoritative_for: Vec<Hostname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revalidate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    danger_allow_private_address: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew: Option<String>,
}

/// What stands in the place of every secret.
#[derive(Debug, Serialize)]
struct Unchanged {
    unchanged: bool,
}

/// The fields in the order in which they are told. The secret is none of them: it is told that it changed.
const FIELDS: [&str; 18] = [
    "type",
    "issuer",
    "tenant",
    "client_id",
    "hosted_domain",
    "scopes",
    "email_claim",
    "groups_claim",
    "groups",
    "claims",
    "authoritative_for",
    "revalidate",
    "authority",
    "graph",
    "api",
    "ca",
    "danger_allow_private_address",
    "renew",
];

impl MethodView {
    pub(super) fn of(method: &LoginMethod) -> Self {
        let view = match &method.kind {
            LoginMethodKind::OneTimePin => Self::default(),
            LoginMethodKind::Passkey(passkey) => {
                let usual = passkey.renew == PasskeyMethod::RENEW_DEFAULT;
                Self { renew: (!usual).then(|| duration_text(passkey.renew)), ..Self::default() }
            }
            LoginMethodKind::OpenId(openid) => Self::openid(openid),
            LoginMethodKind::Github(github) => Self::github(github),
        };
        Self { name: Some(method.name.clone()), r#type: method.kind.as_str(), ..view }
    }

    fn openid(method: &OpenIdMethod) -> Self {
        let issuer = method.issuer.clone();
        let usual = match method.preset {
            OpenIdPreset::Google => Some(GOOGLE),
            OpenIdPreset::Gitlab => Some(GITLAB),
            _ => None,
        };
        let (issuer, authority, tenant) = match (method.preset, method.tenant()) {
            (OpenIdPreset::Entra, Some(tenant)) => {
                let authority = issuer.strip_suffix(&format!("/{tenant}{ENTRA_VERSION}")).unwrap_or_default();
                (None, Some(authority.to_owned()).filter(|authority| authority != ENTRA), Some(tenant.to_owned()))
            }
            _ => (Some(issuer).filter(|issuer| Some(issuer.as_str()) != usual), None, None),
        };
        Self {
            issuer,
            tenant,
            authority,
            client_id: Some(method.client_id.clone()),
            client_secret: Some(Unchanged { unchanged: true }),
            hosted_domain: method.hosted_domain.clone(),
            scopes: method.scopes.clone(),
            email_claim: method.email_claim.clone(),
            groups_claim: method.groups_claim.clone(),
            groups: method.groups,
            claims: method.claims.clone(),
            authoritative_for: method.authoritative_for.clone(),
            revalidate: method.revalidate.map(duration_text),
            graph: method.graph.clone(),
            ca: method.ca.clone(),
            danger_allow_private_address: method.private_address,
            ..Self::default()
        }
    }

    fn github(method: &GithubMethod) -> Self {
        let of =
            if method.authority == GITHUB { GITHUB_API.to_owned() } else { format!("{}/api/v3", method.authority) };
        Self {
            client_id: Some(method.client_id.clone()),
            client_secret: Some(Unchanged { unchanged: true }),
            authority: Some(method.authority.clone()).filter(|authority| authority != GITHUB),
            api: Some(method.api.clone()).filter(|api| *api != of),
            ca: method.ca.clone(),
            danger_allow_private_address: method.private_address,
            ..Self::default()
        }
    }

    /// What is told of it when it changes.
    pub(super) fn fields(&self) -> Vec<(&'static str, Said)> {
        let mut fields = view::fields_of(self, &FIELDS);
        for (name, said) in &mut fields {
            if let ("ca", Said::Text(value)) = (*name, said) {
                // Certificates are long, and told apart by this as well.
                let hash = digest(&SHA256, value.as_bytes());
                let hash = data_encoding::HEXLOWER.encode(hash.as_ref().get(..8).unwrap_or_default());
                *value = format!("certificates {hash}");
            }
        }
        fields
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}
