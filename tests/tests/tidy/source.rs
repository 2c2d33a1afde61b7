//! Things that are looked for in every source file.

use regex::Regex;

use crate::files;

fn product() -> Vec<(String, String)> {
    let all = files(&[".rs"]);
    all.into_iter().filter(|(name, _)| name.starts_with("crates/") || name.starts_with("bins/")).collect()
}

#[test]
fn nothing_is_unsafe() {
    let word = Regex::new(r"\bunsafe\s*(\{|fn|impl|trait|extern)|allow\(\s*unsafe_code").unwrap();
    for (name, text) in files(&[".rs"]) {
        assert!(!word.is_match(&text), "{name} has unsafe code");
    }
}

#[test]
fn platform_code_sits_in_platform_modules() {
    let platform = Regex::new(r"std::os::(unix|linux|windows|macos|fd)|rustix::|libc::|nix::").unwrap();
    let mut modules = 0;
    for (name, text) in product() {
        if name.ends_with("/platform.rs") || name.contains("/platform/") {
            modules += usize::from(platform.is_match(&text));
            continue;
        }
        // Tests may look at modes and sockets, where they say for which platform.
        if name.contains("/tests/") && (text.contains("cfg(unix)") || !platform.is_match(&text)) {
            continue;
        }
        if let Some(found) = platform.find(&text) {
            panic!("{name} uses {}, which belongs in the crate's `platform` module", found.as_str());
        }
    }
    assert!(modules > 0, "there is platform code, and it was found");
}

/// What lasts as long as the edge begins anew after a panic, and what is decided in the background is contained (F29).
#[test]
fn tasks_that_last_are_kept() {
    let code = |name: &str| {
        let text = std::fs::read_to_string(crate::root().join(name)).unwrap();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
    };
    for name in ["edge.rs", "edge/retire.rs", "mail.rs", "audit.rs", "backup.rs", "revalidation.rs", "acme/work.rs"] {
        let text = code(&format!("crates/edge/src/{name}"));
        assert!(!text.contains("tokio::spawn("), "{name} starts a task that nobody begins anew: `task::keep` does");
    }
    for (name, kept) in [
        ("crates/edge/src/edge.rs", "task::keep(\"sweep\""),
        ("crates/edge/src/edge.rs", "task::keep(\"revoked\""),
        ("crates/edge/src/edge.rs", "task::keep(\"follow\""),
        ("crates/edge/src/edge/doors.rs", "task::keep_on(&runtime, \"accept\""),
        ("crates/edge/src/audit.rs", "task::keep(\"audit\""),
        ("crates/edge/src/mail.rs", "task::keep(\"mail\""),
        ("crates/edge/src/mail/queue.rs", "task::contain(\"mail\""),
        ("crates/edge/src/login/decision.rs", "task::contain(\"pins\", decide("),
        ("crates/edge/src/login/decision.rs", "task::contain(\"pins\", office.tell("),
        ("crates/edge/src/front.rs", "task::contain(\"request\""),
    ] {
        assert!(code(name).contains(kept), "{name} has no {kept}");
    }
}

#[test]
fn nothing_is_left_to_do() {
    let left = Regex::new(concat!(r"\b(TO", r"DO|FIX", r"ME|XX", r"X)\b|todo!\(|unimplemented!\(|#\[ignore")).unwrap();
    for (name, text) in files(&[".rs", ".toml", ".md", ".sql", ".html", ".ftl"]) {
        if name == "tests/tests/tidy/source.rs" {
            continue;
        }
        if let Some(found) = left.find(&text) {
            panic!("{name} has {}", found.as_str());
        }
    }
}

#[test]
fn a_test_never_skips_itself() {
    // "Not installed, so passed" is how a suite dies; the harness fails and names what is missing.
    let quiet = Regex::new(r"(?i)(eprintln|println)!\([^)]*\bskip").unwrap();
    for (name, text) in files(&[".rs"]) {
        if let Some(found) = quiet.find(&text) {
            panic!("{name} skips: {}", found.as_str());
        }
    }
}

#[test]
fn files_tell_one_story_each() {
    for (name, text) in files(&[".rs"]) {
        let lines = text.lines().count();
        assert!(lines <= 700, "{name} has {lines} lines: two stories may share a room");
    }
}

/// Words that the glossary replaced, where a reader of code, logs or pages would meet them.
#[test]
fn the_glossary_is_kept() {
    let banned = [
        (r"(?i)\btunnelling client\b", "access client"),
        (r"(?i)\bone[- ]time password", "one-time PIN"),
        (r"(?i)\bpassthrough code\b", "code"),
        (r"(?i)\bwhitelist|\bblacklist", "allow-list, deny-set"),
    ];
    for (name, text) in files(&[".rs", ".html", ".ftl", ".txt"]) {
        if name.starts_with("tests/") {
            continue;
        }
        for (pattern, better) in &banned {
            if let Some(found) = Regex::new(pattern).unwrap().find(&text) {
                panic!("{name} says `{}`; the word is: {better}", found.as_str());
            }
        }
    }
}

#[test]
fn english_and_japanese_have_the_same_messages() {
    let files = files(&[".ftl"]);
    let keys = |text: &str| -> std::collections::BTreeSet<String> {
        let key = Regex::new(r"(?m)^(-?[a-zA-Z][\w-]*) *=").unwrap();
        key.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let mut pairs = 0;
    for (name, text) in &files {
        if !name.contains("/en/") && !name.ends_with("/en.ftl") {
            continue;
        }
        let other = name.replace("/en/", "/ja/").replace("/en.ftl", "/ja.ftl");
        let japanese = files.iter().find(|(n, _)| *n == other).unwrap_or_else(|| panic!("{other} is missing"));
        let (english, japanese) = (keys(text), keys(&japanese.1));
        assert_eq!(english, japanese, "messages of {name} and {other}");
        assert!(english.len() > 10);
        pairs += 1;
    }
    assert!(pairs > 0, "there are pages in two languages");
}

#[test]
fn no_path_of_a_developers_machine_is_in_the_tree() {
    let path = Regex::new(concat!(r#"["' (=](/wo"#, r"rk/|/ho", r"me/[a-z]+/|/Us", r"ers/)")).unwrap();
    for (name, text) in files(&[".rs", ".toml", ".md", ".yaml", ".yml", ".sh", ".mjs", "tests/run", ".ci/run"]) {
        if let Some(found) = path.find(&text) {
            panic!("{name} names {}", found.as_str());
        }
    }
}
