//! The first bytes of a TLS connection: what they mean does not depend on the pieces in which they come, nothing is taken
//! before the handshake is over, and what one host was told resumes nothing at another.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    },
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tunnel_tests::{
    PATIENCE, Stage,
    process::long,
    raw::trusting,
    run,
    stage::{APP, STAFF, WWW},
};

/// What comes before what a record has in it.
const RECORD_HEAD: usize = 5;
/// A record of a handshake, and one of an alert.
const HANDSHAKE: u8 = 0x16;
const ALERT: u8 = 0x15;

/// A TLS client whose bytes are sent by hand.
struct Hand {
    tls: ClientConnection,
    tcp: TcpStream,
}

impl Hand {
    /// Connects, and sends the first record in the pieces that `cut` makes of it.
    async fn begin(config: &Arc<ClientConfig>, host: &str, cut: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Result<Self> {
        let mut tls = ClientConnection::new(config.clone(), host.to_owned().try_into()?)?;
        ensure!(tls.early_data().is_none(), "the edge had said that it takes data before the handshake");
        let mut first = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut first)?;
        }
        let mut tcp = TcpStream::connect("127.0.0.1:443").await?;
        tcp.set_nodelay(true)?;
        for piece in cut(&first) {
            tcp.write_all(&piece).await?;
            tokio::task::yield_now().await;
        }
        Ok(Self { tls, tcp })
    }

    /// Sends what there is to send, and takes what comes; whether anything did.
    async fn turn(&mut self) -> Result<bool> {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out)?;
        }
        self.tcp.write_all(&out).await?;
        let mut buffer = vec![0; 16 * 1024];
        let came = timeout(PATIENCE, self.tcp.read(&mut buffer)).await.context("nothing came")??;
        let mut rest = &buffer[..came];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest)?;
            self.tls.process_new_packets()?;
        }
        Ok(came > 0)
    }

    async fn handshake(&mut self) -> Result<()> {
        while self.tls.is_handshaking() {
            ensure!(self.turn().await?, "closed within the handshake");
        }
        Ok(())
    }

    /// Says something, and gives all that is answered until the end.
    async fn ask(&mut self, said: &[u8]) -> Result<Vec<u8>> {
        self.tls.writer().write_all(said)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let goes_on = self.turn().await;
            while let Ok(count @ 1..) = self.tls.reader().read(&mut buffer) {
                answer.extend_from_slice(&buffer[..count]);
            }
            match goes_on {
                Ok(true) => {}
                Ok(false) => return Ok(answer),
                // An end that was not announced is an end, too; what was said before it counts.
                Err(_) if !answer.is_empty() => return Ok(answer),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The same record as several, which begin at these places of what it has in it.
fn records(first: &[u8], at: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let (head, body) = first.split_at(RECORD_HEAD);
    let (mut out, mut from) = (Vec::new(), 0);
    for to in at.into_iter().chain([body.len()]) {
        out.extend_from_slice(&head[..3]);
        out.extend(u16::try_from(to - from).expect("pieces of a record").to_be_bytes());
        out.extend_from_slice(&body[from..to]);
        from = to;
    }
    out
}

fn bytes(all: &[u8]) -> Vec<Vec<u8>> {
    all.iter().map(|byte| vec![*byte]).collect()
}

fn offering(ca: &str, alpn: &str) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::clone(&*trusting(ca)?);
    config.alpn_protocols = vec![alpn.into()];
    Ok(Arc::new(config))
}

fn request(host: &str) -> Vec<u8> {
    let fields = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nConnection: close";
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n").into_bytes()
}

/// How a hello is cut up, and what it is called.
type Cut = (&'static str, fn(&[u8]) -> Vec<Vec<u8>>);

const CUTS: [Cut; 5] = [
    ("as it is", |first| vec![first.to_vec()]),
    ("segments of one byte", bytes),
    ("two records", |first| vec![records(first, [1])]),
    ("records of one byte", |first| vec![records(first, 1..first.len() - RECORD_HEAD)]),
    ("records of seven bytes in segments of one", |first| {
        bytes(&records(first, (7..first.len() - RECORD_HEAD).step_by(7)))
    }),
];

/// R22, H13: whichever way a hello is cut up, its host gets its own certificate and its request is judged as any other; and
/// a link has to show a certificate of its own.
#[test]
fn a_hello_in_pieces_means_what_it_means_as_a_whole() {
    run("hellos", async |lab| {
        let stage = Stage::set(&lab).await?;
        let (web, link) = (offering(&stage.ca, "http/1.1")?, offering(&stage.ca, "tunnel/1")?);
        for (name, cut) in CUTS {
            for host in [WWW, APP] {
                let mut hand = Hand::begin(&web, host, cut).await.context(name)?;
                // The certificate is held against the host by the client.
                hand.handshake().await.context(name)?;
                let answer = String::from_utf8(hand.ask(&request(host)).await.context(name)?)?;
                assert!(answer.starts_with("HTTP/1.1 303 "), "{name}: {answer}");
            }
            let mut hand = Hand::begin(&link, "access.example.test", cut).await.context(name)?;
            // By TLS 1.3 a client has finished before it hears that its certificate is missing.
            let shown = match hand.handshake().await {
                Ok(()) => hand.ask(b"a greeting").await.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            assert_eq!(shown, b"", "{name}: a link without a certificate is told nothing");
        }
        stage.assert_silence("nobody has logged in");
        Ok(())
    });
}

/// R64: two records, cut at every place, and a connection that ends there.
#[test]
fn a_hello_may_be_cut_anywhere() {
    run("hello-cuts", async |lab| {
        let stage = Stage::set(&lab).await?;
        let web = offering(&stage.ca, "http/1.1")?;
        let mut whole = Vec::new();
        Hand::begin(&web, WWW, |first| {
            whole = first.to_vec();
            vec![]
        })
        .await?;
        let step = |at: usize| if long() || at < 100 { 1 } else { 37 };
        let places = std::iter::successors(Some(1), |at| Some(at + step(*at)));
        let mut cuts = 0;
        for at in places.take_while(|at| *at < whole.len() - RECORD_HEAD - 1) {
            let mut hand = Hand::begin(&web, WWW, |first| vec![records(first, [at])]).await?;
            let mut kind = [0];
            timeout(PATIENCE, hand.tcp.read_exact(&mut kind)).await.with_context(|| format!("cut at {at}"))??;
            assert_eq!(kind, [HANDSHAKE], "cut at {at}");
            // The one that ends there is nobody's trouble but its own.
            let mut hand = Hand::begin(&web, WWW, |first| vec![first[..RECORD_HEAD + at].to_vec()]).await?;
            hand.tcp.shutdown().await?;
            let mut answer = Vec::new();
            timeout(PATIENCE, hand.tcp.read_to_end(&mut answer)).await.with_context(|| format!("{at} bytes"))?.ok();
            assert!(answer.is_empty() || answer[0] == ALERT, "{at} bytes: {answer:?}");
            cuts += 1;
        }
        assert!(cuts > 100, "{cuts} cuts");
        let mut hand = Hand::begin(&web, WWW, |first| vec![first.to_vec()]).await?;
        hand.handshake().await?;
        assert!(hand.ask(&request(WWW)).await?.starts_with(b"HTTP/1.1 303 "), "and the edge is as it was");
        Ok(())
    });
}

/// Keeps what servers give for coming back, whichever host it is from, and shows it at all.
#[derive(Debug)]
struct Careless(ClientSessionMemoryCache);

fn one() -> ServerName<'static> {
    ServerName::try_from(WWW).expect("a name")
}

impl ClientSessionStore for Careless {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}

/// R23, R33, H3: who comes back with what the edge gave them may resume at that host, sends nothing before the handshake is
/// over, and begins anew at another host.
#[test]
fn coming_back_is_for_the_same_host_and_nothing_is_taken_early() {
    run("resumption", async |lab| {
        let stage = Stage::set(&lab).await?;
        let session = stage.somebody(WWW, STAFF).await?.session(WWW)?;
        for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
            let trusted = ClientConfig::clone(&*trusting(&stage.ca)?);
            let provider = trusted.crypto_provider().clone();
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(stage.ca.as_bytes()) {
                roots.add(certificate?)?;
            }
            let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.enable_early_data = true;
            config.resumption = Resumption::store(Arc::new(Careless(ClientSessionMemoryCache::new(8))));
            let config = Arc::new(config);
            let visit = async |host: &str| {
                let mut hand = Hand::begin(&config, host, |first| vec![first.to_vec()]).await?;
                hand.handshake().await?;
                let kind = hand.tls.handshake_kind();
                let head = String::from_utf8(request(host))?;
                let head = head.replace("Accept:", &format!("Cookie: {session}\r\nAccept:"));
                let answer = String::from_utf8(hand.ask(head.as_bytes()).await?)?;
                anyhow::Ok((kind, answer.split(' ').nth(1).unwrap_or_default().to_owned()))
            };
            assert_eq!(visit(WWW).await?, (Some(HandshakeKind::Full), "200".to_owned()));
            assert_eq!(visit(WWW).await?, (Some(HandshakeKind::Resumed), "200".to_owned()), "{versions:?}");
            assert_eq!(visit(APP).await?, (Some(HandshakeKind::Full), "303".to_owned()), "{versions:?}");
        }
        stage.app.assert_heard_nothing("nobody has logged in there");
        Ok(())
    });
}
