//! E-mail rules: what counts as the same address, and whose domain it is.

use tunnel_proto::EmailAddress;

use crate::declare::admits;

// O5, R05 (CVE-2026-40574)
#[test]
fn an_address_that_several_programs_would_read_differently_is_no_address() {
    let refused = [
        "a@evil@corp.com",
        "\"a@evil\"@corp.com",
        "\"a\"@corp.com",
        "a(comment)@corp.com",
        "a@corp.com(comment)",
        "a@[192.0.2.1]",
        "a@192.0.2.1",
        "a@corp.com.",
        "a@.corp.com",
        "a@corp..com",
        "a@corp.com ",
        " a@corp.com",
        "x@corp.com\n",
        "x@corp.com\r\nBcc: y@evil.com",
        "a b@corp.com",
        "a,b@corp.com",
        "<a@corp.com>",
        "A <a@corp.com>",
        "a.@corp.com",
        ".a@corp.com",
        "a..b@corp.com",
        "@corp.com",
        "corp.com",
        "a@",
        "\u{212a}@corp.com",
        "\u{430}@corp.com",
        "a\0@corp.com",
        "a%40corp.com",
        "a@corp.com%00.evil.com",
        "a\u{202e}@corp.com",
    ];
    for text in refused {
        assert!(text.parse::<EmailAddress>().is_err(), "{text:?}");
    }
}

// O5
#[test]
fn only_the_exact_domain_is_within_emails_ending_in() {
    let table = [
        ("a@corp.com", true),
        ("A@CORP.COM", true),
        ("a+tag@corp.com", true),
        ("a@evilcorp.com", false),
        ("a@corp.com.evil.com", false),
        ("a@sub.corp.com", false),
        ("a@corp.co", false),
        ("corp.com@evil.com", false),
        ("a%corp.com@evil.com", false),
        ("a@c\u{43e}rp.com", false), // Cyrillic о
        ("a@\u{212a}orp.com", false),
    ];
    for (email, admitted) in table {
        assert_eq!(admits("domain:corp.com", email, "192.0.2.1"), admitted, "{email}");
    }
}

// O5
#[test]
fn an_internationalised_domain_has_one_form() {
    assert!(admits("domain:b\u{fc}cher.example", "a@xn--bcher-kva.example", "192.0.2.1"));
    assert!(admits("domain:xn--bcher-kva.example", "a@B\u{dc}CHER.example", "192.0.2.1"));
    assert!(!admits("domain:bucher.example", "a@b\u{fc}cher.example", "192.0.2.1"));
}

// O5
#[test]
fn an_exact_address_is_compared_without_case_and_without_anything_else() {
    assert!(admits("email:Ann@corp.com", "aNN@Corp.Com", "192.0.2.1"));
    for other in ["ann+x@corp.com", "a.nn@corp.com", "bob@corp.com", "ann@corp.org", "ann@sub.corp.com"] {
        assert!(!admits("email:ann@corp.com", other, "192.0.2.1"), "{other}");
    }
}

// O5
#[test]
fn an_address_that_grows_too_long_in_its_one_form_is_no_address() {
    let long = |labels: usize| format!("{}@{}example", "a".repeat(64), "\u{436}.".repeat(labels));
    assert!(long(30).len() < 254);
    assert!(long(30).parse::<EmailAddress>().is_err(), "it could not be read again");
    let short: EmailAddress = long(20).parse().expect("an address");
    assert_eq!(short.as_str().parse(), Ok(short.clone()));
}
