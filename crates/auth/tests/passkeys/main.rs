//! Passkeys, against an authenticator in software.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod authenticator;

use authenticator::Authenticator;
use serde_json::{Value, json};
use tunnel_auth::passkeys::{
    Authentication, LoginAnswer, Passkey, PasskeyError, Registration, RegistrationAnswer, RelyingParty,
};
use tunnel_proto::{EmailAddress, PersonId};

const ORIGIN: &str = "https://access.example.com:8443";
const PARTY: &str = "access.example.com";

fn party() -> RelyingParty {
    RelyingParty::new(&PARTY.parse().unwrap(), "example.com", &[ORIGIN]).unwrap()
}

fn person() -> PersonId {
    PersonId::from_bytes([7; 16])
}

fn email() -> EmailAddress {
    "ann@example.com".parse().unwrap()
}

fn begin(held: &[Passkey]) -> (Value, Registration) {
    party().begin_registration(person(), &email(), "Ann", held).unwrap()
}

fn register(authenticator: &mut Authenticator) -> Result<Passkey, PasskeyError> {
    let (options, asked) = begin(&[]);
    party().register(&asked, &read(authenticator.create(&options)))
}

fn read(answer: Value) -> RegistrationAnswer {
    serde_json::from_value(answer).unwrap()
}

fn log_in(authenticator: &mut Authenticator, passkey: &mut Passkey) -> Result<(), PasskeyError> {
    let (options, asked) = party().begin_login().unwrap();
    let answer: LoginAnswer = serde_json::from_value(authenticator.get(&options)).unwrap();
    party().authenticate(&asked, &answer, passkey)
}

fn furnished() -> (Authenticator, Passkey) {
    let mut authenticator = Authenticator::new(ORIGIN, PARTY);
    let passkey = register(&mut authenticator).unwrap();
    (authenticator, passkey)
}

#[test]
fn what_is_asked_is_a_passkey_that_is_found_by_itself_with_its_user_verified() {
    let (options, _) = begin(&[]);
    let wanted = json!({"residentKey": "required", "requireResidentKey": true, "userVerification": "required"});
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&options["authenticatorSelection"][name], value, "{options}");
    }
    assert_eq!((&options["attestation"], &options["rp"]["id"]), (&json!("none"), &json!(PARTY)));
    assert_eq!(options["user"]["name"], "ann@example.com");
    let (options, _) = party().begin_login().unwrap();
    assert_eq!((&options["userVerification"], &options["rpId"]), (&json!("required"), &json!(PARTY)));
    assert_eq!(options["allowCredentials"], json!([]), "nobody learns which passkeys there are: {options}");
}

#[test]
fn a_passkey_is_made_kept_and_used() {
    let (mut authenticator, passkey) = furnished();
    let kept = serde_json::to_string(&passkey).unwrap();
    let mut passkey: Passkey = serde_json::from_str(&kept).unwrap();
    let (options, asked) = party().begin_login().unwrap();
    // What was asked is kept meanwhile, as text.
    let asked: Authentication = serde_json::from_str(&serde_json::to_string(&asked).unwrap()).unwrap();
    let answer: LoginAnswer = serde_json::from_value(authenticator.get(&options)).unwrap();
    assert_eq!((answer.person(), answer.credential()), (Some(person()), passkey.credential()));
    party().authenticate(&asked, &answer, &mut passkey).unwrap();
    assert_ne!(serde_json::to_string(&passkey).unwrap(), kept, "it counts");
    log_in(&mut authenticator, &mut passkey).unwrap();
}

#[test]
fn how_it_was_done_is_said_in_the_words_of_rfc_8176() {
    let (_, bound) = furnished();
    assert_eq!(bound.amr(), ["hwk", "user", "mfa"]);
    let mut authenticator = Authenticator::new(ORIGIN, PARTY);
    authenticator.synced = true;
    assert_eq!(register(&mut authenticator).unwrap().amr(), ["swk", "user", "mfa"]);
}

#[test]
fn a_passkey_that_cannot_be_used_is_not_made() {
    let wrongs: [fn(&mut Authenticator); 4] = [
        |one| one.origin = "https://www.example.com".into(),
        |one| one.party = "example.com".into(),
        |one| one.verifies = false,
        |one| one.discoverable = false,
    ];
    for (at, wrong) in wrongs.into_iter().enumerate() {
        let mut authenticator = Authenticator::new(ORIGIN, PARTY);
        wrong(&mut authenticator);
        assert!(register(&mut authenticator).is_err(), "wrong {at}");
    }
    let (mut authenticator, held) = furnished();
    let (options, asked) = begin(std::slice::from_ref(&held));
    assert_eq!(options["excludeCredentials"].as_array().unwrap().len(), 1);
    assert!(party().register(&asked, &read(authenticator.create(&options))).is_err(), "the same one again");
    let (_, other) = begin(&[]);
    let (options, _) = begin(&[]);
    let answer = read(Authenticator::new(ORIGIN, PARTY).create(&options));
    assert!(party().register(&other, &answer).is_err(), "an answer to another question");
}

