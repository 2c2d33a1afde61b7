use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use data_encoding::BASE64_MIME_PERMISSIVE;
use tokio::sync::mpsc;
use tunnel_auth::{HashKey, Pin, SealKey};
use tunnel_proto::{AppId, EmailAddress, Hostname, UnixTime};

use super::{
    fake::{Answer, Protection, Server, Taken},
    *,
};
use crate::{
    Lang, Reference,
    store::{MailLogEntry, PinAttempt, PinOutcome, PinRecord, sqlite::SqliteStore},
};

const START: UnixTime = UnixTime(1_763_874_171); // 2025-11-23T05:02:51Z, 14:02:51 in Japan
const APP: AppId = AppId::from_bytes([5; 32]);
const CODE: &str = "48291305";

/// A mailer with everything around it.
struct Desk {
    mailer: Option<Mailer>,
    store: Arc<SqliteStore>,
    clock: Clock,
    sent: mpsc::UnboundedReceiver<PinSent>,
    folder: tempfile::TempDir,
    terminal: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Desk {
    async fn with(server: Option<&Server>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path().join("edge.sqlite")).await.unwrap());
        let (_, sent) = mpsc::unbounded_channel();
        let (clock, terminal) = (Clock::manual(START), Arc::default());
        let mut desk = Self { mailer: None, store, clock, sent, folder, terminal };
        desk.start(server);
        desk
    }

    fn start(&mut self, server: Option<&Server>) {
        let delivery = match server {
            Some(server) => Delivery::Smtp {
                server: SmtpConfig::new(&format!("smtp://{}", server.address), None, None).unwrap(),
                from: "Access <no-reply@tnkeng.work>".parse().unwrap(),
            },
            None => Delivery::Console {
                terminal: Terminal::new(Screen(self.terminal.clone())),
                folder: self.folder.path().join("mail"),
            },
        };
        let config = MailConfig {
            zone: Hostname::parse("tnkeng.work").unwrap(),
            name: None,
            login_host: Hostname::parse("access.tnkeng.work").unwrap(),
            contact: Some("admin@tnkeng.work".parse().unwrap()),
            delivery,
        };
        let (note, sent) = mpsc::unbounded_channel();
        let keys = (SealKey::new(1, &[1; 32]), HashKey::new(&[2; 32]));
        let observer = Arc::new(move |pin: &PinSent| drop(note.send(pin.clone())));
        self.sent = sent;
        self.mailer = Some(Mailer::start_with(config, self.store.clone(), keys, self.clock.clone(), observer).unwrap());
    }

    fn mailer(&self) -> &Mailer {
        self.mailer.as_ref().unwrap()
    }

    /// Opens and arms a challenge and queues its mail.
    async fn ask(&self, to: &str, lang: Lang) {
        self.queue(pin(to, lang, self.clock.now())).await;
    }

    async fn ask_for(&self, to: &str, withheld: bool) {
        self.queue(PinMail { withheld, ..pin(to, Lang::En, self.clock.now()) }).await;
    }

    async fn queue(&self, pin: PinMail) {
        let record = PinRecord {
            id: pin.challenge,
            login: pin.challenge,
            app: APP,
            email: b"sealed".to_vec(),
            created: pin.asked,
            expires: pin.asked.plus(Duration::from_secs(1800)),
        };
        self.store.open_pin(&record).await.unwrap();
        self.store.arm_pin(&pin.challenge, &[3; 32]).await.unwrap();
        self.mailer().queue_pin(pin).await.unwrap();
    }

    fn sent_nothing(&self) -> bool {
        self.sent.is_empty()
    }

    async fn wrong_code(&self, to: &str, at: UnixTime) -> PinOutcome {
        let id = challenge(to);
        let attempt = PinAttempt { id, login: id, app: APP, code: [4; 32], now: at, max_tries: 5 };
        self.store.try_pin(&attempt).await.unwrap()
    }

    async fn type_code(&self, to: &str, at: UnixTime) -> PinOutcome {
        let id = challenge(to);
        let attempt = PinAttempt { id, login: id, app: APP, code: [3; 32], now: at, max_tries: 5 };
        self.store.try_pin(&attempt).await.unwrap()
    }

    /// The delivery log, once its newest entry has this state.
    async fn logged(&self, state: &str) -> Vec<MailLogEntry> {
        let reached = async {
            loop {
                let log = self.store.mail_log(10).await.unwrap();
                if log.first().is_some_and(|entry| entry.state == state) {
                    return log;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the mail reaches its state")
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.mailer().wake();
    }
}

fn challenge(to: &str) -> [u8; 32] {
    tunnel_auth::secret::hash("test", to.as_bytes())
}

fn pin(to: &str, lang: Lang, asked: UnixTime) -> PinMail {
    PinMail {
        to: to.parse().unwrap(),
        host: Hostname::parse("www.tnkeng.work").unwrap(),
        pin: Pin::from_typed(CODE).unwrap(),
        challenge: challenge(to),
        asked,
        source: "198.51.100.7".parse().unwrap(),
        user_agent: "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0".into(),
        lang,
        reference: Reference::from_random([1; 6]),
        withheld: false,
    }
}

/// The header fields of a mail (or part), unfolded, and its body.
fn fields(raw: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let fields = head.split("\r\n").map(|line| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header field: {line:?}"));
        (name.to_ascii_lowercase(), value.to_owned())
    });
    (fields.collect(), body.to_owned())
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let mut found = fields.iter().filter(|(field, _)| field == name);
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} stands there twice");
    value
}

