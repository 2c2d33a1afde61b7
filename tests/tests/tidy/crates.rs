//! Arrows between crates, purity of judgement, and one version of what must be one.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

use crate::root;

/// Who may depend on whom (bins and testing → roles → judgement → wire). What is not listed is not allowed.
const ARROWS: &[(&str, &[&str])] = &[
    ("tunnel-proto", &[]),
    ("tunnel-policy", &["tunnel-proto"]),
    ("tunnel-auth", &["tunnel-proto"]),
    ("tunnel-edge", &["tunnel-policy", "tunnel-auth", "tunnel-proto"]),
    ("tunnel-origin", &["tunnel-policy", "tunnel-auth", "tunnel-proto"]),
    ("tunnel-client", &["tunnel-policy", "tunnel-auth", "tunnel-proto"]),
    (
        "tunnel-testing",
        &["tunnel-edge", "tunnel-origin", "tunnel-client", "tunnel-policy", "tunnel-auth", "tunnel-proto"],
    ),
    // `edge demo` has a connector inside.
    ("edge", &["tunnel-edge", "tunnel-origin", "tunnel-policy", "tunnel-auth", "tunnel-proto"]),
    ("connector", &["tunnel-origin", "tunnel-policy", "tunnel-auth", "tunnel-proto"]),
    ("access", &["tunnel-client", "tunnel-policy", "tunnel-auth", "tunnel-proto"]),
    // A network for tests, which knows nothing of what passes.
    ("tunnel-distance", &[]),
];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn arrows_between_crates_point_down() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut seen = 0;
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if matches!(name, "tunnel-tests" | "tunnel-benches" | "tunnel-peers" | "tunnel-scale") {
            continue;
        }
        let allowed =
            allowed.get(name).unwrap_or_else(|| panic!("`{name}` is a new crate: say here what it may depend on"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if dependency["kind"] != "dev" && ours.contains(to) {
                assert!(allowed.contains(&to), "`{name}` → `{to}` is an arrow that the design does not have");
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "the arrows were looked at: {seen}");
}

/// The crates of a package's normal dependency tree, for the package alone (a workspace build merges features).
fn tree(package: &str, more: &[&str]) -> BTreeSet<String> {
    let args = [&["tree", "--offline", "-e", "normal", "--prefix", "none", "-f", "{p}", "-p", package], more].concat();
    cargo(&args).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn judgement_knows_no_sockets_files_or_clocks() {
    for package in ["tunnel-policy", "tunnel-auth"] {
        let tree = tree(package, &[]);
        assert!(tree.contains("tunnel-proto"), "the tree was read: {tree:?}");
        for impure in [
            "tokio",
            "mio",
            "socket2",
            "hyper",
            "axum",
            "sqlx",
            "lettre",
            "rustls",
            "async-std",
            "polling",
            "getrandom_runtime",
            "yamux",
        ] {
            assert!(!tree.contains(impure), "`{package}` must not depend on {impure}");
        }
    }
    let bare = tree("tunnel-proto", &["--no-default-features"]);
    for heavy in ["tokio", "yamux", "rustls", "rcgen", "x509-parser", "aws-lc-rs", "ring"] {
        assert!(!bare.contains(heavy), "bare tunnel-proto must not depend on {heavy}");
    }
}

#[test]
fn judgement_asks_no_clock_and_no_random_source_in_its_source() {
    for (name, text) in crate::files(&[".rs"]) {
        if !name.starts_with("crates/policy/src") && !name.starts_with("crates/auth/src") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        for impure in [
            "SystemTime",
            "Instant::now",
            "UtcDateTime::now",
            "OffsetDateTime::now",
            "std::fs",
            "std::net::Tcp",
            "std::env",
            "thread::sleep",
        ] {
            assert!(!code.contains(impure), "{name} uses {impure}");
        }
    }
}

#[test]
fn what_must_be_one_is_there_once() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for name in
        ["rustls", "hyper", "http", "h2", "tokio", "yamux", "aws-lc-rs", "tokio-rustls", "axum", "rustls-webpki"]
    {
        let versions = lock.matches(&format!("\nname = \"{name}\"\n")).count();
        assert_eq!(versions, 1, "versions of {name} in Cargo.lock");
    }
    // The lock file also lists what optional features would need; what counts is what is built, anywhere.
    let tree = ["tree", "--offline", "--workspace", "--target", "all", "-e", "normal,build", "--prefix", "none", "-f"];
    let built = cargo(&[&tree[..], &["{p}"]].concat());
    let is_built = |name: &str| built.lines().any(|line| line.split(' ').next() == Some(name));
    for other in ["openssl-sys", "native-tls", "boring"] {
        assert!(!is_built(other), "one TLS (rustls) and one crypto provider (aws-lc-rs), but {other} is built");
    }
    assert!(is_built("aws-lc-rs") && is_built("ring"), "the tree was read");
    // Of ring there is its AES-GCM, in one place; rustls knows of one provider only, or the defaults of programs that these
    // libraries are built into would be ambiguous.
    let features = cargo(&[&tree[..], &["{p} {f}"]].concat());
    for line in features
        .lines()
        .filter(|line| ["rustls v", "tokio-rustls v", "hyper-rustls v"].iter().any(|of| line.starts_with(of)))
    {
        let has_ring = line.split([' ', ',']).any(|feature| feature == "ring");
        assert!(!has_ring, "rustls must have one provider among its features: {line}");
    }
    let users: Vec<_> = crate::files(&["Cargo.toml"])
        .into_iter()
        .filter(|(name, text)| name != "Cargo.toml" && text.contains("\nring"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(users, ["crates/tunnel-proto/Cargo.toml"], "cryptography is aws-lc-rs', but for the AES-GCM of TLS");
}

#[test]
fn every_crate_takes_the_workspace_lints_and_licence() {
    let manifests = crate::files(&["Cargo.toml"]);
    assert!(manifests.len() >= 11);
    for (name, text) in manifests.iter().filter(|(name, _)| name != "Cargo.toml") {
        assert!(text.contains("[lints]\nworkspace = true"), "{name} must take the workspace's lints");
        assert!(text.contains("license.workspace = true"), "{name} must take the workspace's licence");
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for lint in
        ["unsafe_code = \"forbid\"", "unwrap_used = \"deny\"", "indexing_slicing = \"deny\"", "panic = \"deny\""]
    {
        assert!(workspace.contains(lint), "the workspace must keep `{lint}`");
    }
    assert!(workspace.contains("overflow-checks = true"), "releases check overflow");
}
