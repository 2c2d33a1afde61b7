//! The ways to log in that a page offers.

use tunnel_proto::Name;

use crate::{
    pages::MethodChoice,
    store::{LoginMethod, LoginMethodKind, OpenIdPreset},
};

/// What people read of a method: whose it is, and its name where that alone does not tell it from another.
pub(crate) fn label(method: &LoginMethod, all: &[LoginMethod]) -> String {
    let of = |kind: &LoginMethodKind| match kind {
        LoginMethodKind::OpenId(openid) => match openid.preset {
            OpenIdPreset::Oidc => None,
            OpenIdPreset::Entra => Some("Microsoft Entra"),
            OpenIdPreset::Google => Some("Google"),
            OpenIdPreset::Okta => Some("Okta"),
            OpenIdPreset::Keycloak => Some("Keycloak"),
            OpenIdPreset::Auth0 => Some("Auth0"),
            OpenIdPreset::Gitlab => Some("GitLab"),
        },
        LoginMethodKind::Github(_) => Some("GitHub"),
        LoginMethodKind::OneTimePin | LoginMethodKind::Passkey(_) => None,
    };
    let Some(label) = of(&method.kind) else { return method.name.to_string() };
    let alike = all.iter().filter(|other| of(&other.kind) == Some(label)).count();
    if alike > 1 { format!("{label} ({})", method.name) } else { label.to_owned() }
}

/// A method as a page offers it; a PIN and a passkey have forms of their own.
fn choice(method: &LoginMethod, all: &[LoginMethod]) -> Option<MethodChoice> {
    leads_elsewhere(method).then(|| MethodChoice { name: method.name.clone(), label: label(method, all) })
}

/// Whether a method sends people to somebody else.
pub(crate) const fn leads_elsewhere(method: &LoginMethod) -> bool {
    matches!(method.kind, LoginMethodKind::OpenId(_) | LoginMethodKind::Github(_))
}

/// Methods as a page offers them, without one.
pub(super) fn choices(methods: &[&LoginMethod], all: &[LoginMethod], without: Option<&Name>) -> Vec<MethodChoice> {
    methods.iter().filter(|method| Some(&method.name) != without).filter_map(|method| choice(method, all)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{GithubMethod, SealedSecret};

    #[test]
    fn a_method_is_called_by_whose_it_is_and_by_its_name_where_there_are_two() {
        let github = |name: &str| LoginMethod {
            name: name.parse().unwrap(),
            kind: LoginMethodKind::Github(Box::new(GithubMethod {
                client_id: "c".into(),
                client_secret: SealedSecret(vec![]),
                authority: "https://github.com".into(),
                api: "https://api.github.com".into(),
                private_address: false,
                ca: None,
            })),
        };
        let one = [github("hub")];
        assert_eq!(label(&one[0], &one), "GitHub");
        let two = [github("hub"), github("ghe")];
        assert_eq!(label(&two[1], &two), "GitHub (ghe)");
        let pin = LoginMethod { name: "mail".parse().unwrap(), kind: LoginMethodKind::OneTimePin };
        assert!(choices(&[&pin], &two, None).is_empty());
        assert_eq!(choices(&[&two[0], &two[1]], &two, Some(&two[0].name)).len(), 1);
    }
}
