//! What curl may be told: the options that are known to leave the login where it belongs, each in one spelling.

/// The options of curl that may be used: those that say what is asked and where the answer goes, and none that say whom
/// curl talks to, what else it reads, or who may see the login.
const OPTIONS: &[Known] = &[
    Known::new(Some('s'), "silent", Takes::Nothing),
    Known::new(Some('S'), "show-error", Takes::Nothing),
    Known::new(Some('f'), "fail", Takes::Nothing),
    Known::new(None, "fail-with-body", Takes::Nothing),
    Known::new(Some('i'), "include", Takes::Nothing),
    Known::new(Some('I'), "head", Takes::Nothing),
    Known::new(Some('v'), "verbose", Takes::Nothing),
    Known::new(Some('N'), "no-buffer", Takes::Nothing),
    Known::new(Some('X'), "request", Takes::Method),
    Known::new(Some('d'), "data", Takes::Data),
    Known::new(None, "data-raw", Takes::Anything),
    Known::new(None, "data-binary", Takes::Data),
    Known::new(None, "data-urlencode", Takes::Data),
    Known::new(None, "json", Takes::Data),
    Known::new(Some('H'), "header", Takes::Header),
    Known::new(Some('o'), "output", Takes::Anything),
    Known::new(Some('O'), "remote-name", Takes::Nothing),
    Known::new(Some('T'), "upload-file", Takes::Upload),
    Known::new(Some('G'), "get", Takes::Nothing),
    Known::new(Some('F'), "form", Takes::Form),
    Known::new(None, "form-string", Takes::Anything),
    Known::new(Some('A'), "user-agent", Takes::Line),
    Known::new(Some('e'), "referer", Takes::Line),
    Known::new(Some('r'), "range", Takes::Line),
    Known::new(None, "compressed", Takes::Nothing),
    Known::new(Some('m'), "max-time", Takes::Line),
    Known::new(None, "connect-timeout", Takes::Line),
    Known::new(None, "retry", Takes::Line),
    Known::new(Some('w'), "write-out", Takes::Data),
    Known::new(Some('C'), "continue-at", Takes::Line),
    Known::new(Some('R'), "remote-time", Takes::Nothing),
];

/// Header fields that are the login's, or name another host than the one it is for.
const REFUSED_FIELDS: [&str; 2] = ["host", "cookie"];
/// What the names of the login's header fields begin with.
const LOGIN_FIELDS: &str = "cf-access-";

/// One option.
struct Known {
    short: Option<char>,
    long: &'static str,
    takes: Takes,
}

/// What the word after an option is.
#[derive(Clone, Copy)]
enum Takes {
    /// There is none.
    Nothing,
    /// Whatever it is, curl neither reads anything because of it nor puts it into the head of a request.
    Anything,
    /// Text for the head of a request, or a number.
    Line,
    /// The method of a request.
    Method,
    /// A header field.
    Header,
    /// Text, or `@FILE`, perhaps after a name.
    Data,
    /// A file to send.
    Upload,
    /// `NAME=TEXT`, `NAME=@FILE` or `NAME=<FILE`.
    Form,
}

impl Known {
    const fn new(short: Option<char>, long: &'static str, takes: Takes) -> Self {
        Self { short, long, takes }
    }
}

/// Reads `words` as curl would, and writes them anew: long options, each value by itself.
pub(super) fn read(words: &[String]) -> Result<Vec<String>, String> {
    let mut written = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let unknown = || format!("`{word}` cannot be used here: it could send the login elsewhere");
        if let Some(name) = word.strip_prefix("--") {
            let known = OPTIONS.iter().find(|known| known.long == name).ok_or_else(unknown)?;
            write(known, None, &mut rest, &mut written)?;
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Err(format!("`{word}` is one page too many: one at a time is asked, with the login for it"));
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let known = OPTIONS.iter().find(|known| known.short == Some(letter)).ok_or_else(unknown)?;
            match known.takes {
                Takes::Nothing => write(known, None, &mut rest, &mut written)?,
                _ => {
                    let attached = Some(letters.as_str()).filter(|value| !value.is_empty());
                    write(known, attached, &mut rest, &mut written)?;
                    break;
                }
            }
        }
    }
    Ok(written)
}

/// Writes one option, with the value that is attached to it or comes next.
fn write<'a>(
    known: &Known,
    attached: Option<&str>,
    rest: &mut impl Iterator<Item = &'a String>,
    written: &mut Vec<String>,
) -> Result<(), String> {
    written.push(format!("--{}", known.long));
    if matches!(known.takes, Takes::Nothing) {
        return Ok(());
    }
    let value = attached.or_else(|| rest.next().map(String::as_str));
    let value = value.ok_or_else(|| format!("`--{}` needs a value", known.long))?;
    if let Some(wrong) = wrong(known.takes, value) {
        return Err(format!("`--{} {}` cannot be used here: {wrong}", known.long, value.escape_debug()));
    }
    written.push(value.to_owned());
    Ok(())
}

