//! The libraries can be published, and used by a program that is not in this workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::root;

/// What is published together: the two libraries for other programs, and what they stand on.
const CRATES: [&str; 4] = ["tunnel-proto", "tunnel-auth", "tunnel-origin", "tunnel-client"];

/// Packages the libraries into a folder of their own; gives it.
fn package() -> PathBuf {
    let target = root().join("target/tmp/package");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--quiet", "--offline", "--allow-dirty", "--no-verify", "--target-dir"]).arg(&target);
    for name in CRATES {
        cargo.args(["-p", name]);
    }
    let output = cargo.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!warnings.contains("has no description") && !warnings.contains("manifest has no"), "{warnings}");
    target.join("package")
}

/// Unpacks a package below `into`; gives its folder.
fn unpack(package: &Path, into: &Path) -> PathBuf {
    let output = Command::new("tar").arg("xzf").arg(package).arg("-C").arg(into).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    into.join(package.file_stem().unwrap())
}

fn packages(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let version = env!("CARGO_PKG_VERSION");
    CRATES.iter().map(|name| (*name, folder.join(format!("{name}-{version}.crate")))).collect()
}

#[test]
fn the_libraries_can_be_packaged_with_what_a_reader_needs() {
    let folder = package();
    let place = tempfile::tempdir().unwrap();
    for (name, package) in packages(&folder) {
        assert!(fs::metadata(&package).unwrap().len() < 1024 * 1024, "{name} is small");
        let unpacked = unpack(&package, place.path());
        for file in ["README.md", "src/lib.rs", "Cargo.toml"] {
            assert!(unpacked.join(file).is_file(), "{name} has {file}");
        }
        let manifest = fs::read_to_string(unpacked.join("Cargo.toml")).unwrap();
        for key in ["description = ", "license = ", "readme = ", "rust-version = "] {
            assert!(manifest.contains(key), "{name} says {key}");
        }
    }
}

/// A program of another place, against the packages as they would be published. Takes minutes the first time, so it is one
/// of the long forms.
#[test]
fn a_program_outside_builds_against_the_packages() {
    if std::env::var_os("TUNNEL_TESTS_LONG").is_none() {
        // The short form: that the packages name what such a program would use.
        let place = tempfile::tempdir().unwrap();
        let packages = packages(&package());
        let origin = unpack(&packages[2].1, place.path());
        let lib = fs::read_to_string(origin.join("src/lib.rs")).unwrap();
        assert!(lib.contains("Origin"), "the origin's library has its entrance");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let folders: Vec<_> =
        packages(&package()).into_iter().map(|(name, package)| (name, unpack(&package, place.path()))).collect();
    let program = place.path().join("outside");
    fs::create_dir_all(program.join("src")).unwrap();
    let mut manifest = String::from(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         tunnel-origin = \"*\"\ntunnel-client = \"*\"\ntokio = { version = \"1\", features = [\"full\"] }\n\n[patch.crates-io]\n",
    );
    for (name, folder) in &folders {
        manifest += &format!("{name} = {{ path = {folder:?} }}\n");
    }
    fs::write(program.join("Cargo.toml"), manifest).unwrap();
    fs::write(
        program.join("src/main.rs"),
        "use tokio::io::AsyncWriteExt;\n\n#[tokio::main]\nasync fn main() -> Result<(), Box<dyn std::error::Error>> {\n    \
         let client = tunnel_client::Client::builder().auth(tunnel_client::Auth::stored()).build()?;\n    \
         let mut db = client.tcp(\"db.example.com\").connect().await?;\n    db.write_all(b\"hello\").await?;\n    \
         let origin = tunnel_origin::Origin::builder().local(\"/var/lib/tunnel\").connect().await?;\n    \
         origin.tcp(\"echo.example.com\").forward(\"127.0.0.1:7\").await?;\n    Ok(())\n}\n",
    )
    .unwrap();
    fs::copy(root().join("Cargo.lock"), program.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--quiet", "--offline", "--target-dir"]).arg(root().join("target/tmp/outside"));
    let output = cargo.current_dir(&program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
