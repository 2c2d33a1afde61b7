//! The configuration files in the documentation are accepted by the program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::{Captures, Regex};
use tempfile::TempDir;
use tunnel_edge::{
    declare::Source,
    store::{DATABASE_NAME, Store as _, sqlite::SqliteStore},
};
use tunnel_tests::process::program;

use super::docs::blocks;
use crate::files;

/// The configuration that every `access.yaml` is applied with.
const EDGE: &str = "\
zone = \"example.com\"
data_dir = \"/var/lib/tunnel\"
[tls]
mode = \"internal\"
[smtp]
url = \"smtp://localhost\"
from = \"Access <no-reply@example.com>\"
";

/// Blocks of a language that begin with this comment, each with the document it stands in.
fn examples(language: &str, first: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, text) in files(&[".md"]) {
        let begins = |block: &String| block.lines().next().is_some_and(|line| line.trim() == first);
        found.extend(blocks(&text, &[language]).into_iter().filter(begins).map(|block| (name.clone(), block)));
    }
    assert!(found.len() >= 2, "the documentation has examples that begin with `{first}`: {}", found.len());
    found
}

/// Whether the documentation shows configuration without saying what it is, so that nothing checks it.
#[test]
fn every_example_says_which_file_it_is() {
    for (name, text) in files(&[".md"]) {
        for block in blocks(&text, &["toml", "yaml", "yml"]) {
            let first = block.lines().next().unwrap_or_default();
            assert!(
                matches!(first, "# edge.toml" | "# access.yaml" | "# forwards.yaml"),
                "{name}: which file is this?\n{block}"
            );
        }
    }
}

#[test]
fn every_edge_toml_is_accepted() {
    for (name, text) in examples("toml", "# edge.toml") {
        let place = tempfile::tempdir().unwrap();
        let config = write_config(&place, &text);
        let said = edge(&["check".as_ref(), "--config".as_ref(), config.as_path()]);
        assert!(said.is_ok(), "{name}: {}\n{text}", said.unwrap_err());
    }
}

#[test]
fn every_access_yaml_is_accepted() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, text) in examples("yaml", "# access.yaml") {
        let place = tempfile::tempdir().unwrap();
        let config = write_config(&place, EDGE);
        // What an edge leaves behind that ran once and was stopped.
        runtime.block_on(async {
            let store = SqliteStore::open(place.path().join("var/lib/tunnel").join(DATABASE_NAME)).await.unwrap();
            store.close().await;
        });
        let file = place.path().join("access.yaml");
        fs::write(&file, &text).unwrap();
        let variables = write_named(place.path(), &text);
        let words = ["apply".as_ref(), "-f".as_ref(), file.as_path(), "--dry-run".as_ref(), "--config".as_ref()];
        let said = edge_with(&[words.as_slice(), &[config.as_path()]].concat(), &variables);
        assert!(said.is_ok(), "{name}: {}\n{text}", said.unwrap_err());
    }
}

/// Writes the files that an `access.yaml` names for secrets and certificates; gives the variables that it names.
fn write_named(place: &Path, text: &str) -> Vec<String> {
    let mut variables = Vec::new();
    for reference in tunnel_edge::declare::references(text) {
        match reference.source {
            Source::File(path) => {
                let path = place.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                match path.extension() {
                    Some(_) => certificate(place, "ca", &path),
                    None => fs::write(&path, "secret\n").unwrap(),
                }
            }
            Source::Env(name) => variables.push(name),
        }
    }
    variables
}

/// Writes an `edge.toml` whose absolute paths lead below `place`, and what they name.
fn write_config(place: &TempDir, text: &str) -> PathBuf {
    let quoted = Regex::new(r#"(\w+) = "(/[^"]+)""#).unwrap();
    let moved = quoted.replace_all(text, |found: &Captures<'_>| {
        let path = place.path().join(found[2].trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match &found[1] {
            "data_dir" => fs::create_dir_all(&path).unwrap(),
            "cert" | "key" | "ca_file" => certificate(place.path(), &found[1], &path),
            "logo" => fs::write(&path, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n").unwrap(),
            // In base64, in either alphabet.
            "key_file" => fs::write(&path, "c2VjcmV0\n").unwrap(),
            _ => fs::write(&path, "secret\n").unwrap(),
        }
        format!("{} = {path:?}", &found[1])
    });
    let config = place.path().join("edge.toml");
    fs::write(&config, moved.as_bytes()).unwrap();
    config
}

/// Puts a certificate, or the key that belongs to it, at `path`.
fn certificate(place: &Path, what: &str, path: &Path) {
    let (key, certificate) = (place.join("made.key"), place.join("made.pem"));
    if !certificate.exists() {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com,DNS:*.example.com"]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output();
        let made = made.expect("openssl is installed: `tests/run --tools` does it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    fs::copy(if what == "key" { key } else { certificate }, path).unwrap();
}

/// Runs `edge`; what it said when it failed is the error.
fn edge(words: &[&Path]) -> Result<(), String> {
    edge_with(words, &[])
}

/// The same, with variables that are set to some secret.
fn edge_with(words: &[&Path], variables: &[String]) -> Result<(), String> {
    let mut command = Command::new(program("edge").unwrap());
    command.envs(variables.iter().map(|name| (name, "secret")));
    // The variables of whoever runs the tests are not part of the examples.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TUNNEL_")) {
        command.env_remove(name);
    }
    let output = command.args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}
