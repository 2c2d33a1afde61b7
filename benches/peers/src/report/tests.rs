//! The report of a small run.

use super::*;

const RUN: &str = r#"{
  "began": 1790000000, "seconds": 125.0, "quick": true, "rounds": 2,
  "machine": {"processor": "Some & other", "cores": 2, "memory_gib": 24.0, "kernel": "6.1", "system": "Debian", "load": 0.1},
  "versions": {"rathole": "rathole 0.5.0"},
  "ways": [
    {"id": "loopback", "title": "bare loopback", "family": "bare", "about": "a", "protected": "b", "shared": "c"},
    {"id": "tunnel", "title": "tunnel, one TLS leg", "family": "ours", "about": "a", "protected": "b", "shared": "c"},
    {"id": "rathole", "title": "rathole, TLS", "family": "peer", "about": "a", "protected": "b", "shared": "c"}
  ],
  "samples": [
    {"round": 1, "way": "loopback", "what": "one-down", "figures": {"gbit": 16.0, "gigabytes": 2.0}, "parts": []},
    {"round": 1, "way": "tunnel", "what": "one-down", "figures": {"gbit": 4.0, "gigabytes": 2.0},
     "parts": [{"name": "door", "value": 2.0}, {"name": "connector", "value": 4.0}]},
    {"round": 2, "way": "tunnel", "what": "one-down", "figures": {"gbit": 5.0, "gigabytes": 2.0},
     "parts": [{"name": "door", "value": 2.0}, {"name": "connector", "value": 4.0}]},
    {"round": 1, "way": "rathole", "what": "one-down", "figures": {"gbit": 9.0, "gigabytes": 1.0},
     "parts": [{"name": "rathole server", "value": 1.5}]},
    {"round": 1, "way": "rathole", "what": "connect", "figures": {"per_second": 411.0, "millions": 0.001, "failed": 3},
     "parts": [{"name": "rathole server", "value": 1.0}]}
  ],
  "failures": [{"round": 2, "way": "rathole", "what": null, "error": "it\nended | early"}]
}"#;

fn report() -> Report {
    make(&serde_json::from_str(RUN).unwrap()).unwrap()
}

#[test]
fn every_figure_stands_in_the_report_also_where_ours_is_worse() {
    let text = report().text;
    for expected in [
        "| **tunnel, one TLS leg** | – | 4.50 ± 0.50 | – | – |",
        "| rathole, TLS | – | 9.00 | – | – |",
        "| bare loopback | – | 16.0 | – | – |",
        // CPU: 6 s for 2 GB, by process 1 and 2.
        "| **tunnel, one TLS leg** | – | 3.00 | – | – |",
        "| **tunnel, one TLS leg** | connector | – | 2.00 | – | – |",
        "| rathole, TLS | 411 | 1,000 | 3 |",
        "Gbit/s, 1 stream down | 2.00 times **worse** |",
        "new connections/s | not measured |",
        "| rathole, TLS | everything: it did not come up | 2 | it ended / early |",
        "| rathole | rathole 0.5.0 |",
        "one short round",
        "2026-09-21",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn what_people_wrote_is_in_it_as_it_is() {
    let text = report().text;
    for written in WRITTEN.iter().chain([&METHOD, &NOT_ESTABLISHED]) {
        assert!(written.starts_with("## ") && text.contains(written), "{written}");
    }
}

#[test]
fn charts_are_well_formed_and_made_for_light_and_dark() {
    let report = report();
    assert_eq!(report.pictures.len(), SECTIONS.len());
    for (name, picture) in &report.pictures {
        assert!(report.text.contains(&format!("src=\"images/{name}\"")), "{name} is shown");
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{name}");
        assert!(picture.contains("prefers-color-scheme:dark"), "{name}");
        for tag in ["text", "title", "style"] {
            let (begun, ended) =
                (picture.matches(&format!("<{tag}")).count(), picture.matches(&format!("</{tag}>")).count());
            assert_eq!(begun, ended, "{tag} in {name}");
        }
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{name}");
    }
    let throughput = &report.pictures[0].1;
    assert!(throughput.contains("tunnel, one TLS leg") && throughput.contains("4.50"));
}

#[test]
fn a_small_difference_is_none() {
    assert_eq!(verdict(1.1), "no difference established (1.10)");
    assert_eq!(verdict(1.5), "1.50 times better");
    assert_eq!(verdict(0.5), "2.00 times **worse**");
}

#[test]
fn days_are_counted_as_the_calendar_does() {
    for (time, day) in [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_790_000_000, "2026-09-21")] {
        assert_eq!(date(time), day);
    }
}