/// Undoes quoted-printable or base64.
fn decode(encoding: &str, body: &str) -> String {
    let bytes = match encoding {
        "base64" => BASE64_MIME_PERMISSIVE.decode(body.trim().as_bytes()).unwrap(),
        "quoted-printable" => {
            let joined = body.replace("=\r\n", "");
            let mut parts = joined.split('=');
            let mut bytes = parts.next().unwrap().as_bytes().to_vec();
            for part in parts {
                bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            bytes
        }
        "7bit" => body.as_bytes().to_vec(),
        other => panic!("{other} was not agreed on"),
    };
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

/// Undoes RFC 2047 words in base64.
fn decode_words(value: &str) -> String {
    let mut text = String::new();
    let mut between_words = false;
    for word in value.split(' ') {
        if let Some(encoded) = word.strip_prefix("=?utf-8?b?").and_then(|word| word.strip_suffix("?=")) {
            if !between_words && !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&String::from_utf8(BASE64_MIME_PERMISSIVE.decode(encoded.as_bytes()).unwrap()).unwrap());
            between_words = true;
        } else {
            if between_words || !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
            between_words = false;
        }
    }
    text
}

/// The text part and the HTML part.
fn parts(taken: &Taken) -> (String, String) {
    let (head, body) = fields(&taken.raw);
    let kind = field(&head, "content-type");
    assert!(kind.starts_with("multipart/alternative"), "{kind}");
    let boundary = kind.split("boundary=").nth(1).unwrap().trim_matches('"');
    let mut found = Vec::new();
    for part in body.split(&format!("--{boundary}")).skip(1).take(2) {
        let (head, body) = fields(part.trim_start_matches("\r\n"));
        let body = body.strip_suffix("\r\n").unwrap_or(&body);
        found.push((field(&head, "content-type").to_owned(), decode(field(&head, "content-transfer-encoding"), body)));
    }
    assert!(found[0].0.starts_with("text/plain; charset=utf-8"), "{found:?}");
    assert!(found[1].0.starts_with("text/html; charset=utf-8"), "{found:?}");
    (found[0].1.clone(), found[1].1.clone())
}

#[tokio::test]
async fn the_mail_says_the_same_in_text_and_html_in_both_languages() {
    let mut server = Server::start(Protection::Plain).await;
    let mut desk = Desk::with(Some(&server)).await;
    let cases: [(Lang, &str, &[&str]); 2] = [
        (
            Lang::En,
            "Your code for www.tnkeng.work",
            &[
                "until 05:12 UTC",
                "When: 23 Nov 2025, 05:02 UTC",
                "From: 198.51.100.7",
                "With: Firefox on Windows",
                "please tell admin@tnkeng.work.",
                "Sent by access.tnkeng.work to",
            ],
        ),
        (
            Lang::Ja,
            "www.tnkeng.work の確認コード",
            &[
                "14:12（日本時間）まで",
                "日時：2025年11月23日 14:02（日本時間）",
                "場所：198.51.100.7",
                "環境：Firefox（Windows）",
                "admin@tnkeng.work にお知らせください。",
            ],
        ),
    ];
    for (lang, subject, facts) in cases {
        let to = format!("staff-{}@tnkeng.work", lang.tag());
        desk.ask(&to, lang).await;
        let taken = server.taken.recv().await.unwrap();
        assert_eq!(taken.recipients, std::slice::from_ref(&to));
        let (head, _) = fields(&taken.raw);
        assert_eq!(decode_words(field(&head, "subject")), subject);
        assert_eq!(field(&head, "from"), "Access <no-reply@tnkeng.work>");
        assert_eq!(field(&head, "to"), to);
        assert_eq!(field(&head, "auto-submitted"), "auto-generated");
        assert_eq!(field(&head, "date"), "Sun, 23 Nov 2025 05:02:51 +0000");
        assert!(field(&head, "message-id").ends_with("@access.tnkeng.work>"));
        assert_eq!(field(&head, "mime-version"), "1.0");
        assert_eq!(field(&head, "content-language"), lang.tag());
        assert!(taken.raw.is_ascii() && taken.raw.lines().all(|line| line.len() <= 998));
        let (text, html) = parts(&taken);
        assert!(text.contains("\n    4829 1305\n"), "{text}");
        assert!(html.contains(">4829<span style=\"padding-left:12px\">1305</span>"), "{html}");
        for fact in facts {
            assert!(text.contains(fact), "{fact} in {text}");
            assert!(html.contains(fact), "{fact} in {html}");
        }
        // Nothing to click: a scanner that follows links finds none to follow.
        assert!(!html.contains("href") && !html.contains("://") && !text.contains("://"));
        let sent = desk.sent.recv().await.unwrap();
        assert_eq!((sent.to.as_str(), sent.at), (to.as_str(), START));
    }
}

// A3
#[tokio::test]
async fn whoever_gets_a_passkey_is_told_in_their_language_where_there_is_a_mail_server() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    let cases: [(Lang, &str, &[&str]); 2] = [
        (
            Lang::En,
            "A passkey was added to your account at tnkeng.work",
            &[
                "can sign in as staff@tnkeng.work",
                "When: 23 Nov 2025, 05:02 UTC",
                "From: 198.51.100.7",
                "With: Firefox on Windows",
                "sign in at access.tnkeng.work/.access/account and delete it there",
                "reached at admin@tnkeng.work.",
            ],
        ),
        (
            Lang::Ja,
            "tnkeng.work のアカウントにパスキーが追加されました",
            &["日時：2025年11月23日 14:02（日本時間）", "場所：198.51.100.7", "access.tnkeng.work/.access/account"],
        ),
    ];
    for (lang, subject, facts) in cases {
        desk.mailer().queue_passkey(&passkey_mail(lang)).await.unwrap();
        let taken = server.taken.recv().await.unwrap();
        assert_eq!(taken.recipients, ["staff@tnkeng.work"]);
        let (head, _) = fields(&taken.raw);
        assert_eq!(decode_words(field(&head, "subject")), subject);
        assert_eq!(field(&head, "auto-submitted"), "auto-generated");
        let (text, html) = parts(&taken);
        for fact in facts {
            assert!(text.contains(fact), "{fact} in {text}");
            assert!(html.contains(fact), "{fact} in {html}");
        }
        assert!(text.contains("<i>key") && !html.contains("<i>key"), "what a stranger wrote is only text: {html}");
        assert!(!html.contains("href") && !html.contains("://") && !text.contains("://"));
        desk.logged("sent").await;
    }
    assert!(desk.sent_nothing(), "it is no code");
    let quick_start = Desk::with(None).await;
    quick_start.mailer().queue_passkey(&passkey_mail(Lang::En)).await.unwrap();
    assert!(quick_start.store.due_mails(UnixTime(START.0 * 2), 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_server_refuses_for_now_is_told_later_and_not_after_a_day() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Later]);
    desk.mailer().queue_passkey(&passkey_mail(Lang::En)).await.unwrap();
    desk.logged("deferred").await;
    desk.later(3600);
    server.taken.recv().await.unwrap();
    desk.logged("sent").await;
    server.will([Answer::Later]);
    desk.mailer().queue_passkey(&passkey_mail(Lang::En)).await.unwrap();
    desk.logged("deferred").await;
    desk.later(24 * 3600);
    desk.logged("lapsed").await;
}

