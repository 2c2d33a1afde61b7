//! Handing mail to a mail server.

use std::{error::Error as _, net::IpAddr, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::{
        self, PoolConfig,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tunnel_auth::SecretBytes;
use tunnel_proto::Hostname;
use url::{Host, Url};

use super::MailError;

/// How long one mail may take from the connection to the server's last word. Servers that look a recipient up while one
/// waits take up to some tens of seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(15);
/// The most connections to the server at once.
pub(super) const CONNECTIONS: usize = 4;
/// The longest detail kept in the delivery log, in characters.
const DETAIL_MAX: usize = 300;

/// The mail server, its address already judged.
#[derive(Clone)]
pub struct SmtpConfig {
    host: String,
    port: u16,
    security: Security,
    user: Option<String>,
    password: Option<SecretBytes>,
    roots: Vec<Certificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    /// `smtps://`: TLS from the first byte.
    Implicit,
    /// `smtp://`: STARTTLS, or nothing is sent.
    StartTls,
    /// `smtp://` to a loopback address.
    Plain,
}

impl SmtpConfig {
    /// The server at `url`: `smtps://[USER@]HOST[:PORT]` (implicit TLS, port 465), or `smtp://…` (port 587), which requires
    /// STARTTLS except to a loopback address. `ca` holds further certificates to trust (PEM), beside the system's.
    pub fn new(url: &str, password: Option<SecretBytes>, ca: Option<&[u8]>) -> Result<Self, SmtpConfigError> {
        let url = Url::parse(url).map_err(|_| SmtpConfigError::Url)?;
        // `smtp` is no special scheme to the parser, so hosts come as they were written.
        let host = match url.host().ok_or(SmtpConfigError::Url)? {
            Host::Domain(name) => name
                .parse::<IpAddr>()
                .map(|ip| ip.to_string())
                .or_else(|_| Hostname::parse(name).map(|name| name.to_string()).map_err(|_| SmtpConfigError::Url))?,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(SmtpConfigError::Url);
        }
        if url.password().is_some() {
            return Err(SmtpConfigError::PasswordInUrl);
        }
        let user = percent_encoding::percent_decode_str(url.username()).decode_utf8();
        let user = user.map_err(|_| SmtpConfigError::Url)?.into_owned();
        let user = Some(user).filter(|user| !user.is_empty());
        if user.is_some() != password.is_some() {
            return Err(SmtpConfigError::HalfCredentials);
        }
        let is_local = host == "localhost" || host.ends_with(".localhost");
        let loopback = is_local || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        let (security, port) = match url.scheme() {
            "smtps" => (Security::Implicit, 465),
            "smtp" if loopback => (Security::Plain, 587),
            "smtp" => (Security::StartTls, 587),
            _ => return Err(SmtpConfigError::Url),
        };
        let roots = match ca {
            None => Vec::new(),
            Some(pem) => certificates(pem).ok_or(SmtpConfigError::Ca)?,
        };
        Ok(Self { host, port: url.port().unwrap_or(port), security, user, password, roots })
    }

    /// `host:port`, for messages.
    pub fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The certificates in a PEM file; `None` when one is broken or there is none, which the library would take for enough.
fn certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty())?;
    found.into_iter().map(|der| Certificate::from_der(der.to_vec()).ok()).collect()
}

impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpConfig")
            .field("server", &self.server())
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

/// Why a mail server's description cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpConfigError {
    /// Not an address of a mail server.
    #[error("not of the form `smtps://user@mail.example:465` or `smtp://mail.example:587`")]
    Url,
    /// A password where it is easily seen.
    #[error("the password does not belong into the address; put it into a file and name that as `password_file`")]
    PasswordInUrl,
    /// A user without a password, or the other way round.
    #[error("a user in the address and `password_file` belong together; give both or neither")]
    HalfCredentials,
    /// The certificates to trust cannot be read.
    #[error("no certificate (PEM) in the file of certificates to trust")]
    Ca,
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The server took the mail.
    Taken,
    /// Not now.
    Later(String),
    /// Never, for this recipient.
    Never(String),
}

/// A pool of connections to the server.
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    patience: Duration,
}

impl Smtp {
    pub(super) fn new(config: &SmtpConfig, login_host: &Hostname) -> Result<Self, MailError> {
        let parameters = || {
            let builder = TlsParameters::builder(config.host.clone());
            let builder =
                config.roots.iter().cloned().fold(builder, |builder, root| builder.add_root_certificate(root));
            builder.build_rustls().map_err(MailError::Tls)
        };
        let tls = match config.security {
            Security::Implicit => Tls::Wrapper(parameters()?),
            Security::StartTls => Tls::Required(parameters()?),
            Security::Plain => Tls::None,
        };
        // Programs of ours take `localhost` for loopback, whatever the resolver says.
        let plain_local = config.security == Security::Plain && config.host.parse::<IpAddr>().is_err();
        let host = if plain_local { "127.0.0.1" } else { &config.host };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(CONNECT))
            .hello_name(ClientId::Domain(login_host.to_string()))
            .pool_config(PoolConfig::new().max_size(4).idle_timeout(Duration::from_secs(60)));
        if let (Some(user), Some(password)) = (&config.user, &config.password) {
            let password = String::from_utf8_lossy(password.expose()).trim_end_matches(['\r', '\n']).to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self { transport: builder.build(), patience: PATIENCE })
    }

    /// Whether the server is there and lets us in.
    pub(super) async fn probe(&self) -> Result<(), String> {
        match tokio::time::timeout(self.patience, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("the mail server does not answer as one".to_owned()),
            Ok(Err(error)) => Err(detail(&error, "")),
            Err(_) => Err(format!("no answer from the mail server within {} seconds", self.patience.as_secs())),
        }
    }

    pub(super) async fn send(&self, message: Message) -> Attempt {
        let recipient = message.envelope().to().first().map(ToString::to_string).unwrap_or_default();
        match tokio::time::timeout(self.patience, self.transport.send(message)).await {
            Ok(Ok(_)) => Attempt::Taken,
            Ok(Err(error)) => {
                let detail = detail(&error, &recipient);
                if is_final(&error) { Attempt::Never(detail) } else { Attempt::Later(detail) }
            }
            Err(_) => {
                Attempt::Later(format!("no answer from the mail server within {} seconds", self.patience.as_secs()))
            }
        }
    }
}

/// Whether the server will never take this mail. A refused login (530, 534, 535, 538; RFC 4954 §6) is between the server
/// and us and says nothing about the mail, so that it waits for the mend.
fn is_final(error: &smtp::Error) -> bool {
    let code = error.status().map(u16::from);
    error.is_permanent() && !matches!(code, Some(530 | 534 | 535 | 538))
}

/// What went wrong, for the delivery log: in one line, not too long, and without the recipient, whom servers like to quote.
fn detail(error: &smtp::Error, recipient: &str) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    let text = if recipient.is_empty() { text } else { replace_ignoring_case(&text, recipient, "(recipient)") };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MAX).collect()
}

fn replace_ignoring_case(text: &str, what: &str, with: &str) -> String {
    let pattern = regex::RegexBuilder::new(&regex::escape(what)).case_insensitive(true).build();
    pattern.map_or_else(|_| with.to_owned(), |pattern| pattern.replace_all(text, with).into_owned())
}

#[cfg(test)]
mod tests;
