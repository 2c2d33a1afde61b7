//! The commands and files in the documentation are real.

use std::collections::BTreeSet;

use regex::Regex;
use tunnel_tests::process::program;

use crate::{files, root};

/// Fenced blocks of these languages in a Markdown file.
pub(super) fn blocks(text: &str, languages: &[&str]) -> Vec<String> {
    let fence = Regex::new(r"(?ms)^ *```(\w*)[^\n]*\n(.*?)^ *```").unwrap();
    let wanted = fence.captures_iter(text).filter(|found| languages.contains(&&found[1]));
    wanted.map(|found| found[2].to_owned()).collect()
}

/// Commands in shell blocks, without prompts, comments and continuations.
fn commands(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for block in blocks(text, &["sh", "bash", "console", "shell"]) {
        for line in block.replace("\\\n", " ").lines() {
            let line = line.trim().trim_start_matches("$ ").trim();
            if !line.is_empty() && !line.starts_with('#') {
                all.push(line.split(" #").next().unwrap().trim().to_owned());
            }
        }
    }
    all
}

/// Programs that a reader has, and that are not ours.
const OTHERS: &[&str] = &[
    "cargo",
    "git",
    "cd",
    "curl",
    "sudo",
    "tests/run",
    "./tests/run",
    "benches/compare",
    "apt-get",
    "python3",
    "nginx",
    "systemctl",
    "export",
    "mkdir",
    "cat",
    "install",
    "openssl",
    "dig",
    "cp",
    "useradd",
    "iperf3",
    "mount",
    "mv",
    "pg_dump",
    "psql",
    "redis-cli",
    "rsync",
    "scp",
    "smbclient",
    "ssh",
    "vncviewer",
    "xfreerdp",
];

/// Every command is one of ours with a subcommand and flags that its own `--help` knows, or a well-known program.
#[test]
fn every_command_in_the_documentation_exists() {
    let mut ours = 0;
    for (name, text) in files(&[".md"]) {
        for command in commands(&text) {
            let mut words =
                command.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-')).peekable();
            if words.peek() == Some(&"sudo") {
                words.next();
                if words.peek() == Some(&"-u") {
                    words.nth(1);
                }
            }
            let mut words: Vec<_> = words.take_while(|word| !matches!(*word, "|" | "&&" | ">" | "&" | ";")).collect();
            if words.starts_with(&["cargo", "run"]) {
                let bin = words
                    .iter()
                    .position(|word| *word == "--bin")
                    .map(|at| words[at + 1])
                    .unwrap_or_else(|| panic!("{name}: `{command}` says no --bin"));
                let after = words.iter().position(|word| *word == "--").map_or(words.len(), |at| at + 1);
                words = [&[bin], &words[after..]].concat();
            }
            let first = words[0].rsplit('/').next().unwrap();
            if !["edge", "connector", "access"].contains(&first) {
                assert!(
                    OTHERS.contains(&words[0]) || OTHERS.contains(&first),
                    "{name}: who is `{}` in `{command}`?",
                    words[0]
                );
                continue;
            }
            ours += 1;
            let known = known_words(first, &words[1..]);
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(known.contains(flag), "{name}: `{command}`: {first} does not know {flag}");
            }
        }
    }
    assert!(ours >= 3, "the documentation has commands: {ours}");
}

/// Flags of a program, those of the subcommands that `words` begin with included.
fn known_words(program_name: &str, words: &[&str]) -> BTreeSet<String> {
    let program = program(program_name).unwrap();
    let flag = Regex::new(r"--[a-z][a-z0-9-]*").unwrap();
    let mut known: BTreeSet<String> = ["--help".to_owned(), "--version".to_owned()].into();
    let mut path: Vec<&str> = Vec::new();
    for next in words.iter().copied().map(Some).chain([None]) {
        let output = std::process::Command::new(&program).args(&path).arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "`{program_name} {} --help` failed: {}",
            path.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        known.extend(flag.find_iter(&text).map(|found| found.as_str().to_owned()));
        let Some(next) = next else { break };
        let is_subcommand = Regex::new(&format!(r"(?m)^  {}( |$)", regex::escape(next))).unwrap().is_match(&text);
        if next.starts_with('-') || !is_subcommand {
            break;
        }
        path.push(next);
    }
    known
}

/// Every flag of the programs, those of all commands included, stands in some document.
#[test]
fn every_flag_is_documented() {
    let documents: String = files(&[".md"]).into_iter().map(|(_, text)| text).collect();
    let flags = [
        "run",
        "demo",
        "check",
        "apply",
        "export",
        "ca",
        "admin audit",
        "admin tunnel create",
        "admin session",
        "admin keys rotate",
        "admin login-method show",
        "admin service-token create",
        "admin service-token rotate",
        "admin user invite",
        "admin passkey list",
        "admin passkey remove",
    ]
    .map(|command| ("edge", command))
    .into_iter()
    .chain(["tcp", "forward", "login", "token", "curl", "list", "ssh-config"].map(|command| ("access", command)))
    .chain(["login", "run", "create", "list", "route", "rotate", "delete"].map(|command| ("connector", command)))
    .chain(
        ["tcp", "forward", "login", "logout", "token", "curl", "list", "ssh-config"].map(|command| ("access", command)),
    );
    let mut seen = 0;
    for (program, command) in flags {
        let words: Vec<_> = command.split(' ').collect();
        for flag in known_words(program, &words) {
            let named = Regex::new(&format!(r"{flag}\b")).unwrap().is_match(&documents);
            assert!(named || flag == "--help" || flag == "--version", "no document says what `{program} {flag}` does");
            seen += 1;
        }
    }
    assert!(seen > 50, "the flags were read: {seen}");
}

