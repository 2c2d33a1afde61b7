//! What is signed is believed, and nothing else.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD as B64;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ISS: &str = "https://access.example.com";
const NOW: UnixTime = UnixTime(1_800_000_000);

fn app() -> AppId {
    AppId::from_bytes([0xab; 32])
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap().0
}

/// A key for RS256, made once: that takes time.
fn rsa() -> &'static SigningKey {
    static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Rs256).unwrap().0);
    &KEY
}

fn claims() -> AssertionClaims {
    let sub = PersonId::from_random([5; 16]);
    AssertionClaims::new(ISS, app(), sub, "ann@example.com".parse().unwrap(), "n0nce", NOW)
}

fn verify(key: &SigningKey, token: &str) -> Result<AssertionClaims, AssertionError> {
    Jwks::new([key.public()]).verify(token, ISS, &app(), NOW)
}

#[test]
fn an_assertion_says_what_was_signed() {
    let more = claims().from_country(Some("JP".into()));
    let more = more.with_custom([("groups".to_owned(), json!(["staff", "ops"]))].into());
    for key in [&key(), rsa()] {
        for claims in [claims(), more.clone()] {
            assert_eq!(verify(key, &key.sign(&claims).unwrap()), Ok(claims));
        }
    }
    // What is not known is not there.
    let plain = serde_json::to_value(claims()).unwrap();
    assert!(plain.get("country").is_none() && plain.get("custom").is_none(), "{plain}");
    let more = serde_json::to_value(more).unwrap();
    assert_eq!((&more["country"], &more["custom"]["groups"][1]), (&json!("JP"), &json!("ops")));
}

#[test]
fn what_is_said_about_a_machine_names_no_person_and_is_not_taken_for_one() {
    let key = key();
    let claims = ServiceClaims::new(ISS, app(), "0123.access", NOW);
    let token = key.sign_service(&claims).unwrap();
    let body = token.split('.').nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&B64.decode(body.as_bytes()).unwrap()).unwrap();
    assert_eq!((&body["common_name"], &body["sub"], &body["type"]), (&"0123.access".into(), &"".into(), &"app".into()));
    assert!(body.get("email").is_none());
    assert_eq!(verify(&key, &token), Err(AssertionError::Claims));
    // Whoever asks for both is told which it is, judged as strictly.
    let set = Jwks::new([key.public()]);
    assert_eq!(set.verify_any(&token, ISS, &[app()], NOW), Ok(Claims::Machine(claims.clone())));
    assert_eq!(set.verify_any(&token, "https://evil.example", &[app()], NOW), Err(AssertionError::Issuer));
    assert_eq!(set.verify_any(&token, ISS, &[], NOW), Err(AssertionError::Audience));
    let late = UnixTime(NOW.0 + ASSERTION_LIFE + LEEWAY);
    assert_eq!(set.verify_any(&token, ISS, &[app()], late), Err(AssertionError::Time));
    let named = ServiceClaims { sub: "somebody".into(), ..claims };
    let token = key.sign_service(&named).unwrap();
    assert_eq!(set.verify_any(&token, ISS, &[app()], NOW), Err(AssertionError::Claims));
}

#[test]
fn one_of_several_applications_is_enough() {
    let key = key();
    let set = Jwks::new([key.public()]);
    let token = key.sign(&claims()).unwrap();
    let other = AppId::from_bytes([0xac; 32]);
    assert_eq!(set.verify_any(&token, ISS, &[other, app()], NOW), Ok(Claims::Person(claims())));
    assert_eq!(set.verify_any(&token, ISS, &[other], NOW), Err(AssertionError::Audience));
}

#[test]
fn a_key_survives_being_stored() {
    for algorithm in Algorithm::ALL {
        let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
        let again = SigningKey::from_pkcs8(algorithm, pkcs8.expose()).unwrap();
        assert_eq!((again.kid(), again.algorithm()), (key.kid(), algorithm));
        assert!(verify(&key, &again.sign(&claims()).unwrap()).is_ok());
        assert!(SigningKey::from_pkcs8(algorithm, b"nonsense").is_err());
        // Neither is taken for the other.
        let other = Algorithm::ALL.into_iter().find(|other| *other != algorithm).unwrap();
        assert!(SigningKey::from_pkcs8(other, pkcs8.expose()).is_err());
    }
}

