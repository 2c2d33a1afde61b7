//! A mail server for tests that does as it is told.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tunnel_proto::{Hostname, UnixTime, identity};

/// What the server does with the next recipient it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Take,
    /// 451.
    Later,
    /// 550, quoting the recipient.
    Never,
    /// Nothing at all.
    Silence,
}

/// How the server protects its connections.
#[derive(Clone)]
pub(crate) enum Protection {
    Plain,
    Implicit(TlsAcceptor),
    StartTls(TlsAcceptor),
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) recipients: Vec<String>,
    pub(crate) raw: String,
    pub(crate) by_tls: bool,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) taken: mpsc::UnboundedReceiver<Taken>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Every command of every connection.
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(protection: Protection) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, taken) = mpsc::unbounded_channel();
        let (answers, seen) = (Arc::<Mutex<VecDeque<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (told, notes) = (answers.clone(), seen.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (protection, sender) = (protection.clone(), sender.clone());
                let script = Script { answers: told.clone(), seen: notes.clone(), sender };
                connections.spawn(async move {
                    match protection {
                        Protection::Plain => drop(script.talk(BufReader::new(socket), true, None, false).await),
                        Protection::Implicit(acceptor) => {
                            if let Ok(tls) = acceptor.accept(socket).await {
                                script.talk(BufReader::new(tls), true, None, true).await;
                            }
                        }
                        Protection::StartTls(acceptor) => {
                            let Some(plain) = script.talk(BufReader::new(socket), true, Some(()), false).await else {
                                return;
                            };
                            if let Ok(tls) = acceptor.accept(plain.into_inner()).await {
                                script.talk(BufReader::new(tls), false, None, true).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, taken, answers, seen, task }
    }

    /// What to do with the next recipients; after these, each is taken.
    pub(crate) fn will(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<String>>>,
    sender: mpsc::UnboundedSender<Taken>,
}

impl Script {
    /// Talks until the end, or until STARTTLS was agreed on: then the stream comes back.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: BufReader<S>,
        greet: bool,
        starttls: Option<()>,
        by_tls: bool,
    ) -> Option<BufReader<S>> {
        if greet {
            stream.write_all(b"220 mail.localhost ESMTP\r\n").await.ok()?;
        }
        let mut recipients = Vec::new();
        loop {
            stream.flush().await.ok()?;
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            self.seen.lock().unwrap().push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" if starttls.is_some() => "250-mail.localhost\r\n250-8BITMIME\r\n250 STARTTLS\r\n",
                "EHLO" => "250-mail.localhost\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n",
                "STARTTLS" if starttls.is_some() => {
                    stream.write_all(b"220 go\r\n").await.ok()?;
                    stream.flush().await.ok()?;
                    return Some(stream);
                }
                "AUTH" if line.contains("AHVzZXIAcmlnaHQ=") => "235 welcome\r\n",
                "AUTH" => "535 5.7.8 not you\r\n",
                "RCPT" => {
                    let to = line.split_once(':').map(|(_, to)| to).unwrap_or_default();
                    let to = to.trim().trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
                    let next = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Take);
                    match next {
                        Answer::Take => {
                            recipients.push(to);
                            "250 ok\r\n"
                        }
                        Answer::Later => "451 4.7.1 greylisted, come back\r\n",
                        Answer::Never => {
                            let answer = format!("550 5.1.1 <{}> unknown here\r\n", to.to_uppercase());
                            stream.write_all(answer.as_bytes()).await.ok()?;
                            continue;
                        }
                        Answer::Silence => std::future::pending().await,
                    }
                }
                "DATA" => {
                    stream.write_all(b"354 go\r\n").await.ok()?;
                    stream.flush().await.ok()?;
                    let mut raw = String::new();
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).await.ok()? == 0 {
                            return None;
                        }
                        if line == ".\r\n" {
                            break;
                        }
                        raw.push_str(line.strip_prefix('.').unwrap_or(&line));
                    }
                    let recipients = std::mem::take(&mut recipients);
                    self.sender.send(Taken { recipients, raw, by_tls }).ok();
                    "250 taken\r\n"
                }
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").await.ok()?;
                    return None;
                }
                _ => "250 ok\r\n",
            };
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }
}

/// TLS with a certificate for `name` of a fresh CA, and that CA (PEM).
pub(crate) fn certificate(name: &str) -> (TlsAcceptor, String) {
    let now = crate::Clock::System.now();
    let ca = identity::Ca::generate(&Hostname::parse("localhost").unwrap(), UnixTime(now.0)).unwrap();
    let certified = ca.server_certificate(&[name.parse().unwrap()], now).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(identity::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    (TlsAcceptor::from(Arc::new(config)), ca.certificate_pem().to_owned())
}
