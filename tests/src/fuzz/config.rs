//! Files that an administrator writes: `edge.toml` and `access.yaml`.

use std::path::Path;

use tunnel_edge::{Config, config::Tls, fuzzing};
use url::Url;

use super::text;

/// The longest file that is tried. Longer ones only take longer.
const LONGEST: usize = 16 * 1024;

/// The first byte chooses the file: `y` is access.yaml, anything else edge.toml.
pub(super) fn run(data: &[u8]) {
    let Some((choice, file)) = data.split_first() else { return };
    let Some(file) = text(file).filter(|file| file.len() <= LONGEST) else { return };
    if *choice == b'y' { access_yaml(file) } else { edge_toml(file) }
}

/// What is refused is refused by place; after what is accepted nothing is invalid.
fn edge_toml(file: &str) {
    let config = match Config::parse(file, Path::new("edge.toml"), None) {
        Ok(config) => config,
        Err(error) => {
            let said = error.to_string();
            return assert!(said.starts_with("edge.toml:"), "{said:?} does not name the file");
        }
    };
    assert_ne!(config.zone.as_str(), "localhost", "the quick start has no file");
    assert_eq!(config.login_host, config.zone.child("access").expect("a child of the zone"));
    assert!(!config.quick_start && !config.listen.is_empty());
    let issuer = Url::parse(&config.issuer()).expect("the issuer is an address");
    assert_eq!((issuer.scheme(), issuer.host_str()), ("https", Some(config.login_host.as_str())));
    assert_eq!(issuer.port_or_known_default(), Some(config.https_port()));
    Url::parse(&config.visit_url(&config.zone, "/x")).expect("what people are told to visit is an address");
    assert!((1..=3600).contains(&config.response_timeout.as_secs()));
    assert!((256..=65_536).contains(&config.connections));
    assert!((32..=4096).contains(&config.connections_per_network));
    assert!(config.threads.is_none_or(|threads| threads.get() <= 256));
    if let Some(smtp) = &config.smtp {
        assert!(smtp.url.password().is_none(), "a password in the file");
    }
    if let Tls::Files(files) = &config.tls {
        assert!(!files.is_empty());
    }
    // Without a proxy that is trusted, nobody's word but the socket's counts.
    let (peer, other) = ("198.51.100.7".parse().expect("an address"), "203.0.113.9".parse().expect("an address"));
    if config.trusted_proxies.is_empty() {
        assert_eq!(config.source(peer, [Some(other)].into_iter()), peer);
    }
}

/// What is refused is refused with what is wrong; what is accepted is exported as it is meant: applied again, it changes
/// nothing.
fn access_yaml(file: &str) {
    match fuzzing::declare(file) {
        Err(problems) => assert!(!problems.list.is_empty(), "refused without a word"),
        Ok(accepted) => {
            let again = accepted.again.unwrap_or_else(|problems| {
                panic!("what is exported is refused: {problems}\nof:\n{file}\nexported:\n{}", accepted.exported)
            });
            assert!(again.is_empty(), "what is exported changes something: {again:?}\n{}", accepted.exported);
        }
    }
}