#[test]
fn an_answer_that_proves_nothing_is_refused() {
    let wrongs: [fn(&mut Authenticator); 7] = [
        |one| one.origin = "https://access.example.com".into(),
        |one| one.origin = "http://access.example.com:8443".into(),
        |one| one.origin = "https://evil.access.example.com:8443".into(),
        |one| one.party = "example.com".into(),
        |one| one.verifies = false,
        |one| one.synced = true,
        |one| one.bogus = true,
    ];
    for (at, wrong) in wrongs.into_iter().enumerate() {
        let (mut authenticator, mut passkey) = furnished();
        wrong(&mut authenticator);
        let error = log_in(&mut authenticator, &mut passkey).unwrap_err();
        assert!(matches!(error, PasskeyError::Refused(_)), "wrong {at}: {error}");
    }
    let (mut authenticator, mut passkey) = furnished();
    let (_, mut another) = furnished();
    assert!(log_in(&mut authenticator, &mut another).is_err(), "another passkey's");
    let (options, _) = party().begin_login().unwrap();
    let (_, asked) = party().begin_login().unwrap();
    let answer: LoginAnswer = serde_json::from_value(authenticator.get(&options)).unwrap();
    assert!(party().authenticate(&asked, &answer, &mut passkey).is_err(), "to another question");
    log_in(&mut authenticator, &mut passkey).unwrap();
}

#[test]
fn a_count_that_does_not_grow_is_a_copy() {
    let (mut authenticator, mut passkey) = furnished();
    log_in(&mut authenticator, &mut passkey).unwrap();
    authenticator.counter -= 1;
    assert!(matches!(log_in(&mut authenticator, &mut passkey), Err(PasskeyError::Copied)));
    authenticator.counter += 1;
    log_in(&mut authenticator, &mut passkey).unwrap();
    // Those that are synced do not count.
    let mut synced = Authenticator::new(ORIGIN, PARTY);
    (synced.synced, synced.counter) = (true, 0);
    let mut passkey = register(&mut synced).unwrap();
    for _ in 0..2 {
        log_in(&mut synced, &mut passkey).unwrap();
    }
}

#[test]
fn several_origins_may_lead_to_one_host() {
    let (host, plain) = ("access.localhost".parse().unwrap(), "http://access.localhost:8080");
    let party = RelyingParty::new(&host, "localhost", &[plain, "https://access.localhost:8443"]).unwrap();
    for (origin, good) in [(plain, true), ("https://access.localhost:8443", true), ("http://access.localhost", false)] {
        let (options, asked) = party.begin_registration(person(), &email(), "Ann", &[]).unwrap();
        let answer = read(Authenticator::new(origin, "access.localhost").create(&options));
        assert_eq!(party.register(&asked, &answer).is_ok(), good, "{origin}");
    }
    assert!(RelyingParty::new(&host, "localhost", &["https://access.example.com"]).is_err());
    assert!(RelyingParty::new(&host, "localhost", &[]).is_err());
    assert!(RelyingParty::new(&host, "localhost", &["nonsense"]).is_err());
}

#[test]
fn damaged_answers_never_panic() {
    let (mut authenticator, mut passkey) = furnished();
    let (options, asked) = party().begin_login().unwrap();
    let good = authenticator.get(&options);
    for part in ["authenticatorData", "clientDataJSON", "signature", "userHandle"] {
        let text = good["response"][part].as_str().unwrap();
        for cut in 0..text.len() {
            let mut damaged = good.clone();
            damaged["response"][part] = json!(text[..cut]);
            let Ok(answer) = serde_json::from_value::<LoginAnswer>(damaged) else { continue };
            // The handle is for the caller to compare; it is not signed.
            let accepted = party().authenticate(&asked, &answer, &mut passkey.clone()).is_ok();
            assert_eq!(accepted, part == "userHandle", "{part} cut at {cut}");
            assert!(part != "userHandle" || answer.person().is_none());
        }
    }
    let (options, asked) = begin(&[]);
    let good = Authenticator::new(ORIGIN, PARTY).create(&options);
    let text = good["response"]["attestationObject"].as_str().unwrap();
    for cut in 0..text.len() {
        let mut damaged = good.clone();
        damaged["response"]["attestationObject"] = json!(text[..cut]);
        let Ok(answer) = serde_json::from_value::<RegistrationAnswer>(damaged) else { continue };
        assert!(party().register(&asked, &answer).is_err(), "cut at {cut}");
    }
    log_in(&mut authenticator, &mut passkey).unwrap();
}
