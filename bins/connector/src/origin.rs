//! How the service is reached, beyond its address: the flags, and the form in which they are stored.

use std::{path::PathBuf, time::Duration};

use clap::{Args, builder::FalseyValueParser};
use serde::{Deserialize, Serialize};
use tunnel_origin::{Service, ServiceOptions};
use tunnel_proto::HostPattern;

use crate::{duration, failure::Failure, files};

/// How the service is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OriginArgs {
    /// Trust these certificates (PEM file) of the service or its CA, as well as the system's; may be repeated
    #[arg(long, value_name = "FILE", env = "TUNNEL_ORIGIN_CA_POOL", value_parser = absolute)]
    pub(crate) origin_ca_pool: Vec<PathBuf>,
    /// The name that the service's certificate has to carry, and that it is asked for
    #[arg(long, value_name = "NAME", env = "TUNNEL_ORIGIN_SERVER_NAME")]
    pub(crate) origin_server_name: Option<String>,
    /// Ask the service for the hostname that visitors open, which its certificate then has to carry
    #[arg(long, env = "TUNNEL_MATCH_SNI_TO_HOST", value_parser = FalseyValueParser::new(), num_args = 0, default_missing_value = "true", default_value = "false")]
    pub(crate) match_sni_to_host: bool,
    /// Believe whatever certificate the service shows (dangerous)
    #[arg(long, env = "TUNNEL_NO_TLS_VERIFY", value_parser = FalseyValueParser::new(), num_args = 0, default_missing_value = "true", default_value = "false")]
    pub(crate) no_tls_verify: bool,
    /// Speak HTTP/2 to the service; gRPC needs it
    #[arg(long, env = "TUNNEL_HTTP2_ORIGIN", value_parser = FalseyValueParser::new(), num_args = 0, default_missing_value = "true", default_value = "false")]
    pub(crate) http2_origin: bool,
    /// The Host that the service sees instead of the visitor's
    #[arg(long, value_name = "HOST", env = "TUNNEL_HTTP_HOST_HEADER")]
    pub(crate) http_host_header: Option<String>,
    /// How long the service may take to accept a connection [default: 30s]
    #[arg(long, value_name = "TIME", env = "TUNNEL_PROXY_CONNECT_TIMEOUT", value_parser = duration::parse)]
    #[serde(with = "text")]
    pub(crate) proxy_connect_timeout: Option<Duration>,
    /// How long the TLS handshake with the service may take [default: 10s]
    #[arg(long, value_name = "TIME", env = "TUNNEL_PROXY_TLS_TIMEOUT", value_parser = duration::parse)]
    #[serde(with = "text")]
    pub(crate) proxy_tls_timeout: Option<Duration>,
}

impl OriginArgs {
    /// Whether nothing is said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The options for the connector. Reads the files.
    pub(crate) fn options(&self) -> Result<ServiceOptions, Failure> {
        let mut options = ServiceOptions::new();
        for path in &self.origin_ca_pool {
            let shown = path.display();
            let text = files::read(path)?;
            let text = text.ok_or_else(|| Failure::failed(format!("--origin-ca-pool: there is no file `{shown}`")))?;
            let pooled = options.ca_pool(&text);
            options = pooled.map_err(|error| Failure::failed(format!("--origin-ca-pool: `{shown}`: {error}")))?;
        }
        if let Some(name) = &self.origin_server_name {
            options = options.server_name(name);
        }
        if self.match_sni_to_host {
            options = options.match_sni_to_host();
        }
        if self.no_tls_verify {
            options = options.danger_no_tls_verify();
        }
        if self.http2_origin {
            options = options.http2();
        }
        if let Some(host) = &self.http_host_header {
            options = options.host_header(host);
        }
        if let Some(limit) = self.proxy_connect_timeout {
            options = options.connect_timeout(limit);
        }
        if let Some(limit) = self.proxy_tls_timeout {
            options = options.tls_timeout(limit);
        }
        Ok(options)
    }

    /// [`OriginArgs::options`], once they are known to make sense for `service` at each of these hostnames.
    pub(crate) fn checked(&self, hostnames: &[HostPattern], service: &Service) -> Result<ServiceOptions, Failure> {
        let options = self.options()?;
        hostnames.iter().try_for_each(|hostname| options.check(hostname, service)).map_err(Failure::usage)?;
        Ok(options)
    }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    // It is stored, and found again from another directory.
    std::path::absolute(text).map_err(|error| error.to_string())
}

/// A duration as people write it, for `#[serde(with = "text")]`.
mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(limit: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        limit.map(|limit| format!("{}ms", limit.as_millis())).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| crate::duration::parse(&text)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn args(words: &[&str]) -> OriginArgs {
        Cli::try_parse_from([&["connector"], words].concat()).unwrap().publish.origin
    }

    #[test]
    fn what_is_stored_is_what_was_said() {
        assert!(args(&[]).is_default());
        let said = args(&[
            "--origin-ca-pool",
            "ca.pem",
            "--origin-ca-pool",
            "/etc/other.pem",
            "--origin-server-name",
            "nas.internal",
            "--http2-origin",
            "--http-host-header",
            "nas",
            "--proxy-connect-timeout",
            "1500ms",
            "--proxy-tls-timeout",
            "1m",
        ]);
        assert!(said.origin_ca_pool.iter().all(|path| path.is_absolute()), "{said:?}");
        let stored = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<OriginArgs>(&stored).unwrap(), said);
        assert!(serde_json::from_str::<OriginArgs>("{}").unwrap().is_default());
    }

    #[test]
    fn a_flag_about_tls_beside_a_service_without_is_wrong_usage() {
        let (hostnames, plain) = (["www.example.com".parse().unwrap()], "http://localhost:1".parse().unwrap());
        for words in [
            &["--no-tls-verify"][..],
            &["--origin-server-name", "x"],
            &["--match-sni-to-host"],
            &["--proxy-tls-timeout", "3s"],
        ] {
            let failure = args(words).checked(&hostnames, &plain).unwrap_err();
            assert!(failure.exit_code() == 2 && failure.to_string().contains(words[0]), "{failure}");
        }
        let tls = "https://localhost:1".parse().unwrap();
        assert!(args(&["--no-tls-verify"]).checked(&hostnames, &tls).is_ok());
        let wild = ["*.example.com".parse().unwrap()];
        let failure = args(&["--match-sni-to-host"]).checked(&wild, &tls).unwrap_err();
        assert!(failure.exit_code() == 2 && failure.to_string().contains("`*.example.com`"), "{failure}");
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let said = args(&["--origin-ca-pool", path.to_str().unwrap()]);
        assert!(said.options().unwrap_err().to_string().contains("there is no file"));
        std::fs::write(&path, "hello").unwrap();
        let failure = said.options().unwrap_err().to_string();
        assert!(failure.contains("ca.pem") && failure.contains("no certificate"), "{failure}");
    }
}
