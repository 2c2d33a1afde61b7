//! Dynamic updates of a name server (RFC 2136), signed by a shared key (TSIG, RFC 8945).

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use hickory_proto::{
    op::{ResponseCode, update_message},
    rr::{Name, RData, RecordSet, RecordType, TSigner, rdata::TXT, rdata::tsig::TsigAlgorithm},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tunnel_proto::Hostname;

use super::{AcmeError, dns::Deed, read};

/// How long one update may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long resolvers may keep a record, in seconds.
const TTL: u32 = 60;
/// By how many seconds the server's clock may differ (RFC 8945 §10).
const FUDGE: u16 = 300;
/// The longest key, in bytes.
const KEY_MAX: usize = 512;

/// A name server that takes updates of a zone.
pub(super) struct Update {
    server: String,
    zone: Name,
    signer: TSigner,
}

impl Update {
    pub(super) fn new(server: &str, zone: &Hostname, key_name: &str, key_file: &Path) -> Result<Self, AcmeError> {
        const KEY: &str = "tls.acme.dns.key_file";
        let useless = |key, reason: String| AcmeError::Useless { key, reason };
        let text = read(KEY, key_file)?;
        let key = shared_key(&text);
        let key = key.ok_or_else(|| {
            useless(KEY, format!("`{}` holds no key in base64, nor a file of `tsig-keygen`", key_file.display()))
        })?;
        let name = Name::from_ascii(key_name).map_err(|error| useless("tls.acme.dns.key_name", error.to_string()))?;
        let signer = TSigner::new(key, TsigAlgorithm::HmacSha256, name, FUDGE);
        let signer = signer.map_err(|error| useless(KEY, error.to_string()))?;
        let zone = absolute(zone.as_str()).map_err(|error| useless("tls.acme.dns.zone", error))?;
        Ok(Self { server: server.to_owned(), zone, signer })
    }

    /// Adds or removes one TXT record.
    pub(super) async fn send(&self, deed: Deed, name: &str, value: &str) -> Result<(), String> {
        let sending = self.exchange(deed, name, value);
        let sent = tokio::time::timeout(PATIENCE, sending).await;
        let sent = sent.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        sent.map_err(|error| format!("the update of {name} at {}: {error}", self.server))
    }

    async fn exchange(&self, deed: Deed, name: &str, value: &str) -> Result<(), String> {
        let name = absolute(name)?;
        // The library's word for it is a panic.
        if !self.zone.zone_of(&name) {
            return Err(format!("it is not in the zone {}", self.zone));
        }
        let mut records = RecordSet::with_ttl(name, RecordType::TXT, TTL);
        records.add_rdata(RData::TXT(TXT::new(vec![value.to_owned()])));
        let mut message = match deed {
            Deed::Add => update_message::append(records, self.zone.clone(), false, false),
            Deed::Remove => update_message::delete_by_rdata(records, self.zone.clone(), false),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let verifier = message.finalize(&self.signer, now).map_err(|error| error.to_string())?;
        let mut verifier = verifier.ok_or("it cannot be signed")?;
        let bytes = message.to_vec().map_err(|error| error.to_string())?;
        let length = u16::try_from(bytes.len()).map_err(|_| "it is too long")?;
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(self.server.as_str()).await.map_err(failed)?;
        stream.write_all(&[length.to_be_bytes().as_slice(), &bytes].concat()).await.map_err(failed)?;
        let mut answer = vec![0; usize::from(stream.read_u16().await.map_err(failed)?)];
        stream.read_exact(&mut answer).await.map_err(failed)?;
        let refused = |code: ResponseCode| format!("the server refuses: {code}{}", hint(code));
        // Who does not know our key cannot sign an answer; a refusal is believed unsigned.
        let plain = hickory_proto::op::Message::from_vec(&answer).map_err(|error| error.to_string())?;
        if plain.metadata.id != message.metadata.id {
            return Err("an answer to something else".to_owned());
        }
        if plain.metadata.response_code != ResponseCode::NoError {
            return Err(refused(plain.metadata.response_code));
        }
        verifier.verify(&answer).map(drop).map_err(|error| format!("the answer is not signed as it should be: {error}"))
    }
}

fn hint(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NotAuth => "; name and content of the key must be those of the server, and its clock right",
        ResponseCode::Refused => "; the key must be allowed to update the zone",
        ResponseCode::NotZone => "; `tls.acme.dns.zone` must be the zone that the name is in",
        _ => "",
    }
}

/// The name with the dot at its end.
fn absolute(name: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(name).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

/// The key in a file: base64 alone, or what `tsig-keygen` writes.
fn shared_key(text: &str) -> Option<Vec<u8>> {
    let encoded = match text.split_once("secret") {
        Some((_, rest)) if text.contains('{') => rest.split('"').nth(1)?,
        _ => text,
    };
    let key = BASE64.decode(encoded.trim().as_bytes()).ok()?;
    (!key.is_empty() && key.len() <= KEY_MAX).then_some(key)
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, OpCode},
        rr::DNSClass,
    };
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_key_is_read_in_either_form() {
        assert_eq!(shared_key("c2VjcmV0\n").unwrap(), b"secret");
        let file = "key \"edge\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        assert_eq!(shared_key(file).unwrap(), b"secret");
        for useless in ["", "\n", "not base64!", "key { secret }"] {
            assert_eq!(shared_key(useless), None, "{useless}");
        }
    }

    async fn update(server: &str, secret: &str) -> Update {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, secret).unwrap();
        Update::new(server, &Hostname::parse("example.test").unwrap(), "edge", &file).unwrap()
    }

    /// A server that takes one update and answers with `code`, signed by `key` if there is one.
    async fn server(code: ResponseCode, key: Option<&'static [u8]>) -> (String, tokio::task::JoinHandle<Message>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut bytes).await.unwrap();
            let asked = Message::from_vec(&bytes).unwrap();
            let mut answer = Message::error_msg(asked.metadata.id, OpCode::Update, code);
            if let Some(key) = key {
                let name = Name::from_ascii("edge.").unwrap();
                let signer = TSigner::new(key.to_vec(), TsigAlgorithm::HmacSha256, name, FUDGE).unwrap();
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                let mac = asked.signature().unwrap().data.mac.clone();
                let context = hickory_proto::rr::TSigResponseContext::new(asked.metadata.id, now, signer, mac, None);
                let signature = context.sign(&answer.to_vec().unwrap()).unwrap();
                answer.set_signature(signature);
            }
            let bytes = answer.to_vec().unwrap();
            stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            asked
        });
        (address, task)
    }

    #[tokio::test]
    async fn a_signed_answer_is_believed_and_an_unsigned_yes_is_not() {
        const NAME: &str = "_acme-challenge.example.test";
        let (address, asked) = server(ResponseCode::NoError, Some(b"secret")).await;
        update(&address, "c2VjcmV0").await.send(Deed::Add, NAME, "value").await.unwrap();
        let asked = asked.await.unwrap();
        assert!(asked.signature().is_some());
        let record = &asked.authorities[0];
        assert_eq!((record.name.to_string(), record.ttl), (format!("{NAME}."), TTL));
        for key in [None, Some(&b"other"[..])] {
            let (address, _asked) = server(ResponseCode::NoError, key).await;
            let error = update(&address, "c2VjcmV0").await.send(Deed::Add, NAME, "value").await.unwrap_err();
            assert!(error.contains("signed"), "{error}");
        }
        let (address, _asked) = server(ResponseCode::NotAuth, None).await;
        let error = update(&address, "c2VjcmV0").await.send(Deed::Remove, NAME, "value").await.unwrap_err();
        assert!(error.contains("refuses") && error.contains("key"), "{error}");
        let error = update("127.0.0.1:1", "c2VjcmV0").await.send(Deed::Add, "www.other.test", "v").await.unwrap_err();
        assert!(error.contains("not in the zone"), "{error}");
    }

    // R32
    #[tokio::test]
    async fn a_record_that_is_to_go_is_taken_away_and_not_made_once_more() {
        // RFC 2136 §2.5.1 and §2.5.4.
        for (deed, class, ttl) in [(Deed::Add, DNSClass::IN, TTL), (Deed::Remove, DNSClass::NONE, 0)] {
            let (address, asked) = server(ResponseCode::NoError, Some(b"secret")).await;
            let update = update(&address, "c2VjcmV0").await;
            update.send(deed, "_acme-challenge.example.test", "value").await.unwrap();
            let asked = asked.await.unwrap();
            assert_eq!(asked.authorities.len(), 1, "{deed:?}");
            let record = &asked.authorities[0];
            assert_eq!((record.dns_class, record.ttl), (class, ttl), "{deed:?}");
            assert_eq!(record.data, RData::TXT(TXT::new(vec!["value".to_owned()])), "{deed:?}");
        }
    }
}