fn passkey_mail(lang: Lang) -> PasskeyMail {
    PasskeyMail {
        to: "staff@tnkeng.work".parse().unwrap(),
        label: "My <i>key".into(),
        added: START,
        source: "198.51.100.7".parse().unwrap(),
        user_agent: "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0".into(),
        lang,
    }
}

// P7
#[tokio::test]
async fn the_ten_minutes_begin_when_the_server_takes_the_mail() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Later, Answer::Later]);
    desk.ask("a@tnkeng.work", Lang::En).await;
    desk.ask("b@tnkeng.work", Lang::En).await;
    desk.logged("deferred").await;
    while desk.store.mail_log(10).await.unwrap().iter().filter(|entry| entry.state == "deferred").count() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!desk.mailer().is_delayed(), "what a server says of recipients is no trouble of the server");
    desk.later(300);
    for _ in 0..2 {
        let (text, _) = parts(&server.taken.recv().await.unwrap());
        assert!(text.contains("until 05:17 UTC"), "{text}");
    }
    while desk.store.mail_log(10).await.unwrap().iter().filter(|entry| entry.state == "sent").count() < 2 {
        tokio::task::yield_now().await;
    }
    let end = START.plus(Duration::from_secs(900));
    assert_eq!(desk.type_code("a@tnkeng.work", UnixTime(end.0 - 1)).await, PinOutcome::Right(b"sealed".to_vec()));
    assert_eq!(desk.type_code("b@tnkeng.work", end).await, PinOutcome::Expired);
    assert_eq!(desk.type_code("b@tnkeng.work", UnixTime(end.0 - 1)).await, PinOutcome::Right(b"sealed".to_vec()));
}