/// What SECURITY.md calls a proof is a test that there is.
#[test]
fn every_promise_has_its_test() {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let proof = Regex::new(r"`([\w./-]+\.rs)::(\w+)`").unwrap();
    let mut proofs = 0;
    for found in proof.captures_iter(&text) {
        let source = std::fs::read_to_string(root().join(&found[1]));
        let source = source.unwrap_or_else(|error| panic!("SECURITY.md names {}: {error}", &found[1]));
        let test = Regex::new(&format!(r"fn {}\b", regex::escape(&found[2]))).unwrap();
        assert!(test.is_match(&source), "SECURITY.md names `{}`, which {} does not have", &found[2], &found[1]);
        proofs += 1;
    }
    assert!(proofs > 50, "SECURITY.md names its tests: {proofs}");
    let (promised, rest) = text.split_once("\n## Pending\n").expect("SECURITY.md says what is pending");
    for line in promised.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Promise |")) {
        assert!(proof.is_match(line), "SECURITY.md promises without a test: {line}");
    }
    // What is pending has no test, else it would be a promise; after it nothing is promised.
    let (pending, limits) = rest.split_once("\n## ").expect("something follows what is pending");
    let rows: Vec<_> = pending.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 1 && rows.iter().all(|line| !proof.is_match(line)), "what is pending: {rows:?}");
    assert!(limits.lines().all(|line| !line.starts_with("| ")), "a table after what is pending");
}

/// Every file that a document links to or shows is there.
#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    let picture = Regex::new(r#"\bsrc="([^":]+)""#).unwrap();
    for (name, text) in files(&[".md"]) {
        let folder = root().join(&name).parent().unwrap().to_owned();
        for found in link.captures_iter(&text) {
            assert!(folder.join(&found[1]).exists(), "{name} links to `{}`", &found[1]);
        }
        for found in picture.captures_iter(&text) {
            assert!(folder.join(&found[1]).is_file(), "{name} shows `{}`", &found[1]);
        }
    }
}

/// What a picture may weigh, in bytes: whoever clones the repository carries all of them.
const PICTURE_MAX: u64 = 256 * 1024;

/// No picture lies about that no document shows, and none is heavy.
#[test]
fn every_picture_is_shown_and_small() {
    let picture = Regex::new(r#"\bsrc="([^":]+)""#).unwrap();
    let mut shown = BTreeSet::new();
    for (name, text) in files(&[".md"]) {
        let folder = root().join(&name).parent().unwrap().to_owned();
        shown.extend(picture.captures_iter(&text).map(|found| folder.join(&found[1])));
    }
    let mut there = 0;
    for entry in std::fs::read_dir(root().join("docs/images")).unwrap() {
        let entry = entry.unwrap();
        let (path, size) = (entry.path(), entry.metadata().unwrap().len());
        assert!(shown.contains(&path), "no document shows {}", path.display());
        let begin = std::fs::read(&path).unwrap();
        let drawn = path.extension().is_some_and(|ending| ending == "svg") && begin.starts_with(b"<svg ");
        assert!(drawn || begin.starts_with(b"\x89PNG"), "{} is neither PNG nor SVG", path.display());
        assert!(size <= PICTURE_MAX, "{} has {size} bytes", path.display());
        there += 1;
    }
    assert!(there > 100, "the pictures were found: {there}");
}

/// Whoever wonders how fast it is finds the page, and in it what people wrote, as the command left it.
#[test]
fn the_page_about_performance_is_linked_and_has_what_was_written_for_it() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let page = read("docs/PERFORMANCE.md");
    assert!(read("README.md").contains("](docs/PERFORMANCE.md)"), "the README links the page");
    assert!(read("ARCHITECTURE.md").contains("benches/compare"), "ARCHITECTURE.md says how it is made");
    let written = files(&[".md"]).into_iter().filter(|(name, _)| name.starts_with("benches/peers/src/report/"));
    let mut sections = 0;
    for (name, text) in written {
        assert!(page.contains(text.trim()), "{name} was changed: `benches/compare --report` writes the page again");
        sections += 1;
    }
    assert!(sections >= 5, "the sections were found: {sections}");
}

#[test]
fn the_documents_are_there() {
    for name in ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "crates/tunnel-proto/PROTOCOL.md"] {
        let alternatives = [root().join(name), root().join(name.rsplit('/').next().unwrap())];
        assert!(alternatives.iter().any(|path| path.is_file()), "{name} is missing");
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme);
    assert!(commands.iter().any(|c| c.contains("tests/run")), "the README says how the tests are run");
    assert!(
        commands.iter().any(|c| c.contains("--bin edge") && c.contains("demo")),
        "the README says how to see it work"
    );
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("tests/run"), "CI runs the README's command");
}
