//! The limits that the documentation tells are those of the code.

use regex::Regex;

use crate::root;

/// How a row of the table begins, and where its numbers come from: a file below `crates/`, and constants in it.
const ROWS: &[(&str, &[(&str, &str)])] = &[
    ("Connections of visitors at a time", &[("edge/src/config.rs", "CONNECTIONS")]),
    (
        "Connections of one network",
        &[
            ("edge/src/config.rs", "CONNECTIONS_PER_NETWORK"),
            ("edge/src/listen/sources.rs", "HANDSHAKES_PER_NETWORK ARRIVALS"),
        ],
    ),
    (
        "The same and the two below from one /48",
        &[("edge/src/listen/sources.rs", "NETWORKS_PER_WIDE"), ("edge/src/config.rs", "CONNECTIONS_PER_NETWORK_MAX")],
    ),
    (
        "Faults of one network",
        &[("edge/src/listen/sources.rs", "FAULTS SHUT_FIRST SHUT_MOST"), ("edge/src/listen/http.rs", "H2_STREAMS")],
    ),
    (
        "Requests of one network that are turned away",
        &[
            ("edge/src/listen/sources.rs", "TURNED_AWAY ADMITTED_LATELY"),
            ("edge/src/listen/sources/known.rs", "ADMITTED_MAX"),
        ],
    ),
    (
        "TLS handshake, first byte",
        &[
            ("edge/src/listen/handshake.rs", "HANDSHAKE_TIME"),
            ("edge/src/listen.rs", "FIRST_BYTE_TIME"),
            ("edge/src/listen/activity.rs", "HEAD_TIME"),
        ],
    ),
    ("Body of a request", &[("edge/src/forward/pace.rs", "GRACE")]),
    ("An answer that the visitor does not take", &[("edge/src/listen/http.rs", "STALL_TIME")]),
    ("A connection on which nothing is asked", &[("edge/src/listen/activity.rs", "IDLE_TIME HEAD_TIME")]),
    ("Head of a request", &[("edge/src/strict/head.rs", "HEAD_MAX FIELDS_MAX")]),
    ("Chunked body of a request", &[("edge/src/strict/chunks.rs", "SIZE_LINE_MAX EXTENSIONS_MAX TRAILERS_MAX")]),
    ("Head of a service's answer", &[("edge/src/upstream.rs", "HEAD_MAX")]),
    ("What a service sends by HTTP/1", &[("edge/src/upstream/unheard.rs", "UNHEARD_MAX")]),
    ("HTTP/2 streams of a connection", &[("edge/src/listen/http.rs", "H2_STREAMS")]),
    ("HTTP/2 windows", &[("edge/src/listen/http.rs", "H2_STREAM_WINDOW H2_CONNECTION_WINDOW")]),
    (
        "HTTP/2 frames of a connection",
        &[(
            "edge/src/listen/frames.rs",
            "SPAN RESETS_MAX SETTINGS_MAX PINGS_MAX PRIORITIES_MAX SMALL_MAX WINDOW_UPDATES_MAX PROVOKED_MAX",
        )],
    ),
    ("HTTP/2 frames of a service", &[("edge/src/listen/frames.rs", "SPAN")]),
    ("Certificates by ACME", &[("edge/src/acme/plan.rs", "CERTIFICATES_MAX"), ("edge/src/acme/work.rs", "ORDERS_MAX")]),
    ("Certificates by the edge's own CA", &[("edge/src/tls.rs", "STRANGERS_MAX STRANGERS_READY_MAX")]),
    ("A handshake's wait for a certificate", &[("edge/src/acme.rs", "HANDSHAKE_WAIT WAITING_MAX")]),
    ("Links of a tunnel", &[("edge/src/registry.rs", "LINKS_PER_TUNNEL LINKS_MAX")]),
    ("Links of an operator's machine", &[("edge/src/operators/links.rs", "LINKS_PER_OPERATOR OPERATOR_LINKS_MAX")]),
    ("Tables that a link announces", &[("edge/src/connectors/tables.rs", "AT_ONCE EVERY")]),
    ("Links of one person", &[("edge/src/clients/links.rs", "LINKS_PER_HOLDER")]),
    ("Credentials that one link", &[("edge/src/clients.rs", "REFUSED_MAX")]),
    ("Streams of a link", &[("tunnel-proto/src/link.rs", "STREAMS_MAX")]),
    ("Bytes a link holds", &[("tunnel-proto/src/link.rs", "MEMORY_MAX")]),
    ("PIN |", &[("auth/src/pin.rs", "DIGITS MAX_TRIES LIFE_FROM_HANDED_OVER")]),
    ("PINs for one address", &[("auth/src/pin.rs", "PER_ADDRESS")]),
    ("PINs tried for one address", &[("auth/src/pin.rs", "TRIES_PER_ADDRESS")]),
    ("Logins begun at providers", &[("edge/src/login/limits.rs", "PER_SOURCE")]),
    ("The same from one /16", &[("edge/src/login/limits.rs", "PER_WIDE_NETWORK STARTS_IN_ALL")]),
    ("Questions for a passkey", &[("edge/src/login/limits.rs", "QUESTIONS_IN_ALL")]),
    ("Logins that come back from providers", &[("edge/src/login/provider.rs", "CALLBACKS")]),
    ("Looks at the launcher", &[("edge/src/launcher.rs", "PER_LOGIN")]),
    ("A form that is kept", &[("edge/src/login/form.rs", "BODY_MAX"), ("edge/src/renewal.rs", "FIELDS_MAX")]),
    ("Login at `access.ZONE`", &[("edge/src/store/records.rs", "SESSION_DEFAULT")]),
    ("Session at an application", &[("edge/src/store/records.rs", "SESSION_DEFAULT")]),
];
/// What there is no limit of.
const UNLIMITED: &str = "Size of a body";