// P2: nothing that can be seen from outside depends on whether a mail was sent.
#[tokio::test]
async fn an_address_that_cannot_be_admitted_is_treated_alike_and_gets_no_mail() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    desk.ask_for("stranger@example.com", true).await;
    let log = desk.logged("withheld").await;
    assert_eq!(log.iter().map(|entry| entry.state.as_str()).collect::<Vec<_>>(), ["withheld", "queued"]);
    assert!(server.taken.try_recv().is_err(), "nothing is sent");
    assert!(desk.sent_nothing(), "nothing is told of a mail that was not sent");
    // Its challenge ends when one with a mail would.
    assert_eq!(desk.wrong_code("stranger@example.com", UnixTime(START.0 + 599)).await, PinOutcome::Wrong(4));
    assert_eq!(desk.wrong_code("stranger@example.com", UnixTime(START.0 + 600)).await, PinOutcome::Expired);
}

#[tokio::test]
async fn mail_is_delayed_when_the_server_is_away_whoever_asks() {
    let server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    drop(server);
    desk.ask_for("stranger@example.com", true).await;
    desk.logged("deferred").await;
    assert!(desk.mailer().is_delayed());
}

#[tokio::test]
async fn the_mail_of_a_superseded_code_is_not_sent() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Later]);
    desk.ask("a@tnkeng.work", Lang::En).await;
    desk.logged("deferred").await;
    let newer = PinRecord {
        id: [7; 32],
        login: challenge("a@tnkeng.work"),
        app: APP,
        email: b"sealed".to_vec(),
        created: START,
        expires: START.plus(Duration::from_secs(1800)),
    };
    desk.store.open_pin(&newer).await.unwrap();
    desk.later(60);
    desk.logged("lapsed").await;
    assert!(server.taken.try_recv().is_err());
}

