use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tunnel_proto::UnixTime;

use super::forge::{By, Keys, base64, token};
use crate::oidc::{Algorithm, Claims, Expected, KEYS_MAX, KeySet, KeySetError, Nonce, TOKEN_MAX, TokenError, verify};

const ISSUER: &str = "https://id.example.com/realms/x";
const CLIENT: &str = "edge-client";
const NONCE: &str = "n-0S6_WzA2Mj";
const NOW: u64 = 1_800_000_000;
const ACCESS: &str = "access-token";

static KEYS: LazyLock<Keys> = LazyLock::new(Keys::new);
static STOLEN: LazyLock<Keys> = LazyLock::new(Keys::new);

fn published() -> KeySet {
    KeySet::read(KEYS.jwks().to_string().as_bytes()).unwrap()
}

fn check(token: &str) -> Result<Claims, TokenError> {
    check_by(&published(), token)
}

fn check_by(keys: &KeySet, token: &str) -> Result<Claims, TokenError> {
    verify(token, keys, &Expected { access_token: Some(ACCESS), ..expected(NOW) })
}

fn expected(now: u64) -> Expected<'static> {
    Expected {
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: Nonce::Of(NONCE),
        access_token: None,
        authenticated_since: None,
        now: UnixTime(now),
    }
}

fn claims() -> Map<String, Value> {
    let all = json!({
        "iss": ISSUER, "aud": CLIENT, "sub": "somebody", "nonce": NONCE, "iat": NOW, "exp": NOW + 300,
        "email": "ann@example.com", "email_verified": true,
    });
    all.as_object().unwrap().clone()
}

fn text() -> String {
    Value::Object(claims()).to_string()
}

const HEADER: &str = r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#;

fn good() -> String {
    token(HEADER, &text(), By::Rs256(&KEYS))
}