/// A number, or a time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Number(u64),
    Time(u64),
}

/// The quantities in a row, in the units in which they are told.
fn told(row: &str) -> Vec<Quantity> {
    let number = Regex::new(r"(\d+(?:,\d{3})*)(?: (KiB|MiB|minutes|min|hours|s)\b)?").unwrap();
    let quantity = |found: regex::Captures<'_>| {
        let number: u64 = found[1].replace(',', "").parse().unwrap();
        match found.get(2).map_or("", |unit| unit.as_str()) {
            "KiB" => Quantity::Number(number * 1024),
            "MiB" => Quantity::Number(number * 1024 * 1024),
            "s" => Quantity::Time(number * 1000),
            "min" | "minutes" => Quantity::Time(number * 60_000),
            "hours" => Quantity::Time(number * 3_600_000),
            _ => Quantity::Number(number),
        }
    };
    number.captures_iter(row).map(quantity).collect()
}

/// A product of numbers.
fn product(text: &str) -> u64 {
    let factors = text.split('*').map(|factor| factor.trim().replace('_', ""));
    factors.map(|factor| factor.parse::<u64>().unwrap_or_else(|_| panic!("a factor of `{text}`"))).product()
}

/// What a constant is worth: of a rate its numbers, of several limits how often each of them is.
fn worth(source: &str, name: &str) -> Vec<Quantity> {
    let declared = Regex::new(&format!(r"\bconst {name}: [^=]+ = ([^;]+);")).unwrap();
    let found = declared.captures(source).unwrap_or_else(|| panic!("there is no `const {name}`"));
    let value = found[1].trim();
    let time = Regex::new(r"^Duration::from_(secs|millis)\(([^()]+)\)$").unwrap();
    if let Some(time) = time.captures(value) {
        return vec![Quantity::Time(product(&time[2]) * if &time[1] == "secs" { 1000 } else { 1 })];
    }
    let often = Regex::new(r"(?:\blimit\(|\bevents: |\bburst: |\bper_second: )([\d_]+)").unwrap();
    let often: Vec<_> = often.captures_iter(value).map(|found| Quantity::Number(product(&found[1]))).collect();
    if often.is_empty() { vec![Quantity::Number(product(value))] } else { often }
}

#[test]
fn the_table_of_limits_tells_what_is_in_the_code() {
    let text = std::fs::read_to_string(root().join("docs/edge-toml.md")).unwrap();
    let (_, table) = text.split_once("\n## Limits that are built in\n").expect("the table has a heading");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What |")).collect();
    for (begins, constants) in ROWS {
        let mine: Vec<_> = rows.iter().filter(|row| row[2..].starts_with(begins)).collect();
        assert_eq!(mine.len(), 1, "rows that begin with `{begins}`");
        let told = told(mine[0]);
        for (file, names) in *constants {
            let source = std::fs::read_to_string(root().join("crates").join(file)).unwrap();
            for name in names.split(' ') {
                for quantity in worth(&source, name) {
                    assert!(told.contains(&quantity), "{file}: {name} is {quantity:?}, and told is: {}", mine[0]);
                }
            }
        }
    }
    for row in rows {
        let is_known = ROWS.iter().any(|(begins, _)| row[2..].starts_with(begins));
        assert!(is_known || row[2..].starts_with(UNLIMITED), "say here which constants this tells: {row}");
    }
}

#[test]
fn numbers_are_read_as_they_are_written() {
    use Quantity::{Number, Time};
    assert_eq!(
        told("| a /48 | 8,192, 64 KiB, 5 s; 2 streams for 10 min |"),
        [Number(48), Number(8192), Number(65_536), Time(5000), Number(2), Time(600_000)]
    );
    let source = "pub const A: usize = 64 * 1_024;\nconst AB: Duration = Duration::from_secs(24 * 3600);\n\
                  const B: &[RateLimit] = &[limit(600, 60), limit(12_000, 3600)];\n\
                  const C: Rate = Rate { burst: 7, per_second: 5 };";
    assert_eq!(worth(source, "A"), [Number(65_536)]);
    assert_eq!(worth(source, "AB"), [Time(86_400_000)]);
    assert_eq!(worth(source, "B"), [Number(600), Number(12_000)]);
    assert_eq!(worth(source, "C"), [Number(7), Number(5)]);
}
