//! What a provider may say about somebody's e-mail address, and what must not be made of it.

/// Claims that stand in the place of the good ones, as JSON; [`ABSENT`] takes one away.
pub type Claims = &'static str;

/// The value of a claim that is to be left out.
pub const ABSENT: &str = "(absent)";

/// Claims that name an address at `example.test` to a careless reader. Nobody may be taken for somebody there.
pub const ADDRESSES: &[(&str, Claims)] = &[
    ("no address", r#"{"email": "(absent)"}"#),
    (
        "no address, but a name that looks like one",
        r#"{"email": "(absent)", "preferred_username": "staff@example.test"}"#,
    ),
    ("no address, but a upn", r#"{"email": "(absent)", "upn": "staff@example.test"}"#),
    ("null", r#"{"email": null}"#),
    ("empty", r#"{"email": ""}"#),
    ("a list", r#"{"email": ["staff@example.test"]}"#),
    ("an object", r#"{"email": {"value": "staff@example.test"}}"#),
    ("a number", r#"{"email": 1}"#),
    ("nobody says whether it is verified", r#"{"email_verified": "(absent)"}"#),
    ("not verified", r#"{"email_verified": false}"#),
    ("verified: the word true", r#"{"email_verified": "true"}"#),
    ("verified: the word false", r#"{"email_verified": "false"}"#),
    ("verified: 1", r#"{"email_verified": 1}"#),
    ("verified: null", r#"{"email_verified": null}"#),
    ("verified: an object", r#"{"email_verified": {"staff@example.test": true}}"#),
    ("verified: a list", r#"{"email_verified": [true]}"#),
    ("verified under another name", r#"{"email_verified": "(absent)", "verified_email": true}"#),
    ("a line's end behind it", r#"{"email": "staff@example.test\n"}"#),
    ("a line's end in it", r#"{"email": "x@evil.test\nstaff@example.test"}"#),
    ("a line's end before it", r#"{"email": "\nstaff@example.test"}"#),
    ("a carriage return behind it", r#"{"email": "staff@example.test\r\nX: y"}"#),
    ("a zero byte behind it", r#"{"email": "staff@example.test\u0000"}"#),
    ("a zero byte, then another domain", r#"{"email": "staff@example.test\u0000.evil.test"}"#),
    ("a space behind it", r#"{"email": "staff@example.test "}"#),
    ("a space before it", r#"{"email": " staff@example.test"}"#),
    ("a space in it", r#"{"email": "staff @example.test"}"#),
    ("two ats", r#"{"email": "staff@evil@example.test"}"#),
    ("two ats, the other way", r#"{"email": "staff@example.test@evil.test"}"#),
    ("a quoted local part", r#"{"email": "\"staff@evil.test\"@example.test"}"#),
    ("a quoted local part without need", r#"{"email": "\"staff\"@example.test"}"#),
    ("a comment", r#"{"email": "staff(at evil.test)@example.test"}"#),
    ("a comment behind it", r#"{"email": "staff@example.test(evil)"}"#),
    ("a name before it", r#"{"email": "Staff <staff@example.test>"}"#),
    ("angle brackets", r#"{"email": "<staff@example.test>"}"#),
    ("a list in a text", r#"{"email": "staff@example.test,x@evil.test"}"#),
    ("a list in a text, with semicolons", r#"{"email": "x@evil.test;staff@example.test"}"#),
    ("an address of mail", r#"{"email": "mailto:staff@example.test"}"#),
    ("a percent route", r#"{"email": "staff%example.test@evil.test"}"#),
    ("an encoded at", r#"{"email": "staff%40example.test"}"#),
    ("a bang route", r#"{"email": "example.test!staff@evil.test"}"#),
    ("a dot behind the domain", r#"{"email": "staff@example.test."}"#),
    ("a dot before the domain", r#"{"email": "staff@.example.test"}"#),
    ("a subdomain", r#"{"email": "staff@evil.example.test"}"#),
    ("a longer name", r#"{"email": "staff@evilexample.test"}"#),
    ("a name with a hyphen", r#"{"email": "staff@evil-example.test"}"#),
    ("the domain as another's beginning", r#"{"email": "staff@example.test.evil.tld"}"#),
    ("the domain as a local part", r#"{"email": "example.test@evil.test"}"#),
    ("no local part", r#"{"email": "@example.test"}"#),
    ("no domain", r#"{"email": "staff@"}"#),
    ("no at", r#"{"email": "staff"}"#),
    ("the domain alone", r#"{"email": "example.test"}"#),
    ("a dot at the beginning", r#"{"email": ".staff@example.test"}"#),
    ("two dots", r#"{"email": "st..aff@example.test"}"#),
    ("a Kelvin sign", r#"{"email": "\u212aim@example.test"}"#),
    ("a long s", r#"{"email": "\u017ftaff@example.test"}"#),
    ("a ligature", r#"{"email": "sta\ufb00@example.test"}"#),
    ("a dotless i", r#"{"email": "adm\u0131n@example.test"}"#),
    ("a Cyrillic a", r#"{"email": "st\u0430ff@example.test"}"#),
    ("a Cyrillic e in the domain", r#"{"email": "staff@exampl\u0435.test"}"#),
    ("a wide at", r#"{"email": "staff\uff20example.test"}"#),
    ("a wide at before another domain", r#"{"email": "staff\uff20example.test@evil.test"}"#),
    ("a letter without width", r#"{"email": "sta\u200bff@example.test"}"#),
    ("text that runs backwards", r#"{"email": "staff\u202e@example.test"}"#),
    ("an address literal", r#"{"email": "staff@[127.0.0.1]"}"#),
];

/// Claims that do, and the address that is made of them.
pub const GOOD_ADDRESSES: &[(&str, Claims, &str)] = &[
    ("as it is", "{}", "staff@example.test"),
    ("a domain in upper case", r#"{"email": "staff@EXAMPLE.TEST"}"#, "staff@example.test"),
    ("a local part in upper case", r#"{"email": "STAFF@example.test"}"#, "staff@example.test"),
    // Whoever strips tags makes one person of two.
    ("a tag", r#"{"email": "staff+tag@example.test"}"#, "staff+tag@example.test"),
    ("dots in the local part", r#"{"email": "s.t.aff@example.test"}"#, "s.t.aff@example.test"),
    ("an apostrophe", r#"{"email": "o'hara@example.test"}"#, "o'hara@example.test"),
];