#[test]
fn an_independent_implementation_accepts_it() {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    let es = key();
    // One set for both, as it is published.
    let set = Jwks::new([es.public(), rsa().public()]).to_json();
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&set).unwrap();
    for (key, algorithm) in [(&es, jsonwebtoken::Algorithm::ES256), (rsa(), jsonwebtoken::Algorithm::RS256)] {
        let token = key.sign(&claims()).unwrap();
        let decoding = DecodingKey::from_jwk(set.find(key.kid()).unwrap()).unwrap();
        let mut rules = Validation::new(algorithm);
        rules.set_audience(&[app().to_string()]);
        rules.set_issuer(&[ISS]);
        rules.validate_exp = false;
        let decoded = decode::<serde_json::Value>(&token, &decoding, &rules).unwrap();
        assert_eq!(decoded.header.typ.as_deref(), Some("JWT"));
        assert_eq!(decoded.claims["type"], "app");
        assert_eq!(decoded.claims["aud"], json!([app().to_string()]));
        assert_eq!(decoded.claims["exp"], NOW.0 + 300);
        // A key's id is its thumbprint by that implementation, too.
        let found = set.find(key.kid()).unwrap();
        assert_eq!(found.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap(), key.kid());
    }
}

#[test]
fn the_key_set_comes_back_from_its_text() {
    let key = key();
    let published = Jwks::new([key.public(), rsa().public()]);
    let set = Jwks::from_json(&published.to_json()).unwrap();
    assert_eq!(set, published);
    for key in [&key, rsa()] {
        assert!(set.verify(&key.sign(&claims()).unwrap(), ISS, &app(), NOW).is_ok());
    }
    for nothing in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
        assert!(Jwks::from_json(nothing).is_err(), "{nothing}");
    }
}