// P7
#[tokio::test]
async fn a_late_mail_never_outlives_the_thirty_minutes_of_its_request() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Later]);
    desk.ask("a@tnkeng.work", Lang::En).await;
    desk.logged("deferred").await;
    desk.later(1500);
    let (text, _) = parts(&server.taken.recv().await.unwrap());
    assert!(text.contains("until 05:32 UTC"), "25 minutes late, 5 are left: {text}");
}

// P7
#[tokio::test]
async fn a_mail_that_waited_thirty_minutes_lapses_unsent() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Later]);
    desk.ask("a@tnkeng.work", Lang::En).await;
    desk.logged("deferred").await;
    desk.later(1800);
    let log = desk.logged("lapsed").await;
    assert_eq!(log.iter().map(|entry| entry.state.as_str()).collect::<Vec<_>>(), ["lapsed", "deferred", "queued"]);
    assert!(server.taken.try_recv().is_err());
    assert!(desk.store.due_mails(UnixTime(START.0 * 2), 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_recipient_is_logged_without_the_address_and_given_up() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Never]);
    desk.ask("ghost@tnkeng.work", Lang::En).await;
    let log = desk.logged("bounced").await;
    let detail = log[0].detail.clone().unwrap();
    assert!(detail.contains("unknown here") && !detail.to_lowercase().contains("ghost"), "{detail}");
    assert_eq!(log[0].domain, "tnkeng.work");
    assert!(!desk.mailer().is_delayed(), "a bounce is not a delay");
    assert!(server.taken.try_recv().is_err());
}

// P7
#[tokio::test]
async fn the_queue_is_sealed_and_outlives_the_mailer() {
    let mut server = Server::start(Protection::Plain).await;
    let mut desk = Desk::with(Some(&server)).await;
    server.will([Answer::Later]);
    desk.ask("staff@tnkeng.work", Lang::En).await;
    desk.logged("deferred").await;
    desk.mailer = None;
    for entry in std::fs::read_dir(desk.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        for secret in ["4829", "staff@", "198.51.100.7"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} can be read in the database");
        }
    }
    desk.clock.advance(Duration::from_secs(60));
    desk.start(Some(&server));
    assert_eq!(server.taken.recv().await.unwrap().recipients, ["staff@tnkeng.work"]);
    desk.logged("sent").await;
    assert!(desk.store.due_mails(UnixTime(START.0 * 2), 1).await.unwrap().is_empty(), "sent mails are deleted");
}

#[tokio::test]
async fn one_silent_recipients_server_does_not_keep_the_others_waiting() {
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    server.will([Answer::Silence]);
    desk.ask("first@tnkeng.work", Lang::En).await;
    while !server.seen().iter().any(|line| line.starts_with("RCPT")) {
        tokio::task::yield_now().await;
    }
    desk.ask("second@tnkeng.work", Lang::En).await;
    assert_eq!(server.taken.recv().await.unwrap().recipients, ["second@tnkeng.work"]);
}

