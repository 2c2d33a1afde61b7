//! How the requests are made: a good one, to which a few things are done that have opened other doors (H1–H10, H12, H15).

use super::{
    APP, Credentials, Dice, FORGED, OPEN, WWW,
    browsers::{enlarge, follow_link, preflight},
    mark,
    words::{DASHES, PARTS, SEPARATORS},
};
use crate::told;

/// The key of every WebSocket that is asked for.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// And its answer.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(super) const METHODS: &[&str] = &[
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "get",
    "GET/",
    "G\tT",
    "PRI",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];
/// What is done to the name of a host; `{}` is the name.
pub(super) const HOSTS: &[&str] = &[
    "{}.",
    "{}..",
    "{}:443",
    "{}:80",
    "{}:0443",
    "{}:",
    "{}:99999",
    "user@{}",
    "{}@evil.test",
    "{}, app.example.test",
    "{} app.example.test",
    "{}/x",
    "{}?x",
    "{}#x",
    "{}\\x",
    "\"{}\"",
    "[{}]",
    "x.{}",
    "{}.evil.test",
    "{}\t",
];
/// Fields that frame a body in two ways, or in none.
const FRAMINGS: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    "Content-Length: 0\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 5 0\r\n",
    "Content-Length:\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 0\r\n",
    "Content-Length : 5\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
    "Transfer-Encoding: ,chunked\r\n",
    "Transfer-Encoding: chunked,\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: chunked;q=1\r\n",
    "transfer_encoding: chunked\r\n",
    "transfer.encoding: chunked\r\n",
    "\u{b}Transfer-Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
];
/// Bodies for these; `{}` is what is hidden in them.
pub(super) const BODIES: &[&str] = &[
    "0\r\n\r\n{}",
    "{}",
    "5\r\nabcde\r\n0\r\n\r\n{}",
    "5;x=y\r\nabcde\r\n0\r\n\r\n{}",
    "5;\r\nabcde\r\n0\r\n\r\n{}",
    "5 \r\nabcde\r\n0\r\n\r\n{}",
    "5\nabcde\n0\n\n{}",
    "05\r\nabcde\r\n00\r\n\r\n{}",
    "0x5\r\nabcde\r\n0\r\n\r\n{}",
    "-1\r\nabcde\r\n0\r\n\r\n{}",
    "5\r\nabcdeX\r\n0\r\n\r\n{}",
    "5\r\nabcde0\r\n\r\n{}",
    "0\r\nAccess-User-Email: forged-by-the-visitor\r\n\r\n{}",
    "0\r\nX: y\n\r\n{}",
];
const UPGRADES: &[&str] = &[
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: https://www.example.test\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: https://evil.test\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nOrigin: https://www.example.test\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
    "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "Connection: Upgrade\r\n",
];
pub(super) const CONNECTIONS: &[&str] = &[
    "close",
    "keep-alive, X-Case",
    "Access-Jwt-Assertion, Access-User-Email, X-Forwarded-For",
    "access_user_email",
    "Host, Cookie",
    "Content-Length, Transfer-Encoding",
    "TE, Trailer",
    "close, keep-alive",
    ",",
];
const OTHERS: &[&str] = &[
    "Expect: 100-continue\r\n",
    "Expect: something\r\n",
    "TE: trailers, gzip\r\nTrailer: Access-User-Email\r\n",
    "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n",
    "X-HTTP-Method-Override: DELETE\r\n",
    "Range: bytes=0-4\r\nIf-Range: x\r\n",
    " folded: first\r\n",
    "X: a\r\n b\r\n",
    "NoColon\r\n",
    ": no name\r\n",
    "X: a\rHost: app.example.test\r\n",
    "X\u{e9}: y\r\n",
];
/// What is put between the bytes of a request, in the place of one of them, or before all.
const BYTES: &[&[u8]] = &[
    b"\n", b"\r", b"\0", b"\t", b" ", b":", b"\x7f", b"\xff", b"#", b"\\", b"%00", b"\r\n", b",", b";", b"\x0b", b"\"",
];

/// The recipe of requests: a seed, and the secrets of whoever sends them.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// By which everything is decided.
    pub seed: u64,
    /// What is presented.
    pub credentials: Credentials,
}

