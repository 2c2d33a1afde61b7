//! What is presented as proof: session and login cookies, client and service tokens, form tokens, assertions, sealed values.

use std::sync::OnceLock;

use data_encoding::BASE64URL_NOPAD;
use tunnel_auth::{
    Algorithm, AssertionClaims, ClientToken, HashKey, Jwks, LoginId, Pin, SealKey, SessionId, SigningKey, app_issuer,
    form, opaque::OPAQUE_LEN, seal::SEAL_OVERHEAD, verify_app,
};
use tunnel_proto::{AppId, Hostname, PersonId, UnixTime};

use super::{text, two_lines};

const ISSUER: &str = "https://access.example.com";
const NOW: UnixTime = UnixTime(1_800_000_000);
const PURPOSE: &str = "login request";
const PLAIN: &[u8] = br#"{"app":"a","host":"www.example.com"}"#;

/// What there is to imitate: keys, and one good thing of each kind.
struct Known {
    keys: Jwks,
    assertion: String,
    app: AppId,
    seal: SealKey,
    sealed: Vec<u8>,
    hash: HashKey,
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let (key, _) = SigningKey::generate(Algorithm::Es256).expect("a key");
        let app = AppId::from_bytes([0xab; 32]);
        let email = "ann@example.com".parse().expect("an address");
        let claims = AssertionClaims::new(ISSUER, app, PersonId::from_random([5; 16]), email, "n0nce", NOW);
        let seal = SealKey::new(1, &[9; 32]);
        Known {
            keys: Jwks::new([key.public()]),
            assertion: key.sign(&claims).expect("a signature"),
            app,
            sealed: seal.seal(PURPOSE, b"place", PLAIN, [3; 12]),
            seal,
            hash: HashKey::new(&[1; 32]),
        }
    })
}

/// Nothing opens but what we made, for what we made it, to the last bit.
pub(super) fn run(data: &[u8]) {
    damaged(data);
    sealed(data);
    let Some(written) = text(data) else { return };
    opaque(written);
    signed(written);
    for form in ["login", "logout", ""] {
        assert!(!form::verify(&known().hash, form, &[7; 32], written), "{written:?} is the token of a form");
    }
    pin(written);
    let (token, keys) = two_lines(data);
    if let (Some(token), Some(keys)) = (text(token), text(keys)) {
        with_keys(token, keys);
    }
}

/// What was typed for a PIN is its digits, in either width, and nothing else of it counts.
fn pin(written: &str) {
    let Some(pin) = Pin::from_typed(written) else { return };
    let typed = written.chars().take(32).filter_map(|c| match c {
        '0'..='9' => Some(c),
        '\u{ff10}'..='\u{ff19}' => char::from_u32(u32::from(c) - 0xff10 + 0x30),
        _ => None,
    });
    let digits: String = pin.grouped().chars().filter(char::is_ascii_digit).collect();
    assert_eq!(digits, typed.collect::<String>(), "{written:?}");
}

/// An opaque value has one text.
fn opaque(written: &str) {
    for read in [
        SessionId::parse(written).map(|id| id.reveal()),
        LoginId::parse(written).map(|id| id.reveal()),
        ClientToken::parse(written).map(|id| id.reveal()),
    ] {
        assert!(read.as_ref().is_none_or(|again| again.as_str() == written), "{written:?} is a second spelling");
        assert_eq!(read.is_some(), written.len() == OPAQUE_LEN && is_canonical(written), "{written:?}");
    }
}

/// 256 bits in base64url leave two bits of the last character, which are zero.
fn is_canonical(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && text.ends_with(|last| "AEIMQUYcgkosw048".contains(last))
}

/// The one good assertion is good at its place, and everything else nowhere.
fn signed(written: &str) {
    let Known { keys, assertion, app, .. } = known();
    let person = keys.verify(written, ISSUER, app, NOW);
    assert_eq!(person.is_ok(), written == assertion, "{written:?}: {person:?}");
    assert!(verify_app(written, &keys.to_json(), &host(), NOW).is_err(), "{written:?} describes an application");
    let _ = app_issuer(written);
}

/// Keys that are not ours sign nothing of ours, and the good token is not good by them.
fn with_keys(token: &str, keys: &str) {
    let Ok(others) = Jwks::from_json(keys) else { return };
    assert!(!others.keys().is_empty());
    assert_eq!(Jwks::from_json(&others.to_json()).ok().as_ref(), Some(&others), "keys do not come back");
    let _ = others.verify(token, ISSUER, &known().app, NOW);
    assert!(others.verify(&known().assertion, ISSUER, &known().app, NOW).is_err(), "by keys of others: {keys}");
}

fn host() -> Hostname {
    "rdp.example.com".parse().expect("a hostname")
}

fn sealed(data: &[u8]) {
    let Known { seal, sealed, .. } = known();
    let opened = seal.open(PURPOSE, b"place", data);
    assert_eq!(opened.is_ok(), data == sealed, "{data:?} is a sealed value");
    if let Ok(decoded) = BASE64URL_NOPAD.decode(data) {
        assert_eq!(BASE64URL_NOPAD.encode(&decoded).as_bytes(), data, "a second spelling of a sealed value");
        assert_eq!(seal.open(PURPOSE, b"place", &decoded).is_ok(), decoded == *sealed);
    }
}

/// The input says how the good ones are changed: pairs of a place and what is done to the byte there.
fn damaged(data: &[u8]) {
    let Known { keys, assertion, app, seal, sealed, .. } = known();
    let (mut token, mut value) = (assertion.clone().into_bytes(), sealed.clone());
    for pair in data.chunks_exact(2).take(16) {
        for bytes in [&mut token, &mut value] {
            let at = usize::from(pair[0]) % bytes.len().max(1);
            match pair[1] {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, pair[0]),
                other => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= other;
                    }
                }
            }
        }
    }
    assert_eq!(seal.open(PURPOSE, b"place", &value).is_ok(), value == *sealed, "{value:?} is a sealed value");
    assert!(seal.open("pin challenge", b"place", &value).is_err(), "sealed for something else");
    assert!(seal.open(PURPOSE, b"another", &value).is_err(), "sealed for another place");
    assert!(value.len() >= SEAL_OVERHEAD || seal.open(PURPOSE, b"place", &value).is_err());
    if let Ok(token) = String::from_utf8(token) {
        assert_eq!(keys.verify(&token, ISSUER, app, NOW).is_ok(), token == *assertion, "{token:?}");
    }
}
