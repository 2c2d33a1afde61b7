//! What a guide tells its reader to type.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use regex::Regex;

/// What a guide tells its reader to type, or to put into a file, in the order in which it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A line for a shell.
    Command(String),
    /// A block that is shown as it is.
    Text(String),
}

/// Programs by whose name a command in the midst of a sentence is known.
const PROGRAMS: &[&str] = &[
    "access",
    "connector",
    "echo",
    "edge",
    "export",
    "git",
    "iperf3",
    "mount",
    "mstsc",
    "net",
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

/// The folder with the guides.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Reads the guide `docs/NAME.md`.
///
/// # Errors
/// There is none.
pub fn read(name: &str) -> Result<Vec<Part>> {
    let path = folder().join(format!("{name}.md"));
    parts(&fs::read_to_string(&path).with_context(|| path.display().to_string())?)
}

fn parts(text: &str) -> Result<Vec<Part>> {
    // A fence, or code in a sentence, which may go on in the next line.
    let code = Regex::new(r"(?ms)^```(?<language>\w*)\n(?<block>.*?)^```|`(?<inline>[^`]+)`")?;
    let mut found = Vec::new();
    for code in code.captures_iter(text) {
        if let Some(inline) = code.name("inline") {
            let words: Vec<_> = inline.as_str().split_whitespace().collect();
            if words.len() > 1 && PROGRAMS.contains(&words[0]) {
                found.push(Part::Command(words.join(" ")));
            }
            continue;
        }
        let block = code["block"].replace("\\\n", " ");
        match &code["language"] {
            "sh" | "bash" | "shell" | "console" | "powershell" | "bat" | "zsh" => {
                let lines = block.lines().map(|line| line.trim().trim_start_matches("$ "));
                let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                found.extend(lines.map(|line| Part::Command(line.to_owned())));
            }
            "toml" | "yaml" => {}
            _ => found.push(Part::Text(code["block"].to_owned())),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_blocks_and_in_sentences() {
        let text = "Type `ssh a\nb`, or `access`.\n\n```sh\n# first\n$ psql -h \\\n  x\n\niperf3 -s\n```\n\n```yaml\na: b\n```\n\n\
                    ```text\nHost x\n```\n";
        let command = |line: &str| Part::Command(line.to_owned());
        let expected =
            vec![command("ssh a b"), command("psql -h    x"), command("iperf3 -s"), Part::Text("Host x\n".to_owned())];
        assert_eq!(parts(text).unwrap(), expected);
    }
}
