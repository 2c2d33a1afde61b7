//! The program as it is run: what it says, and how it ends.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs the program in an empty home, with an environment of its own.
fn access(home: &Path, words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_access"));
    command.args(words).env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(variables.iter().copied()).current_dir(home).stdin(Stdio::null());
    command.output().unwrap()
}

fn ends(words: &[&str], variables: &[(&str, &str)], code: i32, says: &str) {
    let home = tempfile::tempdir().unwrap();
    let output = access(home.path(), words, variables);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    assert!(text.contains(says), "{words:?} says `{says}`: {text}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    ends(&["tcp"], &[], 2, "--hostname");
    ends(&["nothing"], &[], 2, "nothing");
    ends(&["tcp", "--hostname", "http://a.example.com"], &[], 2, "db.example.com");
    ends(&["tcp", "--hostname", "a.example.com", "--url", "127.0.0.1"], &[], 2, "127.0.0.1:PORT");
    ends(&["tcp", "--hostname", "a.example.com", "--destination", "x"], &[], 2, "HOST:PORT");
    ends(&["tcp", "--hostname", "a.example.com", "--id", "x"], &[], 2, "--service-token-secret-file");
    ends(&["forward", "-f", "none.yaml"], &[], 2, "none.yaml");
    ends(&["curl", "http://a.example.com"], &[], 2, "https://HOST/PATH");
    ends(&["list", "--edge", "http://x"], &[("HTTPS_PROXY", "")], 2, "--edge");
    ends(&["list", "--edge", "https://access.example.com"], &[("HTTPS_PROXY", "")], 0, "no logins yet");
    let proxy = [("HTTPS_PROXY", "ftp://ann:secret@x")];
    ends(&["login", "a.example.com"], &proxy, 2, "HTTPS_PROXY");
}

#[test]
fn a_leading_word_is_a_habit_and_ignored() {
    ends(&["access", "token", "--app", "https://a.example.com"], &[], 3, "access login a.example.com");
    ends(&["token", "--app", "https://a.example.com"], &[], 3, "access login a.example.com");
}

#[test]
fn secrets_are_not_repeated() {
    let home = tempfile::tempdir().unwrap();
    for (words, variables) in [
        (vec!["login", "a.invalid"], vec![("HTTPS_PROXY", "ftp://ann:s3cret@x")]),
        (vec!["login", "a.invalid", "--id", "x", "--secret", "s3cret"], vec![]),
        (vec!["login", "a.invalid", "--id", "x"], vec![("TUNNEL_SERVICE_TOKEN_SECRET", "s3cret")]),
        (vec!["tcp", "--hostname", "a.invalid", "-H", "Host: s3cret"], vec![]),
        (vec!["tcp", "--hostname", "a.invalid", "-H", "s3cret"], vec![]),
    ] {
        let output = access(home.path(), &words, &variables);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(!output.status.success() && !text.contains("s3cret"), "{words:?}: {text}");
    }
}

#[test]
fn a_file_that_is_too_long_for_a_secret_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let words = ["login", "a.invalid", "--id", "x", "--service-token-secret-file", file.to_str().unwrap()];
    std::fs::write(&file, vec![b'x'; 4097]).unwrap();
    ends(&words, &[], 1, "longer than 4096 bytes");
    std::fs::write(&file, vec![b'x'; 4096]).unwrap();
    ends(&words, &[], 1, "a.invalid");
}

#[test]
fn a_port_that_is_taken_is_named_with_who_has_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let us = format!("process {}", std::process::id());
    ends(&["tcp", "--hostname", "a.example.com", "--url", &address], &[], 1, &us);
}

// C1
#[test]
fn other_machines_are_not_listened_for_unless_that_is_meant() {
    ends(&["tcp", "--hostname", "a.example.com", "--url", "0.0.0.0:0"], &[], 1, "--listen-anyone");
}