/// A request, while things are done to it.
pub(super) struct Parts {
    pub(super) method: String,
    prefix: String,
    pub(super) path: String,
    version: &'static str,
    pub(super) hosts: Vec<String>,
    pub(super) fields: String,
    body: String,
}

impl Recipe {
    /// The request of a number, as it goes over an HTTP/1 connection. It may be whole or not.
    pub fn request(&self, number: u64) -> Vec<u8> {
        let mut dice = Dice::new(self.seed, number);
        let mut parts = self.good(&mut dice, number);
        for _ in 0..dice.below(4) {
            self.spoil(&mut dice, number, &mut parts);
        }
        let mut text = format!("{} {}{} {}\r\n", parts.method, parts.prefix, parts.path, parts.version);
        let hosts: String = parts.hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        // Where a field stands makes a difference to some.
        if dice.percent(70) {
            text += &format!("{hosts}{}", parts.fields);
        } else {
            text += &format!("{}{hosts}", parts.fields);
        }
        text += &format!("\r\n{}", parts.body);
        let mut bytes = text.into_bytes();
        if dice.percent(25) {
            for _ in 0..=dice.below(2) {
                damage(&mut dice, &mut bytes);
            }
        }
        bytes
    }

    pub(super) fn good(&self, dice: &mut Dice, number: u64) -> Parts {
        let host = dice.of(&[WWW, WWW, WWW, APP, OPEN]);
        let mut parts = Parts {
            method: dice.of(&["GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS"]).to_owned(),
            prefix: String::new(),
            path: format!("{}?~c{number}~", dice.of(&["/", "/x/y", "/public", "/admin", "/admin/x", "/a%20b;c=d"])),
            version: "HTTP/1.1",
            hosts: vec![host.to_owned()],
            fields: format!("X-Case: ~c{number}~\r\n"),
            body: String::new(),
        };
        let [ann, boss, boss_at_app] = &self.credentials.cookies;
        let (id, secret) = &self.credentials.token;
        parts.fields += &match dice.below(20) {
            0..=7 => format!("Cookie: a=b; {ann}\r\n"),
            8..=12 => format!("Cookie: {}\r\n", if host == APP { boss_at_app } else { boss }),
            13..=15 => format!("Cf-Access-Client-Id: {id}\r\nCf-Access-Client-Secret: {secret}\r\n"),
            16 => format!("Cookie: {boss_at_app}\r\n"),
            _ => String::new(),
        };
        if matches!(parts.method.as_str(), "POST" | "PUT") {
            let body = format!("body ~c{number}~ body");
            if dice.percent(50) {
                parts.fields += &format!("Content-Length: {}\r\n", body.len());
                parts.body = body;
            } else {
                parts.fields += "Transfer-Encoding: chunked\r\n";
                parts.body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            }
        }
        parts
    }