/// Why a value cannot be used, if so.
fn wrong(takes: Takes, value: &str) -> Option<&'static str> {
    const INPUT: &str = "standard input is where the login comes by";
    const LINES: &str = "it would add lines to the request";
    let many_lines = || value.chars().any(|c| c.is_control() && c != '\t').then_some(LINES);
    match takes {
        Takes::Nothing | Takes::Anything => None,
        Takes::Line => many_lines(),
        Takes::Method => {
            (value.is_empty() || !value.bytes().all(is_token)).then_some("it is not the method of a request")
        }
        Takes::Header => many_lines().or_else(|| wrong_header(value)),
        Takes::Data => value.ends_with("@-").then_some(INPUT),
        Takes::Upload => matches!(value, "-" | "." | "").then_some(INPUT),
        Takes::Form => {
            let (_, content) = value.split_once('=').unwrap_or(("", value));
            let files = content.strip_prefix(['@', '<'])?;
            let mut files = files.split([',', ';']).map(|file| file.trim_matches([' ', '\t', '"']));
            files.any(|file| file == "-").then_some(INPUT)
        }
    }
}

fn wrong_header(value: &str) -> Option<&'static str> {
    if value.starts_with('@') {
        return Some("write the header field itself; what a file holds is not looked into");
    }
    // `Name;` is curl's way to send a field that is empty.
    let name = value.split([':', ';']).next().unwrap_or_default();
    if name.is_empty() || name.len() == value.len() || !name.bytes().all(is_token) {
        return Some("it is not a header field: write NAME: VALUE");
    }
    // Some servers take one for the other.
    let name = name.to_ascii_lowercase().replace('_', "-");
    let refused = REFUSED_FIELDS.contains(&name.as_str()) || name.starts_with(LOGIN_FIELDS);
    refused.then_some("this header field is the login's own, or leads it elsewhere")
}

/// Whether a byte may stand in the name of a header field or of a method (RFC 9110, section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Vec<String>, String> {
        read(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_as_curl_reads_them_and_written_in_one_way() {
        for (given, written) in [
            (&["-sSf", "-XPOST"][..], &["--silent", "--show-error", "--fail", "--request", "POST"][..]),
            (
                &["-sXPUT", "-dx=1", "-d", "@file"],
                &["--silent", "--request", "PUT", "--data", "x=1", "--data", "@file"],
            ),
            // What looks like an option is the value of the one before it.
            (&["-d", "--next"], &["--data", "--next"]),
            (&["-o", "-K", "-H", "X-A: b"], &["--output", "-K", "--header", "X-A: b"]),
            (&["-dKx", "--json", "{}"], &["--data", "Kx", "--json", "{}"]),
            (&["-H", "X-Empty;", "-H", "Accept:"], &["--header", "X-Empty;", "--header", "Accept:"]),
            (&["-F", "a=@-x", "-F", "b=x@-"], &["--form", "a=@-x", "--form", "b=x@-"]),
            (&["-C", "-", "-O", "-R"], &["--continue-at", "-", "--remote-name", "--remote-time"]),
        ] {
            assert_eq!(words(given).unwrap(), written, "{given:?}");
        }
    }

    // C3
    #[test]
    fn what_is_not_known_to_be_harmless_is_refused() {
        for bad in [
            &["-K", "x"][..],
            &["-sKx"],
            &["-sL"],
            &["-L"],
            &["--location"],
            &["--location-trusted"],
            &["-x", "http://evil.example"],
            &["--proxy", "http://evil.example"],
            &["--connect-to", "::evil.example:443"],
            &["--resolve", "*:443:192.0.2.1"],
            &["--url", "https://evil.example"],
            &["--next"],
            &["-:"],
            &["-k"],
            &["--insecure"],
            &["-b", "x"],
            &["-u", "ann:x"],
            &["-n"],
            &["--variable", "%HOME"],
            &["--expand-data", "{{HOME}}"],
            &["--trace", "x"],
            &["--dump-header", "x"],
            &["--unix-socket", "x"],
            &["--interface", "x"],
            &["--doh-url", "https://evil.example"],
            &["--parallel"],
            // Prefixes, values after `=`, negations.
            &["--dat", "x"],
            &["--data=x"],
            &["--no-silent"],
            &["--"],
            &["-"],
            &[""],
            &["https://a.example.com/y"],
            &["evil.example"],
            // A value that is missing.
            &["-d"],
            &["-s", "--output"],
            // Standard input.
            &["-d", "@-"],
            &["-d@-"],
            &["--data-binary", "@-"],
            &["--data-urlencode", "name@-"],
            &["--json", "@-"],
            &["-w", "@-"],
            &["-T", "-"],
            &["-T."],
            &["-F", "a=@-"],
            &["-F", "a=<-"],
            &["-F", "a=@\"-\";type=text/plain"],
            &["-F", "a=@x,-"],
            // Whom it is for, and what it is.
            &["-H", "Host: evil.example"],
            &["-H", "hOst:evil.example"],
            &["-HHost;"],
            &["-H", "Host : evil.example"],
            &["-H", " Host: evil.example"],
            &["-H", ":authority: evil.example"],
            &["-H", "Cookie: a=b"],
            &["-H", "Cf-Access-Token: x"],
            &["-H", "cf_access_client_id: x"],
            &["-H", "X-A: b\r\nHost: evil.example"],
            &["-H", "@file"],
            &["-H", "X-A"],
            &["-X", "GET / HTTP/1.1\r\nHost: evil.example\r\nX:"],
            &["-A", "a\nHost: evil.example"],
        ] {
            assert!(words(bad).is_err(), "{bad:?}");
        }
    }
}
