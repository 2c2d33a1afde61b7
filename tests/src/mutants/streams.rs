//! How the requests of HTTP/2 are made: what HTTP/1 has, said in fields and frames, and what only they can say wrong (H2,
//! H5, H6, H9, H12, H15).

use super::{
    APP, Dice, FORGED, OPEN, Recipe, WWW,
    browsers::{enlarge, follow_link, preflight},
    making::{BODIES, CONNECTIONS, HOSTS, METHODS, alias, hidden, path},
};

/// A name and its value.
pub type Field = (String, String);

/// What is sent on one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The fields of its head, in order.
    pub fields: Vec<Field>,
    /// Its body, a frame each. None if the head is all.
    pub body: Vec<Vec<u8>>,
    /// The fields behind the body.
    pub trailers: Vec<Field>,
    /// Whether it is ended, and not given up.
    pub ends: bool,
    /// Whether the honest request overtakes it after its first frame.
    pub overtaken: bool,
}

impl Recipe {
    /// The request of a number, as it goes over an HTTP/2 connection.
    pub fn streamed(&self, number: u64) -> Streamed {
        let mut dice = Dice::new(self.seed, number ^ (1 << 63));
        let mut parts = self.good(&mut dice, number);
        match dice.below(14) {
            0 => parts.path = path(&mut dice, number),
            1 => parts.method = dice.of(METHODS).to_owned(),
            2 => parts.path += "#x",
            3 => parts.path = format!("https://{}{}", parts.hosts.concat(), parts.path),
            4 => preflight(&mut dice, &mut parts),
            5 => follow_link(&mut dice, number, &mut parts),
            6 => enlarge(&mut dice, &mut parts),
            _ => {}
        }
        let host = parts.hosts.first().cloned().unwrap_or_default();
        let mut fields: Vec<Field> = Vec::new();
        let mut push = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        push(":method", &parts.method);
        push(":scheme", if dice.percent(4) { dice.of(&["http", "ftp", "https://x/"]) } else { "https" });
        push(":path", &parts.path);
        match dice.below(12) {
            0 => push("host", &host),
            1 => push(":authority", &dice.of(HOSTS).replace("{}", &host)),
            2 => {
                push(":authority", &host);
                push("host", dice.of(&[WWW, APP, OPEN]));
            }
            3 => {
                push(":authority", dice.of(&[WWW, APP, OPEN]));
                push(":authority", &host);
            }
            _ => push(":authority", &host),
        }
        // The fields of HTTP/1 in the spelling of HTTP/2.
        for line in parts.fields.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            if !["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
                push(&name.to_ascii_lowercase(), value);
            }
        }
        self.spoil_fields(&mut dice, &mut fields);
        let has_body = matches!(parts.method.as_str(), "POST" | "PUT") || dice.percent(8);
        let mut made = Streamed { fields, body: Vec::new(), trailers: Vec::new(), ends: true, overtaken: false };
        if has_body {
            self.embody(&mut dice, number, &host, &mut made);
        } else if dice.percent(6) {
            // Of a body that does not come.
            made.fields.push(("content-length".into(), dice.of(&["0", "5", "-0", "x"]).into()));
        }
        made
    }

    /// Does to the fields what HTTP/1 has no word for, or the other way round.
    fn spoil_fields(&self, dice: &mut Dice, fields: &mut Vec<Field>) {
        let mut push = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        match dice.below(26) {
            0 => push("connection", dice.of(CONNECTIONS)),
            1 => push("transfer-encoding", dice.of(&["chunked", "identity", ""])),
            2 => push("te", dice.of(&["trailers", "gzip", "trailers, gzip"])),
            3 => push(":protocol", "websocket"),
            4 => push(dice.of(&["X-Upper", "Host", "Cookie", "Access-User-Email"]), "y"),
            5 => push("x", dice.of(&["a\r\nhost: app.example.test", "a\nb", "a\0b", " a ", "\u{7f}"])),
            6 => push(dice.of(&["x\r\ny", "x y", "x:y", "", "x\0"]), "z"),
            7 => push(dice.of(&[":path", ":method", ":authority", ":scheme", ":status", ":x"]), "/admin"),
            8 | 9 => push(&alias(dice), FORGED),
            10 => push(dice.of(&["proxy-connection", "keep-alive", "upgrade", "http2-settings"]), "x"),
            11 => {
                // One of the four is left out, or comes after what it ought to stand before.
                let name = dice.of(&[":method", ":scheme", ":path", ":authority"]);
                let (taken, mut kept): (Vec<_>, Vec<_>) = fields.drain(..).partition(|(n, _)| n == name);
                if dice.percent(50) {
                    kept.extend(taken);
                }
                *fields = kept;
            }
            12 => {
                // A tunnel, by RFC 9113 §8.5 or by RFC 8441, or something between the two.
                let is_extended = dice.percent(50);
                fields.retain(|(n, _)| is_extended || ![":scheme", ":path"].contains(&n.as_str()));
                for (_, method) in fields.iter_mut().filter(|(n, _)| n == ":method") {
                    *method = "CONNECT".into();
                }
                if is_extended {
                    fields.insert(1, (":protocol".into(), dice.of(&["websocket", "connect-udp", ""]).into()));
                }
            }
            13..=16 => self.spoil_cookies(dice, fields),
            _ => {}
        }
    }

    /// Cookies may come in several fields (RFC 9113 §8.2.3): split, many, again, together with another's.
    fn spoil_cookies(&self, dice: &mut Dice, fields: &mut Vec<Field>) {
        let (cookies, mut others): (Vec<Field>, Vec<Field>) = fields.drain(..).partition(|(name, _)| name == "cookie");
        let mut values: Vec<String> = cookies.into_iter().map(|(_, value)| value).collect();
        let more = |count: usize| (0..count).map(|n| format!("c{n}=x"));
        match dice.below(7) {
            0 => values = values.iter().flat_map(|value| value.split("; ")).map(str::to_owned).collect(),
            1 => values = more(30).chain(values).chain(more(30)).collect(),
            2 => values = std::iter::repeat_n(values, 2 + dice.below(5)).flatten().collect(),
            3 => values.insert(dice.below(values.len() + 1), dice.of(&self.cookies()).to_owned()),
            4 => values.push(format!("large={}", "x".repeat(5000))),
            5 => values.insert(0, dice.of(&["__Host-access=", "__Host-access=x", "__HOST-ACCESS=y", "=", ";;"]).into()),
            _ => values = vec![values.join(";")],
        }
        others.extend(values.into_iter().map(|value| ("cookie".to_owned(), value)));
        *fields = others;
    }

    fn cookies(&self) -> [&str; 3] {
        self.credentials.cookies.each_ref().map(String::as_str)
    }

    /// Gives it a body, which may be longer or shorter than is said, and fields behind it.
    fn embody(&self, dice: &mut Dice, number: u64, host: &str, made: &mut Streamed) {
        let body = match dice.below(4) {
            0 => dice.of(BODIES).replace("{}", &hidden(number, host)),
            1 => hidden(number, host),
            _ => format!("body ~c{number}~ body"),
        };
        let mut say = |length: String| made.fields.push(("content-length".into(), length));
        let length = body.len();
        match dice.below(14) {
            0 => say((length - 1).to_string()),
            1 => say((length + 1).to_string()),
            2 => say("0".into()),
            3 => say(dice.of(&["+5", "5, 5", "0x5", ""]).into()),
            4 => [length, 0].into_iter().for_each(|length| say(length.to_string())),
            5..=8 => {}
            _ => say(length.to_string()),
        }
        let mut rest = body.as_bytes();
        while !rest.is_empty() && made.body.len() < 3 {
            let (piece, after) = rest.split_at(dice.below(rest.len() + 1));
            made.body.push(piece.to_vec());
            rest = after;
        }
        made.body.push(rest.to_vec());
        if dice.percent(20) {
            let boss = self.cookies()[1];
            let (name, value) = match dice.below(6) {
                0 => ("x", "y"),
                1 => (":path", "/admin"),
                2 => ("content-length", "3"),
                3 => ("cookie", boss),
                4 => ("Host", APP),
                _ => (dice.of(crate::told::FORGED.as_slice()), FORGED),
            };
            made.trailers.push((name.to_owned(), value.to_owned()));
        }
        made.ends = dice.percent(93);
        made.overtaken = dice.percent(15);
    }
}
