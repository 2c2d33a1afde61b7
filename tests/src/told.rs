//! Names of fields by which a service learns who asks and from where, as the documentation lists them: for whoever forges them,
//! and for whoever looks at what arrived.

use std::sync::LazyLock;

/// Those that the edge sets.
pub const OURS: [&str; 7] = [
    "access-jwt-assertion",
    "access-user-email",
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];
/// Those that only the edge may tell, in normal form.
pub const KEPT: [&str; 20] = [
    "access-jwt-assertion",
    "access-user-email",
    "forwarded",
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "x-authenticated-user",
    "x-webauth-user",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-host",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-ms-client-principal",
    "true-client-ip",
    "cf-connecting-ip",
];
/// And what others of them begin with.
pub const PREFIXES: [&str; 14] = [
    "access-user-",
    "cf-access-",
    "x-forwarded-",
    "x-auth-request-",
    "x-remote-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal-",
    "x-amzn-oidc-",
    "x-authentik-",
    "x-pomerium-",
    "tailscale-",
    "x-ssl-client-",
    "ssl-client-",
];
/// Some that begin so.
const EXAMPLES: [&str; 21] = [
    "access-user-groups",
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    "cf-access-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-uri",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-auth-request-email",
    "x-remote-user",
    "x-goog-authenticated-user-email",
    "x-goog-iap-jwt-assertion",
    "x-ms-client-principal-name",
    "x-amzn-oidc-data",
    "x-authentik-username",
    "x-pomerium-jwt-assertion",
    "tailscale-user-login",
    "x-ssl-client-s-dn",
];

/// All that a visitor may try.
pub static FORGED: LazyLock<Vec<&str>> = LazyLock::new(|| [&KEPT[..], &EXAMPLES].concat());

/// Whether a visitor's field of this name, in normal form, goes on to no service.
pub fn is_kept(plain: &str) -> bool {
    KEPT.contains(&plain) || PREFIXES.iter().any(|prefix| plain.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_them_all() {
        let text = include_str!("../../docs/what-passes.md").to_lowercase();
        for name in KEPT {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
        for prefix in PREFIXES {
            assert!(text.contains(&format!("`{prefix}…`")), "{prefix}");
        }
        assert!(FORGED.iter().chain(&OURS).all(|name| is_kept(name)));
    }
}
