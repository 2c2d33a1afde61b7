//! The libraries can be published, and used by a program that is not in this workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;

use super::docs::blocks;
use crate::{files, root};

/// What is published together: the two libraries for other programs, and what they stand on.
const CRATES: [&str; 4] = ["tunnel-proto", "tunnel-auth", "tunnel-origin", "tunnel-client"];
/// The texts that the licence expression of the workspace names.
const LICENCES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Packages the libraries as they would be published, and unpacks them below `place`; gives the folder of each.
fn packages(place: &Path) -> Vec<(&'static str, PathBuf)> {
    let packed = place.join("packed");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--quiet", "--offline", "--allow-dirty", "--no-verify", "--target-dir"]).arg(&packed);
    run(cargo.args(CRATES.map(|name| ["-p", name]).as_flattened()).current_dir(root()));
    let unpacked = place.join("unpacked");
    fs::create_dir_all(&unpacked).unwrap();
    let unpack = |name| {
        let folder = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
        let package = packed.join("package").join(format!("{folder}.crate"));
        assert!(fs::metadata(&package).unwrap().len() < 1024 * 1024, "{name} is small");
        // With the time of now: cargo would take a file of the age that packages give it for one that it knows.
        run(Command::new("tar").arg("xzmf").arg(package).arg("-C").arg(&unpacked));
        (name, unpacked.join(folder))
    };
    CRATES.map(unpack).into()
}

/// Whether a folder has what its readers need, by itself.
fn assert_complete(name: &str, folder: &Path) {
    for licence in LICENCES {
        let text = fs::read_to_string(folder.join(licence)).unwrap_or_else(|_| panic!("{name} has {licence}"));
        assert_eq!(text, fs::read_to_string(root().join(licence)).unwrap(), "{licence} of {name}");
    }
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_else(|_| panic!("{name} has a README.md"));
    for link in Regex::new(r"\]\(([^)#]+)").unwrap().captures_iter(&readme) {
        let within = !link[1].contains("..") && folder.join(&link[1]).exists();
        assert!(within || link[1].starts_with("https://"), "the README of {name} links out of it: {}", &link[1]);
    }
}

#[test]
fn every_crate_is_complete_without_the_repository_around_it() {
    let manifests = files(&["Cargo.toml"]);
    let crates = manifests.iter().filter_map(|(name, _)| Path::new(name.strip_prefix("crates/")?).parent());
    let names: Vec<_> = crates.map(|name| name.to_str().unwrap()).collect();
    assert!(names.len() >= 7, "the crates were found: {names:?}");
    for name in names {
        assert_complete(name, &root().join("crates").join(name));
    }
}

#[test]
fn the_libraries_can_be_packaged_with_what_a_reader_needs() {
    let place = tempfile::tempdir().unwrap();
    for (name, package) in packages(place.path()) {
        assert_complete(name, &package);
        assert!(package.join("src/lib.rs").is_file(), "{name} has its source");
        let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
        for key in ["description = ", "license = ", "readme = ", "rust-version = "] {
            assert!(manifest.contains(key), "{name} says {key}");
        }
    }
}

/// A program of another place, against the packages as they would be published: the first program that the README of each
/// library shows, as it is written there. What others wrote is checked once, in the workspace's own place and by its profile: most of
/// it has been checked there already.
#[test]
fn a_program_outside_builds_against_the_packages() {
    let place = root().join("target/tmp/outside");
    for stale in ["unpacked", "program"] {
        fs::remove_dir_all(place.join(stale)).ok();
    }
    let packages = packages(&place);
    let program = place.join("program");
    fs::create_dir_all(program.join("src/bin")).unwrap();
    let mut manifest = String::from(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         tunnel-origin = { version = \"*\", features = [\"axum08\"] }\ntunnel-client = \"*\"\n\
         axum = { version = \"0.8\", default-features = false }\ntokio = { version = \"1\", features = [\"full\"] }\n\n\
         [patch.crates-io]\n",
    );
    for (name, folder) in &packages {
        manifest += &format!("{name} = {{ path = {folder:?} }}\n");
        if !["tunnel-origin", "tunnel-client"].contains(name) {
            continue;
        }
        let shown = blocks(&fs::read_to_string(folder.join("README.md")).unwrap(), &["rust"]);
        fs::write(program.join(format!("src/bin/{name}.rs")), &shown[0]).unwrap();
    }
    fs::write(program.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root().join("Cargo.lock"), program.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline", "--target-dir"]).arg(root().join("target"));
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    run(cargo.current_dir(&program));
}
