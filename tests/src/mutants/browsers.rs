//! What browsers ask by themselves or are led to, by which name they come, and heads as large as any that is taken, and larger
//! (H3, H9, H12, H15).

use super::{APP, DESK, Dice, OPEN, Recipe, WWW, making::Parts};
use crate::{edge::LOGIN_HOST, visitor::SESSION_COOKIE};

/// Origins that ask: the one that is listed, and others.
const ORIGINS: &[&str] = &[
    DESK,
    DESK,
    DESK,
    "https://www.example.test",
    "https://evil.test",
    "https://DESK.example.test",
    "https://desk.example.test.evil.test",
    "null",
    "*",
];
/// What they add to that.
const ASKED: &[&str] = &[
    "Access-Control-Request-Method: PUT\r\n",
    "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization, x-api\r\n",
    "Access-Control-Request-Method: DELETE\r\nSec-Fetch-Mode: cors\r\n",
    "Access-Control-Request-Method: \r\n",
    "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Method: GET\r\n",
    "Access-Control-Request-Headers: x-api\r\n",
];
/// Where people are led to a login, in it or on from it. `{}` is where they are to go then.
const WAYS: &[&str] = &[
    "/.access/language?to=en&back={}",
    "/.access/login?request={}&to={}",
    "/.access/login?return_to={}&redirect_url={}",
    "/.access/authorized?code=x&next={}",
    "/.access/logout?returnTo={}",
    "/.access/signed-in?path={}",
    "/.access/cli?redirect_uri={}",
    "/.access/callback/pin?state={}",
    "/cdn-cgi/access/logout?returnTo={}",
    "/cdn-cgi/access/login?redirect_url={}",
    "/?next={}",
    "{}?x",
];
/// Where nobody may ever be led.
const ELSEWHERE: &[&str] = &[
    "//elsewhere.test/",
    "/\\elsewhere.test/",
    "https:elsewhere.test",
    "https://elsewhere.test/",
    "https://www.example.test@elsewhere.test/",
    "https://www.example.test.elsewhere.test/",
    "%2f%2felsewhere.test/",
    "/%2felsewhere.test/",
    "/%09/elsewhere.test/",
    "/%0d%0aLocation:%20https://elsewhere.test/",
    "%0d%0aRefresh:%200;url=https://elsewhere.test/",
    "javascript:location='https://elsewhere.test/'",
    "/.//elsewhere.test/",
    "/x/..//elsewhere.test/",
    "@elsewhere.test/",
    ":443@elsewhere.test/",
    "https%3a%2f%2felsewhere.test%2f",
];
/// Bytes that are nearly as many as a head may have: the rest of it has some hundred.
const NEARLY_ALL: usize = 32_000;
/// Over how many sizes are spread, half of them smaller than that.
const SPREAD: usize = 3_000;

impl Recipe {
    /// H3: the server name by which a connection is opened for the request of a number. It is that of most requests more often
    /// than not, and opens nothing in any case.
    pub fn server_name(&self, number: u64) -> &'static str {
        let mut dice = Dice::new(self.seed, number ^ (1 << 62));
        if dice.percent(60) { WWW } else { dice.of(&[APP, OPEN, LOGIN_HOST]) }
    }
}

/// H9: asks what a page of another origin may ask.
pub(super) fn preflight(dice: &mut Dice, parts: &mut Parts) {
    parts.method = "OPTIONS".into();
    parts.fields += &format!("Origin: {}\r\n{}", dice.of(ORIGINS), dice.of(ASKED));
    if dice.percent(10) {
        parts.fields += "Origin: https://evil.test\r\n";
    }
}

/// H12: comes as a browser that a link has brought, to where people are led on.
pub(super) fn follow_link(dice: &mut Dice, number: u64, parts: &mut Parts) {
    parts.method = "GET".into();
    if dice.percent(50) {
        parts.hosts = vec![LOGIN_HOST.to_owned()];
    }
    if dice.percent(80) {
        parts.fields += "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
    }
    let way = dice.of(WAYS).replace("{}", dice.of(ELSEWHERE));
    let root = if way.starts_with('/') { "" } else { "/" };
    parts.path = format!("{root}{way}&~c{number}~");
}

/// H15: makes a head as large as any that is taken, or a little larger: by its fields, its target or its cookies.
pub(super) fn enlarge(dice: &mut Dice, parts: &mut Parts) {
    let large = NEARLY_ALL - SPREAD / 2 + dice.below(SPREAD);
    match dice.below(7) {
        0 => (0..88 + dice.below(20)).for_each(|n| parts.fields += &format!("X-{n}: y\r\n")),
        1 => parts.path += &format!("&{}", "q".repeat(large)),
        2 => parts.fields += &format!("X-Large: {}\r\n", "x".repeat(large)),
        3 => {
            let crowd: Vec<_> = (0..large / 32).map(|n| format!("c{n:05}={}", "x".repeat(23))).collect();
            let crowd = format!("Cookie: {}\r\n", crowd.join("; "));
            // Before the honest one, or behind it.
            parts.fields = if dice.percent(50) { parts.fields.clone() + &crowd } else { crowd + &parts.fields };
        }
        4 => {
            let ours = format!("{SESSION_COOKIE}=x; ").repeat(1 + dice.below(5));
            parts.fields = format!("Cookie: {ours}y=z\r\n{}", parts.fields);
        }
        5 => {
            let value = "x".repeat(4_090 + dice.below(12));
            parts.fields = format!("Cookie: {SESSION_COOKIE}={value}\r\n{}", parts.fields);
        }
        _ => parts.method = "M".repeat(25 + dice.below(15)),
    }
}