// P6
#[tokio::test]
async fn nothing_a_stranger_names_adds_a_header_or_a_recipient() {
    for address in [
        "a@b.example\r\nBcc: x@evil.example",
        "a@b.example\nBcc: x@evil.example",
        "a@b.example%0aBcc:x@evil.example",
        "a@b.example,x@evil.example",
        "a@b.example;x@evil.example",
        "\"a\r\n\"@b.example",
        "<a@b.example>",
        "a@b.example> NOTIFY=SUCCESS",
        "a b@b.example",
        "a@b.example\0",
        "a@[127.0.0.1]",
        "ａ@b.example",
        "a@evil@b.example",
        "K\u{212a}@b.example",
    ] {
        assert!(address.parse::<EmailAddress>().is_err(), "{address:?}");
        assert!(format!("Access <{address}>").parse::<MailFrom>().is_err(), "{address:?}");
        assert!(
            format!("{address} <no-reply@tnkeng.work>").parse::<MailFrom>().is_err()
                || !address.contains(['\r', '\n', '\0', '<', '"']),
            "{address:?}"
        );
    }
    let mut server = Server::start(Protection::Plain).await;
    let desk = Desk::with(Some(&server)).await;
    desk.ask("calm@tnkeng.work", Lang::En).await;
    let calm = fields(&server.taken.recv().await.unwrap().raw).0;
    // The strangest address that the grammar admits, and a browser's words.
    let mut mail = pin("!#$%&'*+-/=?^_`{|}~@tnkeng.work", Lang::En, START);
    mail.user_agent = "Firefox/1\r\nBcc: x@evil.example\r\n\r\n<script>alert(1)</script>".into();
    desk.queue(mail).await;
    let taken = server.taken.recv().await.unwrap();
    assert_eq!(taken.recipients, ["!#$%&'*+-/=?^_`{|}~@tnkeng.work"]);
    let names = |fields: &[(String, String)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&fields(&taken.raw).0), names(&calm));
    let (text, html) = parts(&taken);
    for part in [text, html] {
        assert!(!part.contains("evil.example") && !part.contains("<script>"), "{part}");
    }
}

#[tokio::test]
async fn without_a_mail_server_the_code_is_on_the_terminal_and_in_a_file_until_it_expires() {
    let mut desk = Desk::with(None).await;
    assert!(desk.mailer().is_terminal());
    desk.ask("staff@tnkeng.work", Lang::En).await;
    desk.sent.recv().await.unwrap();
    let shown = String::from_utf8(desk.terminal.lock().unwrap().clone()).unwrap();
    for fact in ["4829 1305", "staff@tnkeng.work", "www.tnkeng.work", "05:12 UTC"] {
        assert!(shown.contains(fact), "{shown}");
    }
    let folder = desk.folder.path().join("mail");
    let files = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let file = files().pop().unwrap();
    assert_eq!(file.extension().unwrap(), "eml");
    let raw = String::from_utf8(crate::platform::read_private(&file, 1 << 20).expect("for the owner only")).unwrap();
    assert!(parts(&Taken { recipients: vec![], raw, by_tls: false }).0.contains("4829 1305"));
    desk.later(600);
    while !files().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_edge_that_cannot_send_says_so() {
    let mut desk = Desk::with(None).await;
    let config = MailConfig {
        zone: Hostname::parse("tnkeng.work").unwrap(),
        name: None,
        login_host: Hostname::parse("access.tnkeng.work").unwrap(),
        contact: None,
        delivery: Delivery::None,
    };
    let keys = (SealKey::new(1, &[1; 32]), HashKey::new(&[2; 32]));
    let mailer = Mailer::start_with(config, desk.store.clone(), keys, desk.clock.clone(), Arc::new(|_| {}));
    desk.mailer = Some(mailer.unwrap());
    let refused = desk.mailer().queue_pin(pin("a@tnkeng.work", Lang::En, START)).await;
    assert!(matches!(refused, Err(QueueError::NoDelivery)));
    assert!(desk.store.mail_log(1).await.unwrap().is_empty());
}

// F3
#[tokio::test]
async fn a_queue_that_rests_is_worked_off_again_once() {
    let mut desk = Desk::with(None).await;
    assert!(desk.mailer().rest(Duration::from_secs(60)).await);
    desk.ask("staff@tnkeng.work", Lang::En).await;
    assert!(desk.sent_nothing());
    desk.mailer().work();
    desk.sent.recv().await.unwrap();
    desk.logged("sent").await;
    assert!(desk.sent_nothing());
}