#[test]
fn the_lines_for_ssh_name_this_program_and_the_edge_but_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let words = ["ssh-config", "--hostname", "shell.example.com:8443"];
    let printed = |more: &[&str], variables: &[(&str, &str)]| access(home.path(), &[&words, more].concat(), variables);
    let text = String::from_utf8(printed(&["--edge-ca", "my ca.pem"], &[]).stdout).unwrap();
    assert!(text.starts_with("Host shell.example.com\n  ProxyCommand /"), "{text}");
    let folder = home.path().canonicalize().unwrap();
    let end = format!("access ssh --hostname shell.example.com:8443 --edge-ca '{}/my ca.pem'\n", folder.display());
    assert!(text.ends_with(&end), "{text}");

    let refused = printed(&["--id", "x", "--secret", "s3cret"], &[]);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
    let told = printed(&["--id", "x"], &[("TUNNEL_SERVICE_TOKEN_SECRET", "s3cret")]);
    let said = [told.stdout, told.stderr, refused.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("--service-token-id x\n") && said.contains("TUNNEL_SERVICE_TOKEN_SECRET is set"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_reader_who_has_gone_is_no_reason_to_panic() {
    let home = tempfile::tempdir().unwrap();
    stored_login(home.path());
    for (words, code) in [
        (&["ssh-config", "--hostname", "db.example.com"][..], 0),
        (&["token", "--app", "db.example.com"], 0),
        // Its edge cannot be reached, which is said all the same.
        (&["list"], 1),
        (&["list", "--json"], 1),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_access"));
        command.args(words).env_clear().env("HOME", home.path()).stdin(Stdio::null()).stdout(writer);
        let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("standard output"), "{words:?}: {said}");
    }
}

/// A login in `home` to `db.example.com` at an edge that nobody runs.
#[cfg(unix)]
fn stored_login(home: &Path) {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let entry = r#"{"host": "db.example.com", "issuer": "https://access.localhost:9", "login": {"token": "s3cret",
        "app": "0000000000000000000000000000000000000000000000000000000000000000", "email": "ann@example.com",
        "expires": 4000000000}}"#;
    let directory = home.join(".config/tunnel/access");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).unwrap();
    let file = directory.join("db.example.com.json");
    std::fs::write(&file, entry).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(unix)]
#[test]
fn logins_of_an_edge_that_cannot_be_reached_are_listed_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    stored_login(home.path());
    for words in [&["list"][..], &["list", "--json"]] {
        let output = access(home.path(), words, &[]);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(out.contains("db.example.com") && out.contains("ann@example.com"), "{out}");
        assert!(err.contains("cannot reach access.localhost:9"), "{err}");
        assert!(!out.contains("s3cret") && !err.contains("s3cret"), "{out}{err}");
    }
    let output = access(home.path(), &["list", "--json"], &[]);
    let json = String::from_utf8(output.stdout).unwrap();
    assert!(json.contains("\"listed\": null") && json.contains("\"expires\": 4000000000"), "{json}");
}

// C4
#[test]
fn nothing_in_the_current_directory_is_believed() {
    let home = tempfile::tempdir().unwrap();
    let entry = r#"{"host": "a.example.com", "issuer": "https://access.example.com", "login": {"token": "planted",
        "app": "0000000000000000000000000000000000000000000000000000000000000000", "email": "a@example.com",
        "expires": 4000000000}}"#;
    for directory in ["access", "tunnel/access"] {
        std::fs::create_dir_all(home.path().join(directory)).unwrap();
        std::fs::write(home.path().join(directory).join("a.example.com.json"), entry).unwrap();
    }
    let output = access(home.path(), &["token", "--app", "a.example.com"], &[("XDG_CONFIG_HOME", "relative")]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The program at a terminal of 70 columns and 12 rows, which `script` (util-linux) makes.
#[cfg(target_os = "linux")]
struct Terminal {
    child: std::process::Child,
    shown: std::sync::Arc<std::sync::Mutex<String>>,
    _home: tempfile::TempDir,
}

#[cfg(target_os = "linux")]
impl Terminal {
    fn start(words: &str, variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_access");
        let line = format!("stty cols 70 rows 12; exec '{program}' {words}");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env_clear().env("HOME", home.path()).env("TERM", "xterm");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("SHELL", "/bin/sh");
        command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let shown = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let showing = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut output, &mut buffer) {
                showing.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Self { child, shown, _home: home }
    }

    /// Waits until the terminal was shown something, and returns all that it was shown.
    fn wait(&self, enough: impl Fn(&str) -> bool) -> String {
        let began = std::time::Instant::now();
        loop {
            let text = self.shown.lock().unwrap().clone();
            if enough(&text) {
                return text;
            }
            assert!(began.elapsed().as_secs() < 20, "{text}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_each_port_anew_and_is_left_as_it_was() {
    use std::io::Write;
    for (variables, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")][..], false)] {
        let mut terminal = Terminal::start("tcp --hostname a.invalid --url 127.0.0.1:0", variables);
        let text = terminal.wait(|text| text.matches("ready").count() >= 2);
        let port = text.split("a.invalid → 127.0.0.1:").nth(1).unwrap().split_whitespace().next().unwrap();
        std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let mut failed = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        std::io::Read::read_to_end(&mut failed, &mut Vec::new()).ok();
        let text = terminal.wait(|text| {
            text.contains("a.invalid: cannot reach") && text.contains("/s  \x1b[31mcan") || text.contains("/s  can")
        });
        assert_eq!(text.contains("\x1b[31m"), coloured, "{text:?}");
        // Ctrl+C, as a terminal has it.
        terminal.child.stdin.as_mut().unwrap().write_all(&[3]).unwrap();
        let text = terminal.wait(|text| text.contains("connection, 0 B up") || text.contains("connections, 0 B up"));
        assert!(terminal.child.wait().unwrap().success(), "{text}");
        let end = text.rsplit("\x1b[0J").next().unwrap();
        assert!(end.starts_with("a.invalid → 127.0.0.1:"), "nothing stays of what was drawn: {end:?}");
    }
}
