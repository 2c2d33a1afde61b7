//! `forwards.yaml`: the local ports that belong together.

use std::{fs, path::Path};

use serde::Deserialize;
use tunnel_client::AppHost;
use tunnel_proto::Destination;

use crate::failure::Failure;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 256 * 1024;
/// The most ports in one file.
const FORWARDS_MAX: usize = 256;

/// One local port.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) hostname: AppHost,
    pub(crate) url: String,
    pub(crate) destination: Option<Destination>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    forwards: Vec<RawForward>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawForward {
    hostname: String,
    url: String,
    destination: Option<String>,
}

/// Reads the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<Wanted>, Failure> {
    let cannot = |error: std::io::Error| Failure::usage(format!("cannot read `{}`: {error}", path.display()));
    if fs::metadata(path).map_err(cannot)?.len() > FILE_MAX {
        return Err(Failure::usage(format!("`{}` is too long for a list of forwards", path.display())));
    }
    parse(&fs::read_to_string(path).map_err(cannot)?)
        .map_err(|error| Failure::usage(format!("`{}`: {error}", path.display())))
}

fn parse(text: &str) -> Result<Vec<Wanted>, String> {
    let raw: RawFile = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if raw.forwards.is_empty() || raw.forwards.len() > FORWARDS_MAX {
        return Err(format!("it needs 1 to {FORWARDS_MAX} `forwards`"));
    }
    let checked = raw.forwards.into_iter().zip(1..).map(|(raw, number): (RawForward, usize)| {
        let wrong = |key: &str, error: &dyn std::fmt::Display| format!("forward {number}, {key}: {error}");
        let destination = raw.destination.as_deref().map(str::parse).transpose();
        Ok(Wanted {
            hostname: raw.hostname.parse().map_err(|error| wrong("hostname", &error))?,
            destination: destination.map_err(|error| wrong("destination", &error))?,
            url: raw.url,
        })
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_ports() {
        let text = "forwards:\n  - {hostname: db.example.com, url: 127.0.0.1:5432}\n  \
                    - hostname: desk.example.com:8443\n    url: 127.0.0.1:3389\n    destination: 192.168.1.29:3389\n";
        let wanted = parse(text).unwrap();
        assert_eq!(wanted.len(), 2);
        assert_eq!(wanted[1].destination.as_ref().unwrap().to_string(), "192.168.1.29:3389");
    }

    #[test]
    fn the_example_in_the_documentation_is_read() {
        let document = include_str!("../../../docs/access.md");
        let example = document.split("```yaml\n# forwards.yaml\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(parse(example).unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, says) in [
            ("forwards:\n  - hostname: a.example.com\n    url: 127.0.0.1:1\n    colour: red\n", "line 4"),
            (
                "forwards:\n  - hostname: a.example.com\n    url: x\n    destination: nowhere\n",
                "forward 1, destination",
            ),
            ("forwards:\n  - hostname: http://a.example.com\n    url: x\n", "forward 1, hostname"),
            ("forwards: []\n", "1 to 256"),
            ("ports: []\n", "line 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
}