    fn spoil(&self, dice: &mut Dice, number: u64, parts: &mut Parts) {
        let host = parts.hosts.first().cloned().unwrap_or_else(|| WWW.to_owned());
        let hidden = hidden(number, &host);
        match dice.below(18) {
            0 | 1 => parts.path = path(dice, number),
            2 => {
                parts.path += dice.of(&[
                    "#x",
                    "#/../admin",
                    "%",
                    "%zz",
                    "%00",
                    "%0d%0aX:y",
                    "\\x",
                    "\u{e9}",
                    " x",
                    "?",
                    ";x",
                    "\t",
                ])
            }
            3 => parts.method = dice.of(METHODS).to_owned(),
            4 => parts.hosts = vec![dice.of(HOSTS).replace("{}", &host)],
            5 => match dice.below(4) {
                0 => parts.hosts.clear(),
                1 => parts.hosts.push(dice.of(&[WWW, APP, OPEN]).to_owned()),
                2 => parts.hosts = vec![String::new()],
                _ => parts.hosts = vec![host.to_uppercase()],
            },
            6 => {
                let authority = if dice.percent(60) { host.as_str() } else { dice.of(&[WWW, APP, OPEN]) };
                parts.prefix = format!("{}://{authority}", dice.of(&["https", "https", "HTTPS", "http", "ftp"]));
            }
            7 | 8 => {
                parts.method = dice.of(&["POST", "GET", "PUT"]).to_owned();
                parts.fields += dice.of(FRAMINGS);
                parts.body = dice.of(BODIES).replace("{}", &hidden);
            }
            9 => (0..=dice.below(5)).for_each(|_| parts.fields += &format!("{}: {FORGED}\r\n", alias(dice))),
            10 => {
                let upgrade = dice.of(UPGRADES);
                parts.method = "GET".into();
                parts.fields += &format!("{upgrade}Sec-WebSocket-Key: {KEY}\r\n");
                if dice.percent(50) {
                    parts.body += &hidden;
                }
            }
            11 => parts.fields += &format!("Connection: {}\r\n", dice.of(CONNECTIONS)),
            12 => {
                let [ann, boss, boss_at_app] = &self.credentials.cookies;
                let cookie =
                    dice.of(&[ann.as_str(), boss.as_str(), boss_at_app.as_str(), "__Host-access=x", "__Host-access="]);
                parts.fields += &format!("Cookie: {cookie}; {}\r\n", dice.of(&["y", "__HOST-access=z", ";;", "a=\"b"]));
            }
            13 => preflight(dice, parts),
            14 => follow_link(dice, number, parts),
            15 => enlarge(dice, parts),
            _ => {
                parts.fields += dice.of(OTHERS);
                if dice.percent(20) {
                    parts.version = dice.of(&["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", ""]);
                }
                if dice.percent(30) {
                    parts.body += &hidden;
                }
            }
        }
    }
}

/// A request that is hidden in the one of a number. It is for where nobody may go without a credential, so that it may
/// arrive nowhere.
pub(super) fn hidden(number: u64, host: &str) -> String {
    let closed = if host.to_ascii_lowercase().contains(OPEN) { APP } else { host };
    format!("GET /admin/hidden?~s{number}~ HTTP/1.1\r\nHost: {closed}\r\nAccess-User-Email: {FORGED}\r\n\r\n")
}

/// The honest request of a number, which Ann sends after it on the same connection.
pub fn follow_up(number: u64, credentials: &Credentials) -> Vec<u8> {
    let ann = &credentials.cookies[0];
    format!("GET /follow?~f{number}~ HTTP/1.1\r\nHost: {WWW}\r\nCookie: {ann}\r\nX-Case: ~f{number}~\r\n\r\n")
        .into_bytes()
}

/// A path of which somebody might make another.
pub(super) fn path(dice: &mut Dice, number: u64) -> String {
    let mut path = String::new();
    for _ in 0..=dice.below(5) {
        // What stands in no path at all comes now and then.
        path += if dice.percent(12) { "\\" } else { dice.of(SEPARATORS) };
        path += if dice.percent(5) { "ad\\min" } else { dice.of(PARTS) };
    }
    let root = if path.starts_with('/') { "" } else { "/" };
    format!("{root}{path}?~c{number}~")
}

/// The name of an identity or of a forwarding fact, in some spelling.
pub(super) fn alias(dice: &mut Dice) -> String {
    let name = dice.of(told::FORGED.as_slice());
    name.chars()
        .map(|c| match c {
            '-' => DASHES[dice.below(DASHES.len())],
            c if dice.percent(30) => c.to_ascii_uppercase(),
            c => c,
        })
        .collect()
}

/// Puts something in, or takes something away, anywhere but in a mark.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    // Mostly where it hurts: in the head.
    let end = if dice.percent(80) {
        crate::raw::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
    } else {
        bytes.len()
    };
    let at = dice.below(end.max(1));
    if mark().find_iter(bytes).any(|found| (found.start()..found.end()).contains(&at)) {
        return;
    }
    let with = dice.of(BYTES);
    match dice.below(4) {
        0 => {
            bytes.remove(at);
        }
        1 => {
            drop(bytes.splice(at..=at, with.iter().copied()));
        }
        2 => {
            drop(bytes.splice(at..at, with.iter().copied()));
        }
        _ => bytes[at] ^= 1 << dice.below(8),
    }
}
