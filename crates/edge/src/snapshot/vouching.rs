//! Whose word a login is, and whether that word still counts: by what is declared now, not by what was at the login.

use std::collections::{HashMap, HashSet};

use tunnel_proto::Name;

use crate::store::{ISSUER_INVITED, ISSUER_MAILBOX, ISSUER_SETUP, LoginMethod, LoginMethodKind};

/// The login methods that count, with who vouches by each. Looked up for every request.
#[derive(Debug)]
pub(super) struct Vouching {
    methods: HashMap<Name, Word>,
    /// Everybody who vouches by some method other than a passkey.
    issuers: HashSet<String>,
}

/// Whose word a login by one method is.
#[derive(Debug)]
enum Word {
    /// This issuer's.
    Of(String),
    /// That of whoever vouches for the person: a passkey says no more than that they are there.
    ThePersons,
}

impl Vouching {
    pub(super) fn of<'a>(methods: impl IntoIterator<Item = &'a LoginMethod>) -> Self {
        let word = |method: &LoginMethod| match &method.kind {
            LoginMethodKind::OneTimePin => Word::Of(ISSUER_MAILBOX.to_owned()),
            LoginMethodKind::Passkey(_) => Word::ThePersons,
            LoginMethodKind::OpenId(openid) => Word::Of(openid.issuer.clone()),
            LoginMethodKind::Github(github) => Word::Of(github.authority.clone()),
        };
        let methods: HashMap<_, _> = methods.into_iter().map(|method| (method.name.clone(), word(method))).collect();
        let issuers = methods.values().filter_map(|word| match word {
            Word::Of(issuer) => Some(issuer.clone()),
            Word::ThePersons => None,
        });
        Self { issuers: issuers.collect(), methods }
    }

    /// Those of `methods` that an application lists. Of passkeys alone, anybody's counts for whom one of `methods` vouches.
    pub(super) fn at(methods: &[LoginMethod], listed: &[Name]) -> Self {
        let mut among = Self::of(methods.iter().filter(|method| listed.contains(&method.name)));
        if listed.iter().all(|name| matches!(among.methods.get(name), Some(Word::ThePersons))) {
            among.issuers = Self::of(methods).issuers;
        }
        among
    }

    /// Whether there is a method of this name.
    pub(super) fn has(&self, method: &Name) -> bool {
        self.methods.contains_key(method)
    }

    /// Whether anybody vouches for the people of `issuer`.
    pub(super) fn vouches_for(&self, issuer: &str) -> bool {
        issuer == ISSUER_INVITED || self.issuers.contains(issuer)
    }

    /// Whether a login by the method of this name counts, for which `issuer` vouched.
    pub(super) fn counts(&self, method: &Name, issuer: &str) -> bool {
        match self.methods.get(method) {
            Some(Word::Of(word)) => word == issuer || (word == ISSUER_MAILBOX && issuer == ISSUER_SETUP),
            Some(Word::ThePersons) => self.vouches_for(issuer),
            // Whoever has just been set up need not have declared anything yet.
            None => issuer == ISSUER_SETUP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{GithubMethod, OpenIdMethod, OpenIdPreset, PasskeyMethod, SealedSecret};

    fn method(name: &str, kind: LoginMethodKind) -> LoginMethod {
        LoginMethod { name: name.parse().unwrap(), kind }
    }

    fn openid(issuer: &str) -> LoginMethodKind {
        LoginMethodKind::OpenId(Box::new(OpenIdMethod {
            preset: OpenIdPreset::Oidc,
            issuer: issuer.to_owned(),
            client_id: "edge".to_owned(),
            client_secret: SealedSecret(vec![]),
            scopes: vec![],
            email_claim: None,
            groups_claim: None,
            groups: false,
            graph: None,
            claims: vec![],
            hosted_domain: None,
            authoritative_for: vec![],
            private_address: false,
            revalidate: None,
            ca: None,
        }))
    }

    fn passkey() -> LoginMethodKind {
        LoginMethodKind::Passkey(PasskeyMethod { renew: PasskeyMethod::RENEW_DEFAULT })
    }

    // S5, O6
    #[test]
    fn a_login_counts_by_the_word_of_whoever_its_method_names_now() {
        let github = GithubMethod {
            client_id: "edge".to_owned(),
            client_secret: SealedSecret(vec![]),
            authority: "https://github.com".to_owned(),
            api: "https://api.github.com".to_owned(),
            private_address: false,
            ca: None,
        };
        let all = [
            method("pin", LoginMethodKind::OneTimePin),
            method("key", passkey()),
            method("work", openid("https://a.example")),
            method("hub", LoginMethodKind::Github(Box::new(github))),
        ];
        let (a, b) = ("https://a.example", "https://b.example");
        let every = [a, b, "https://github.com", ISSUER_MAILBOX, ISSUER_INVITED, ISSUER_SETUP, ""];
        for (name, good) in [
            ("pin", vec![ISSUER_MAILBOX, ISSUER_SETUP]),
            ("key", vec![a, "https://github.com", ISSUER_MAILBOX, ISSUER_INVITED]),
            ("work", vec![a]),
            ("hub", vec!["https://github.com"]),
            ("partners", vec![ISSUER_SETUP]),
        ] {
            for issuer in every {
                let counts = Vouching::of(&all).counts(&name.parse().unwrap(), issuer);
                assert_eq!(counts, good.contains(&issuer), "{name} by the word of `{issuer}`");
            }
        }
        // Declared anew, under the same name, with another issuer, or as another kind.
        let anew = [method("pin", openid(b)), method("work", openid(b)), method("key", passkey())];
        let anew = Vouching::of(&anew);
        for (name, issuer, counts) in [
            ("work", a, false),
            ("work", b, true),
            ("pin", ISSUER_MAILBOX, false),
            ("pin", ISSUER_SETUP, false),
            ("key", a, false),
            ("key", b, true),
            ("key", ISSUER_MAILBOX, false),
            ("key", ISSUER_INVITED, true),
        ] {
            assert_eq!(anew.counts(&name.parse().unwrap(), issuer), counts, "{name} by the word of `{issuer}`");
        }
    }

    // S5
    #[test]
    fn at_an_application_a_passkey_counts_by_the_word_of_a_method_that_it_lists() {
        let (a, b) = ("https://a.example", "https://b.example");
        let all = [
            method("pin", LoginMethodKind::OneTimePin),
            method("key", passkey()),
            method("work", openid(a)),
            method("other", openid(b)),
        ];
        for (listed, good) in [
            (vec!["work", "key"], vec![a, ISSUER_INVITED]),
            (vec!["key", "pin", "other"], vec![b, ISSUER_MAILBOX, ISSUER_INVITED]),
            (vec!["key"], vec![a, b, ISSUER_MAILBOX, ISSUER_INVITED]),
            // What is gone does not make passkeys the only way.
            (vec!["key", "gone"], vec![ISSUER_INVITED]),
        ] {
            let names: Vec<Name> = listed.iter().map(|name| name.parse().unwrap()).collect();
            let among = Vouching::at(&all, &names);
            for issuer in [a, b, ISSUER_MAILBOX, ISSUER_INVITED, ISSUER_SETUP, ""] {
                let counts = among.counts(&"key".parse().unwrap(), issuer);
                assert_eq!(counts, good.contains(&issuer), "{listed:?} by the word of `{issuer}`");
            }
        }
    }
}