#[test]
fn keys_of_other_kinds_are_left_to_others() {
    let key = key();
    let mut set = serde_json::to_value(Jwks::new([key.public()])).unwrap();
    let others = [
        json!({"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "1"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "alg": "EdDSA", "use": "sig", "kid": "2"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "3"}),
        json!("a key"),
        json!(null),
    ];
    let keys = set["keys"].as_array_mut().unwrap();
    keys.splice(0..0, others.clone());
    assert_eq!(Jwks::from_json(&set.to_string()), Ok(Jwks::new([key.public()])));
    // Of those alone nothing could be verified.
    assert!(Jwks::from_json(&json!({ "keys": others }).to_string()).is_err());
}

// S6
#[test]
fn keys_that_prove_too_little_are_not_used() {
    let number = |bits: usize, last: u8| {
        let mut bytes = vec![0xff; bits / 8];
        bytes[bits / 8 - 1] = last;
        B64.encode(&bytes)
    };
    let (rsa, ec) = (serde_json::to_value(rsa().public()).unwrap(), serde_json::to_value(key().public()).unwrap());
    let good_n = rsa["n"].as_str().unwrap();
    let longer = B64.encode(&[&[0], B64.decode(good_n.as_bytes()).unwrap().as_slice()].concat());
    let [short, shorter, long, even] =
        [(1024, 0xff), (2040, 0xff), (8192, 0xff), (2048, 0xfe)].map(|(b, l)| number(b, l));
    let mut forged = Vec::new();
    for (member, value) in [
        ("n", short.as_str()),
        ("n", &shorter),
        ("n", &long),
        ("n", &even),
        ("n", &longer),
        ("n", ""),
        ("n", "!"),
        ("e", "Aw"),     // 3
        ("e", "AQ"),     // 1
        ("e", "AQAC"),   // 65538
        ("e", "AAEAAQ"), // 65537 with a leading zero
        ("e", "AQAAAAE"),
        ("e", ""),
        ("kty", "EC"),
        ("kty", "oct"),
        ("alg", "ES256"),
        ("alg", "HS256"),
        ("alg", "RS384"),
        ("alg", "PS256"),
        ("alg", "none"),
        ("use", "enc"),
        ("use", ""),
    ] {
        forged.push((&rsa, member, value.to_owned()));
    }
    for (member, value) in [
        ("x", "AAAA"),
        ("x", ""),
        ("crv", "P-384"),
        ("crv", "secp256k1"),
        ("kty", "RSA"),
        ("alg", "RS256"),
        ("alg", "HS256"),
        ("use", "enc"),
    ] {
        forged.push((&ec, member, value.to_owned()));
    }
    for (good, member, value) in forged {
        assert!(Jwks::from_json(&json!({ "keys": [good] }).to_string()).is_ok());
        let mut bad = good.clone();
        bad[member] = json!(value);
        assert!(Jwks::from_json(&json!({ "keys": [bad] }).to_string()).is_err(), "{member} {value}");
        let members = bad.as_object_mut().unwrap();
        members.remove(member);
        assert!(Jwks::from_json(&json!({ "keys": [bad] }).to_string()).is_err(), "no {member}");
    }
}

// S6: the algorithm belongs to the key, whatever a token says.
#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    use aws_lc_rs::hmac;

    let (es, rs) = (key(), rsa());
    let set = Jwks::new([es.public(), rs.public()]);
    let judged = |token: &str| set.verify(token, ISS, &app(), NOW).map(drop);
    let body = serde_json::to_string(&claims()).unwrap();
    let header = |alg: &str, kid: &str| format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#);
    for (signer, named, alg, expected) in [
        (&es, &es, "ES256", Ok(())),
        (rs, rs, "RS256", Ok(())),
        // Each key signs under the other's name, and under its own with the other's algorithm.
        (&es, rs, "ES256", Err(AssertionError::Header)),
        (&es, rs, "RS256", Err(AssertionError::Malformed)),
        (&es, &es, "RS256", Err(AssertionError::Header)),
        (rs, &es, "RS256", Err(AssertionError::Header)),
        (rs, &es, "ES256", Err(AssertionError::Malformed)),
        (rs, rs, "ES256", Err(AssertionError::Header)),
        (rs, rs, "PS256", Err(AssertionError::Header)),
        (rs, rs, "RS384", Err(AssertionError::Header)),
    ] {
        let token = signer.sign_raw(header(alg, named.kid()).as_bytes(), body.as_bytes()).unwrap();
        assert_eq!(judged(&token), expected, "{alg}, signed by {}", signer.algorithm());
    }
    // What everybody can fetch is no secret: the public key in every form, as the key of an HMAC.
    let jwk = serde_json::to_value(rs.public()).unwrap();
    let n = jwk["n"].as_str().unwrap();
    let secrets = [
        serde_json::to_string(&rs.public()).unwrap().into_bytes(),
        set.to_json().into_bytes(),
        n.as_bytes().to_vec(),
        B64.decode(n.as_bytes()).unwrap(),
        rs.kid().as_bytes().to_vec(),
        Vec::new(),
    ];
    for secret in &secrets {
        for (alg, expected) in [("HS256", AssertionError::Header), ("RS256", AssertionError::Malformed)] {
            let signed = format!("{}.{}", B64.encode(header(alg, rs.kid()).as_bytes()), B64.encode(body.as_bytes()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            assert_eq!(judged(&format!("{signed}.{}", B64.encode(tag.as_ref()))), Err(expected));
        }
    }
    // A second key of the same id does not stand in for the first.
    let mut double = serde_json::to_value(&set).unwrap();
    double["keys"][0]["kid"] = json!(rs.kid());
    double["keys"].as_array_mut().unwrap().reverse();
    let double = Jwks::from_json(&double.to_string()).unwrap();
    assert_eq!(double.keys().len(), 1);
    let token = es.sign_raw(header("ES256", rs.kid()).as_bytes(), body.as_bytes()).unwrap();
    assert_eq!(double.verify(&token, ISS, &app(), NOW), Err(AssertionError::Header));
}

// S7
#[test]
fn what_the_previous_key_signed_is_accepted_while_it_is_published() {
    let (old, new) = (key(), key());
    let token = old.sign(&claims()).unwrap();
    assert!(Jwks::new([new.public(), old.public()]).verify(&token, ISS, &app(), NOW).is_ok());
    let only_new = Jwks::new([new.public()]);
    assert_eq!(only_new.verify(&token, ISS, &app(), NOW), Err(AssertionError::UnknownKey));
}

// S1, S8
#[test]
fn issuer_audience_and_time_must_be_right() {
    let key = key();
    let set = Jwks::new([key.public()]);
    let token = key.sign(&claims()).unwrap();
    let at = |iss: &str, app: [u8; 32], now: i64| {
        let now = UnixTime(NOW.0.saturating_add_signed(now));
        set.verify(&token, iss, &AppId::from_bytes(app), now).map(drop)
    };
    let good = [0xab; 32];
    assert_eq!(at(ISS, good, 0), Ok(()));
    assert_eq!(at(ISS, good, 359), Ok(()));
    assert_eq!(at(ISS, good, 360), Err(AssertionError::Time));
    assert_eq!(at(ISS, good, -60), Ok(()));
    assert_eq!(at(ISS, good, -61), Err(AssertionError::Time));
    assert_eq!(at("https://access.example.com/", good, 0), Err(AssertionError::Issuer));
    assert_eq!(at(ISS, [0xac; 32], 0), Err(AssertionError::Audience));
}

// S6
#[test]
fn forged_tokens_are_refused() {
    for key in [&key(), rsa()] {
        refuses_forged(key);
    }
}

fn refuses_forged(key: &SigningKey) {
    let kid = key.kid().to_owned();
    let (alg, other) = match key.algorithm() {
        Algorithm::Es256 => ("ES256", "RS256"),
        Algorithm::Rs256 => ("RS256", "ES256"),
    };
    let lower = alg.to_lowercase();
    let body = serde_json::to_string(&claims()).unwrap();
    let good = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#);
    let signed = |header: &str, body: &str| key.sign_raw(header.as_bytes(), body.as_bytes()).unwrap();
    assert!(verify(key, &signed(&good, &body)).is_ok());

    let headers = [
        format!(r#"{{"alg":"none","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"None","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"{other}","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"ES384","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"{lower}","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":["{alg}"],"kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":null}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"logout+jwt"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"jwt"}}"#),
        format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","alg":"none"}}"#),
        format!(r#"{{"alg":"none","kid":"{kid}","typ":"JWT","alg":"{alg}"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"x","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","zip":"DEF"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","crit":["exp"]}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","b64":false}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","enc":"A256GCM"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","jku":"https://evil.example/keys"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","x5u":"https://evil.example/cert"}}"#),
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT","jwk":{{"kty":"EC"}}}}"#),
        format!(r#"[{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}]"#),
        format!(r#"["{alg}","{kid}","JWT"]"#),
        format!("{good} "),
        "\"ES256\"".into(),
        String::from("{}"),
    ];
    for header in &headers {
        let result = verify(key, &signed(header, &body));
        // White space after the value is still the same header; everything else is refused.
        if header.ends_with(' ') {
            assert!(result.is_ok());
        } else {
            assert_eq!(result, Err(AssertionError::Header), "{header}");
        }
    }
    for kid in ["", "x", "../../../etc/passwd", "' OR 1=1 --"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#);
        assert_eq!(verify(key, &signed(&header, &body)), Err(AssertionError::UnknownKey), "{kid}");
    }

    let bodies = [
        body.replace(r#""type":"app""#, r#""type":"org""#),
        body.replace(r#","type":"app""#, ""),
        body.replace(r#""iss":"#, r#""iss":"https://evil.example","iss":"#),
        body.replace(r#""aud":"#, r#""aud":[],"aud":"#),
        body.replace(r#""email":"ann@example.com""#, r#""email":"ann@example.com\r\nBcc:x""#),
        body.replace(r#""exp":1800000300"#, r#""exp":"1800000300""#),
        body.replace(r#""exp":1800000300"#, r#""exp":1800000300.5"#),
        body.replace(r#""exp":1800000300,"#, ""),
        body.replace(r#""exp":1800000300"#, r#""exp":-1"#),
        "null".into(),
        "[]".into(),
    ];
    for forged in &bodies {
        assert_ne!(forged, &body);
        assert_eq!(verify(key, &signed(&good, forged)), Err(AssertionError::Claims), "{forged}");
    }
    let endless = body.replace(r#""exp":1800000300"#, r#""exp":18446744073709551615"#);
    assert_eq!(verify(key, &signed(&good, &endless)), Err(AssertionError::Time));
}

// S6
#[test]
fn damaged_tokens_are_refused() {
    let key = key();
    let token = key.sign(&claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (h, b, s) = (parts[0], parts[1], parts[2]);
    let other_body = B64.encode(serde_json::to_string(&claims()).unwrap().replace("ann@", "eve@").as_bytes());
    let zero = B64.encode(&[0; 64]);
    let mut der = vec![0x30, 0x44];
    der.extend_from_slice(&[1; 68]);
    let other = SigningKey::generate(Algorithm::Es256).unwrap().0.sign(&claims()).unwrap();
    let foreign = other.rsplit('.').next().unwrap();
    for (forged, expected) in [
        (String::new(), AssertionError::Malformed),
        ("..".into(), AssertionError::Malformed),
        (format!("{h}.{b}"), AssertionError::Malformed),
        (format!("{h}.{b}."), AssertionError::Malformed),
        (format!("{h}..{s}"), AssertionError::Malformed),
        (format!(".{b}.{s}"), AssertionError::Malformed),
        (format!("{token}.{s}"), AssertionError::Malformed),
        (format!("{token}="), AssertionError::Malformed),
        (format!("{token} "), AssertionError::Malformed),
        (format!(" {token}"), AssertionError::Malformed),
        (format!("{h}.{b}.{}", &s[..s.len() - 4]), AssertionError::Malformed),
        (format!("{h}.{b}.{s}AAAA"), AssertionError::Malformed),
        (format!("{h}.{b}.{}", B64.encode(&der)), AssertionError::Malformed),
        (format!("{h}.{b}.{}", "A".repeat(ASSERTION_MAX)), AssertionError::Malformed),
        (format!("{h}.{b}.{zero}"), AssertionError::Signature),
        (format!("{h}.{other_body}.{s}"), AssertionError::Signature),
        (format!("{h}.{b}.{foreign}"), AssertionError::Signature),
    ] {
        assert_eq!(verify(&key, &forged), Err(expected), "{forged}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_none_is_accepted(text in "[A-Za-z0-9_.=-]{0,300}") {
        prop_assert!(Jwks::new([]).verify(&text, ISS, &app(), NOW).is_err());
    }
}
