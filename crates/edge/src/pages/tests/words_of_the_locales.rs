use std::collections::BTreeSet;

const LOCALES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/locales");

fn files(folder: &str) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn keys(lang: &str) -> BTreeSet<String> {
    let files = files(&format!("{LOCALES}/{lang}"));
    let lines = files.iter().flat_map(|file| file.lines());
    let keys = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    keys.map(|line| line.split_once(" =").unwrap().0.to_owned()).collect()
}

#[test]
fn both_languages_have_the_same_keys() {
    assert_eq!(keys("en"), keys("ja"));
}

#[test]
fn every_key_that_is_used_exists_and_every_key_is_used() {
    let known = keys("en");
    let mut sources = files(concat!(env!("CARGO_MANIFEST_DIR"), "/templates"));
    for folder in ["pages", "mail"] {
        let folder = format!("{}/src/{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with("tests.rs") {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for part in ["say(\"", "plain(lang, \"", "plain(mail.lang, \""] {
        for source in &sources {
            for (at, _) in source.match_indices(part) {
                let key = source[at + part.len()..].split('"').next().unwrap();
                assert!(known.contains(key), "no words for {key}");
            }
        }
    }
    for key in &known {
        let quoted = format!("\"{key}\"");
        assert!(sources.iter().any(|source| source.contains(&quoted)), "nothing says {key}");
    }
}