/// A well signed token in which claims are others; `null` takes one away.
fn with(changes: Value) -> String {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        if *value == json!("(absent)") {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    token(HEADER, &Value::Object(all).to_string(), By::Rs256(&KEYS))
}

/// A well signed token whose claims are this text.
fn literally(claims: &str) -> String {
    token(HEADER, claims, By::Rs256(&KEYS))
}

fn headed(header: &str) -> String {
    token(header, &text(), By::Rs256(&KEYS))
}

#[test]
fn tokens_of_every_form_that_providers_use_are_believed() {
    let hash = base64(&digest(&SHA256, ACCESS.as_bytes()).as_ref()[..16]);
    let long_hash = base64(&digest(&SHA512, ACCESS.as_bytes()).as_ref()[..32]);
    let mut hashed = claims();
    hashed.insert("at_hash".into(), json!(long_hash));
    for (name, token) in [
        ("RS256", good()),
        ("PS256", token(r#"{"alg":"PS256","kid":"rsa"}"#, &text(), By::Ps256(&KEYS))),
        ("ES256", token(r#"{"alg":"ES256","kid":"ec"}"#, &text(), By::Es256(&KEYS))),
        ("EdDSA", token(r#"{"alg":"EdDSA","kid":"ed"}"#, &Value::Object(hashed).to_string(), By::EdDsa(&KEYS))),
        ("no kid, and one key of its kind", headed(r#"{"alg":"RS256"}"#)),
        ("typ in small letters", headed(r#"{"alg":"RS256","kid":"rsa","typ":"jwt"}"#)),
        ("an unknown header", headed(r#"{"alg":"RS256","kid":"rsa","x5t":"abc","jku":"https://id.example.com/k"}"#)),
        ("a list of one audience", with(json!({"aud": [CLIENT]}))),
        ("several, and azp", with(json!({"aud": ["other", CLIENT], "azp": CLIENT}))),
        ("the right at_hash", with(json!({"at_hash": hash}))),
        ("clocks that differ", with(json!({"iat": NOW + 60, "nbf": NOW + 60}))),
        ("just expired", with(json!({"exp": NOW - 59, "iat": NOW - 300}))),
        ("the longest sub", with(json!({"sub": "s".repeat(255)}))),
        ("claims nobody has heard of", with(json!({"https://example.com/x": {"a": [1, null, {"b": "c"}]}}))),
    ] {
        let claims = check(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(claims.get("email"), Some(&json!("ann@example.com")), "{name}");
    }
}

// O4, S6
#[test]
fn forged_tokens_are_refused_each_for_its_reason() {
    use TokenError::*;
    let stolen = |header: &str| token(header, &text(), By::Rs256(&STOLEN));
    let confused = |secret: &[u8]| token(r#"{"alg":"HS256","kid":"rsa","typ":"JWT"}"#, &text(), By::Hs256(secret));
    let unsigned = |alg: &str| token(&format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#), &text(), By::Bytes(b""));
    let twice = |name: &str, value: Value, first: bool| {
        let (pair, inner) = (format!("{}:{value}", json!(name)), text()[1..].to_owned());
        literally(&if first {
            format!("{{{pair},{inner}")
        } else {
            format!("{{{},{pair}}}", &inner[..inner.len() - 1])
        })
    };
    let [header, body, signature]: [String; 3] =
        good().split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    let jwk = STOLEN.rsa_jwk("mine");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let json_error = crate::oidc::JsonError;
    let table: Vec<(&str, String, TokenError)> = vec![
        // which algorithm
        ("alg none", unsigned("none"), Algorithm),
        ("alg None", unsigned("None"), Algorithm),
        ("alg none, a good signature", format!("{}.{body}.{signature}", base64(br#"{"alg":"none"}"#)), Algorithm),
        ("no alg", headed(r#"{"kid":"rsa"}"#), Algorithm),
        ("a list of alg", headed(r#"{"alg":["RS256"],"kid":"rsa"}"#), Algorithm),
        ("alg in small letters", headed(r#"{"alg":"rs256","kid":"rsa"}"#), Algorithm),
        ("RS384", token(r#"{"alg":"RS384","kid":"rsa"}"#, &text(), By::Rs384(&KEYS)), Algorithm),
        ("RS512", token(r#"{"alg":"RS512","kid":"rsa"}"#, &text(), By::Rs512(&KEYS)), Algorithm),
        ("HS256 with the public key", confused(KEYS.rsa_der()), Algorithm),
        ("HS256 with the modulus", confused(&KEYS.modulus()), Algorithm),
        ("HS256 with the key as it is published", confused(KEYS.rsa_jwk("rsa").to_string().as_bytes()), Algorithm),
        ("HS256 with nothing", confused(b""), Algorithm),
        (
            "HS256 with a published secret",
            token(r#"{"alg":"HS256","kid":"oct"}"#, &text(), By::Hs256(b"on the wall")),
            Algorithm,
        ),
        ("ES256 by the RSA key's name", token(r#"{"alg":"ES256","kid":"rsa"}"#, &text(), By::Es256(&KEYS)), Algorithm),
        ("RS256 by the P-256 key's name", token(r#"{"alg":"RS256","kid":"ec"}"#, &text(), By::Rs256(&KEYS)), Algorithm),
        ("PS256 called RS256", token(HEADER, &text(), By::Ps256(&KEYS)), Signature),
        ("zeros by ES256", token(r#"{"alg":"ES256","kid":"ec"}"#, &text(), By::Bytes(&[0; 64])), Signature),
        ("zeros by EdDSA", token(r#"{"alg":"EdDSA","kid":"ed"}"#, &text(), By::Bytes(&[0; 64])), Signature),
        ("no signature", token(HEADER, &text(), By::Bytes(b"")), Signature),
        // whose key
        ("a stolen key", stolen(HEADER), Signature),
        ("a stolen key by its own name", stolen(r#"{"alg":"RS256","kid":"mine"}"#), UnknownKey),
        ("a stolen key without a name", stolen(r#"{"alg":"RS256"}"#), UnknownKey),
        ("a key for encryption", headed(r#"{"alg":"RS256","kid":"enc"}"#), UnknownKey),
        ("a path", stolen(r#"{"alg":"RS256","kid":"../../../dev/null"}"#), UnknownKey),
        ("an address", stolen(r#"{"alg":"RS256","kid":"https://evil.example/jwks"}"#), UnknownKey),
        ("a query", stolen(r#"{"alg":"RS256","kid":"x' UNION SELECT 'k' -- "}"#), UnknownKey),
        ("a zero byte", headed("{\"alg\":\"RS256\",\"kid\":\"rsa\\u0000\"}"), UnknownKey),
        ("an empty name", headed(r#"{"alg":"RS256","kid":""}"#), UnknownKey),
        ("a number", headed(r#"{"alg":"RS256","kid":7}"#), Header),
        ("a list", headed(r#"{"alg":"RS256","kid":["rsa"]}"#), Header),
        ("jku", stolen(r#"{"alg":"RS256","kid":"rsa","jku":"https://evil.example/jwks"}"#), Signature),
        ("x5u", stolen(r#"{"alg":"RS256","kid":"rsa","x5u":"https://evil.example/c"}"#), Signature),
        ("jwk", stolen(&json!({"alg": "RS256", "kid": "mine", "jwk": jwk}).to_string()), UnknownKey),
        ("x5c", stolen(&json!({"alg": "RS256", "x5c": [base64(STOLEN.rsa_der())]}).to_string()), UnknownKey),
        // which kind
        ("an access token", headed(r#"{"alg":"RS256","kid":"rsa","typ":"at+jwt"}"#), Type),
        ("a logout token", headed(r#"{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}"#), Type),
        ("typ null", headed(r#"{"alg":"RS256","kid":"rsa","typ":null}"#), Type),
        ("crit", headed(r#"{"alg":"RS256","kid":"rsa","crit":["x"],"x":1}"#), Header),
        ("crit of nothing", headed(r#"{"alg":"RS256","kid":"rsa","crit":[]}"#), Header),
        ("zip", headed(r#"{"alg":"RS256","kid":"rsa","zip":"DEF"}"#), Header),
        ("b64", headed(r#"{"alg":"RS256","kid":"rsa","b64":false}"#), Header),
        ("enc", headed(r#"{"alg":"RS256","kid":"rsa","enc":"A256GCM"}"#), Header),
        ("alg twice", headed(r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#), Header),
        ("kid twice", headed(r#"{"alg":"RS256","kid":"x","kid":"rsa"}"#), Header),
        ("a deep header", headed(&format!(r#"{{"alg":"RS256","kid":"rsa","x":{deep}}}"#)), Header),
        // damaged
        ("empty", String::new(), Form),
        ("dots", "..".into(), Header),
        ("two parts", format!("{header}.{body}"), Form),
        ("four parts", format!("{}.AAAA", good()), Form),
        ("five parts", format!("{header}..AAAA.{body}.{signature}"), Form),
        ("padded", format!("{header}.{body}.{signature}=="), Form),
        ("a space", format!(" {}", good()), Form),
        ("a line", format!("{}\n", good()), Form),
        ("cut", good()[..good().len() - 10].to_owned(), Signature),
        (
            "other claims",
            format!("{header}.{}.{signature}", base64(text().replace("ann@", "eve@").as_bytes())),
            Signature,
        ),
        ("too long", with(json!({"x": "x".repeat(TOKEN_MAX)})), Size),
        ("a list of claims", literally("[]"), Claims(json_error)),
        ("claims of nothing", literally("null"), Claims(json_error)),
        ("a mark before them", literally(&format!("\u{feff}{}", text())), Claims(json_error)),
        ("something behind them", literally(&format!("{}{{}}", text())), Claims(json_error)),
        ("deep claims", literally(&format!(r#"{{"x":{deep}}}"#)), Claims(json_error)),
        ("email twice", twice("email", json!("eve@example.com"), true), Claims(json_error)),
        ("email twice, the other way", twice("email", json!("eve@example.com"), false), Claims(json_error)),
        ("aud twice", twice("aud", json!("other"), true), Claims(json_error)),
        ("exp twice", twice("exp", json!(1), false), Claims(json_error)),
        // for whom
        ("another audience", with(json!({"aud": "other"})), Audience),
        ("no audience", with(json!({"aud": "(absent)"})), Audience),
        ("an empty list", with(json!({"aud": []})), Audience),
        ("a list in a list", with(json!({"aud": [[CLIENT]]})), Audience),
        ("a number beside ours", with(json!({"aud": [CLIENT, 1], "azp": CLIENT})), Audience),
        ("an object", with(json!({"aud": {CLIENT: true}})), Audience),
        ("upper case", with(json!({"aud": CLIENT.to_uppercase()})), Audience),
        ("several, no azp", with(json!({"aud": [CLIENT, "other"]})), AuthorizedParty),
        ("several, another azp", with(json!({"aud": [CLIENT, "other"], "azp": "other"})), AuthorizedParty),
        ("another azp", with(json!({"azp": "other"})), AuthorizedParty),
        ("azp null", with(json!({"azp": null})), AuthorizedParty),
        // by whom
        ("no issuer", with(json!({"iss": "(absent)"})), Issuer),
        ("a slash", with(json!({"iss": format!("{ISSUER}/")})), Issuer),
        ("another case", with(json!({"iss": ISSUER.to_uppercase()})), Issuer),
        ("another tenant", with(json!({"iss": "https://id.example.com/realms/y"})), Issuer),
        ("a list of issuers", with(json!({"iss": [ISSUER]})), Issuer),
        // when (S8)
        ("expired", with(json!({"exp": NOW - 60, "iat": NOW - 300})), Expired),
        ("no exp", with(json!({"exp": "(absent)"})), Expired),
        ("exp as text", with(json!({"exp": (NOW + 300).to_string()})), Expired),
        ("exp with a fraction", with(json!({"exp": NOW as f64 + 0.5})), Expired),
        ("exp below zero", with(json!({"exp": -1})), Expired),
        ("exp beyond all time", with(json!({"exp": u64::MAX})), Expired),
        ("exp null", with(json!({"exp": null})), Expired),
        ("no iat", with(json!({"iat": "(absent)"})), Time),
        ("iat in the future", with(json!({"iat": NOW + 61})), Time),
        ("iat as text", with(json!({"iat": NOW.to_string()})), Time),
        ("iat of last year", with(json!({"iat": NOW - 31_536_000})), Time),
        ("iat after exp", with(json!({"iat": NOW + 30, "exp": NOW + 30})), Time),
        ("nbf in the future", with(json!({"nbf": NOW + 61})), Time),
        ("nbf as text", with(json!({"nbf": "0"})), Time),
        // which login
        ("no nonce", with(json!({"nonce": "(absent)"})), Nonce),
        ("an empty nonce", with(json!({"nonce": ""})), Nonce),
        ("another nonce", with(json!({"nonce": format!("{NONCE}x")})), Nonce),
        ("a list with the nonce", with(json!({"nonce": [NONCE]})), Nonce),
        ("another access token's", with(json!({"at_hash": base64(&[7; 16])})), AccessToken),
        ("at_hash null", with(json!({"at_hash": null})), AccessToken),
        // who
        ("no sub", with(json!({"sub": "(absent)"})), Subject),
        ("an empty sub", with(json!({"sub": ""})), Subject),
        ("a number", with(json!({"sub": 4711})), Subject),
        ("a long sub", with(json!({"sub": "s".repeat(256)})), Subject),
        ("a zero byte", with(json!({"sub": "some\u{0}body"})), Subject),
        ("other letters", with(json!({"sub": "sömebody"})), Subject),
    ];
    assert!(table.len() >= 40);
    for (name, token, expected) in table {
        assert_eq!(check(&token), Err(expected), "{name}");
    }
    // The same claims in the same form, well signed, are believed: nothing else refused them.
    assert!(check(&literally(&text())).is_ok());
}

// O9: OpenID Connect Core §12.2
#[test]
fn a_token_by_a_refresh_has_the_nonce_of_the_login_or_none() {
    let keys = published();
    let check = |token: &str| {
        let nonce = Nonce::IfAny(NONCE);
        verify(token, &keys, &Expected { nonce, ..expected(NOW) }).map(drop)
    };
    assert_eq!(check(&good()), Ok(()));
    assert_eq!(check(&with(json!({"nonce": "(absent)"}))), Ok(()));
    for nonce in [json!("another"), json!(""), json!(null), json!([NONCE])] {
        assert_eq!(check(&with(json!({ "nonce": nonce }))), Err(TokenError::Nonce), "{nonce}");
    }
    // Everything else is as at the login.
    for (claims, error) in [
        (json!({"iss": "https://evil.example"}), TokenError::Issuer),
        (json!({"aud": "other"}), TokenError::Audience),
        (json!({"sub": ""}), TokenError::Subject),
    ] {
        assert_eq!(check(&with(claims)), Err(error));
        assert!(error.is_about_another());
    }
    assert!(!TokenError::Expired.is_about_another() && !TokenError::UnknownKey.is_about_another());
}

// S8
#[test]
fn a_clock_that_is_wrong_by_an_hour_or_a_year_lets_nobody_in() {
    let keys = published();
    for (now, good) in [
        (NOW, true),
        (NOW + 359, true),
        (NOW - 60, true),
        (NOW + 361, false),
        (NOW - 61, false),
        (NOW + 3600, false),
        (NOW - 3600, false),
        (NOW + 31_536_000, false),
        (NOW - 31_536_000, false),
        (0, false),
        (u64::MAX, false),
    ] {
        assert_eq!(verify(&self::good(), &keys, &expected(now)).is_ok(), good, "{now}");
    }
}

// O9
#[test]
fn who_was_to_authenticate_again_has_done_so_or_the_token_is_not_believed() {
    let keys = published();
    let since = NOW - 100;
    for (said, good) in [
        (json!(since), true),
        (json!(NOW), true),
        (json!(since - 60), true),
        (json!(NOW + 60), true),
        (json!(since - 61), false),
        (json!(NOW + 61), false),
        (json!(0), false),
        (json!(u64::MAX), false),
        (json!(-1), false),
        (json!(NOW.to_string()), false),
        (json!(null), false),
        (json!("(absent)"), false),
    ] {
        let token = with(json!({"auth_time": said}));
        let anew = Expected { authenticated_since: Some(UnixTime(since)), ..expected(NOW) };
        assert_eq!(verify(&token, &keys, &anew).err(), (!good).then_some(TokenError::NotRecent), "{said}");
        assert!(verify(&token, &keys, &expected(NOW)).is_ok(), "nobody asked: {said}");
    }
}

#[test]
fn a_token_without_a_name_for_its_key_means_the_only_one() {
    let set = |keys: &[Value]| KeySet::read(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    let nameless = headed(r#"{"alg":"RS256"}"#);
    assert!(check_by(&set(&[KEYS.rsa_jwk("a"), KEYS.ec_jwk("b")]), &nameless).is_ok());
    let two = set(&[KEYS.rsa_jwk("a"), STOLEN.rsa_jwk("b")]);
    assert_eq!(check_by(&two, &nameless), Err(TokenError::AmbiguousKey));
    // Two of one name cannot be told apart either, unless they are for different algorithms.
    let same = set(&[KEYS.rsa_jwk("rsa"), STOLEN.rsa_jwk("rsa")]);
    assert_eq!(check_by(&same, &good()), Err(TokenError::AmbiguousKey));
    assert!(check_by(&set(&[KEYS.rsa_jwk("rsa"), KEYS.ec_jwk("rsa")]), &good()).is_ok());
    let mut key = KEYS.rsa_jwk("a");
    key.as_object_mut().unwrap().remove("kid");
    assert!(check_by(&set(&[key.clone()]), &nameless).is_ok());
    assert_eq!(check_by(&set(&[key]), &good()), Err(TokenError::UnknownKey));
}

#[test]
fn a_key_that_says_its_algorithm_is_for_that_one() {
    let mut key = KEYS.rsa_jwk("rsa");
    key["alg"] = json!("PS256");
    let keys = KeySet::read(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
    assert_eq!(check_by(&keys, &good()), Err(TokenError::Algorithm));
    let pss = token(r#"{"alg":"PS256","kid":"rsa"}"#, &text(), By::Ps256(&KEYS));
    assert!(check_by(&keys, &pss).is_ok());
}

#[test]
fn keys_that_are_weak_for_something_else_or_damaged_are_passed_over() {
    let change = |name: &str, value: Value| {
        let mut key = KEYS.rsa_jwk("rsa");
        key[name] = value;
        key
    };
    let curve = |name: &str, value: Value| {
        let mut key = KEYS.ec_jwk("ec");
        key[name] = value;
        key
    };
    let weak = [&[0x80][..], &[7; 127]].concat();
    // Zeros before it make it no stronger.
    let padded = [vec![0; 128], weak.clone()].concat();
    for (name, key) in [
        ("1024 bits", change("n", json!(base64(&weak)))),
        ("1024 bits and zeros", change("n", json!(base64(&padded)))),
        ("16384 bits", change("n", json!(base64(&[0xff; 2048])))),
        ("an exponent of one", change("e", json!("AQ"))),
        ("an even exponent", change("e", json!("AQAC"))),
        ("no exponent", change("e", json!(""))),
        ("an endless exponent", change("e", json!(base64(&[1; 64])))),
        ("a padded modulus", change("n", json!(format!("{}==", base64(&KEYS.modulus()))))),
        ("for encryption", change("use", json!("enc"))),
        ("for nothing that is text", change("use", json!(["sig"]))),
        ("for other operations", change("key_ops", json!(["encrypt", "wrapKey"]))),
        ("RS384", change("alg", json!("RS384"))),
        ("HS256", change("alg", json!("HS256"))),
        ("no text as a name", change("kid", json!(7))),
        ("a long name", change("kid", json!("k".repeat(600)))),
        ("another kind", change("kty", json!("oct"))),
        ("another curve", curve("crv", json!("P-384"))),
        ("a short point", curve("x", json!("AAAA"))),
        ("ES384", curve("alg", json!("ES384"))),
    ] {
        let read = KeySet::read(json!({"keys": [key]}).to_string().as_bytes());
        assert_eq!(read.err(), Some(KeySetError::NoneUsable), "{name}");
    }
    let read = |text: String| KeySet::read(text.as_bytes()).err();
    let many = vec![KEYS.ed_jwk("ed"); KEYS_MAX + 1];
    assert_eq!(read(json!({"keys": many}).to_string()), Some(KeySetError::TooMany));
    assert_eq!(read(json!({"keys": {}}).to_string()), Some(KeySetError::NoList));
    assert_eq!(read("[]".into()), Some(KeySetError::Json(crate::oidc::JsonError)));
    // A point that is on no curve is a key that signed nothing.
    let nowhere = curve("x", json!(base64(&[1; 32])));
    let keys = KeySet::read(json!({"keys": [nowhere]}).to_string().as_bytes()).unwrap();
    let token = token(r#"{"alg":"ES256","kid":"ec"}"#, &text(), By::Es256(&KEYS));
    assert_eq!(check_by(&keys, &token), Err(TokenError::Signature));
}

#[test]
fn there_are_four_algorithms() {
    for name in ["RS256", "PS256", "ES256", "EdDSA"] {
        assert_eq!(Algorithm::parse(name).map(Algorithm::name), Some(name));
    }
    for name in ["", "none", "HS256", "RS384", "ES512", "ES256K", "Ed25519", "eddsa", "RS256 "] {
        assert_eq!(Algorithm::parse(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_none_is_believed(text in "[A-Za-z0-9_.=-]{0,300}", any in "\\PC{0,100}") {
        prop_assert!(check(&text).is_err());
        prop_assert!(check(&any).is_err());
    }

    #[test]
    fn a_changed_token_is_refused(at in 0usize..2000, to in "[A-Za-z0-9_.-]") {
        let good = good();
        let at = at % good.len();
        let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
        prop_assert!(changed == good || check(&changed).is_err());
    }

    #[test]
    fn no_keys_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), n in "[A-Za-z0-9_-]{0,400}", e in "[A-Za-z0-9_-]{0,12}") {
        let _ = KeySet::read(&bytes);
        let key = json!({"kty": "RSA", "kid": "rsa", "n": n, "e": e});
        if let Ok(keys) = KeySet::read(json!({"keys": [key]}).to_string().as_bytes()) {
            prop_assert!(check_by(&keys, &good()).is_err());
        }
    }
}
