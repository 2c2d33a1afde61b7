//! E-mail addresses: whose somebody is must be read in one way.

use tunnel_edge::mail::MailFrom;
use tunnel_proto::{EmailAddress, Hostname, email::EMAIL_MAX};

use super::text;

/// What is accepted has one `@`, one form, and the domain that anybody would read.
pub(super) fn run(data: &[u8]) {
    let Some(written) = text(data) else { return };
    let _ = written.parse::<MailFrom>();
    let Ok(email) = written.parse::<EmailAddress>() else { return };
    let canonical = email.as_str();
    assert!(canonical.is_ascii() && canonical.len() <= EMAIL_MAX, "{written:?} became {canonical:?}");
    assert_eq!(canonical.matches('@').count(), 1, "{written:?} became {canonical:?}");
    assert_eq!(canonical, canonical.to_ascii_lowercase(), "{written:?}");
    assert_eq!(canonical, format!("{}@{}", email.local(), email.domain()));
    assert!(canonical.bytes().all(|b| b.is_ascii_graphic() && !b"()<>[]:;,\\\"".contains(&b)), "{canonical:?}");
    for spelling in [canonical.to_owned(), canonical.to_ascii_uppercase(), email.to_string()] {
        assert_eq!(spelling.parse::<EmailAddress>().as_ref(), Ok(&email), "{spelling:?} of {written:?}");
    }
    // Whoever splits at the first `@` and whoever splits at the last one read the same domain.
    assert_eq!(written.matches('@').count(), 1, "{written:?} was taken for an address");
    let (local, domain) = written.split_once('@').expect("there is one");
    assert_eq!(local.to_ascii_lowercase(), email.local());
    let domain = Hostname::parse(domain).expect("the domain of an address is a hostname");
    assert!(email.is_at(&domain) && domain.as_str() == email.domain(), "{written:?}");
    if let Ok(below) = domain.child("sub") {
        assert!(!email.is_at(&below));
    }
    // As the sender of a mail it is the same address, or none.
    if let Ok(from) = format!("Somebody <{canonical}>").parse::<MailFrom>() {
        assert_eq!(canonical.parse::<MailFrom>(), format!("<{canonical}>").parse(), "{from:?}");
    }
}
