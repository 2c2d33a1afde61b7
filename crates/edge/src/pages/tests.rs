use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use tunnel_proto::{EmailAddress, Hostname, UnixTime};

use super::*;
use crate::Response;

mod answers;
mod contrast;
mod grpc;
mod look;
mod providers;
mod words_of_the_locales;

const AT: UnixTime = UnixTime(1_763_874_171); // 2025-11-23T05:02:51Z
const LANGS: [Lang; 2] = [Lang::En, Lang::Ja];

fn context(lang: Lang) -> PageContext {
    let mut context = PageContext::new(host("tnkeng.work"), lang);
    context.admin_contact = Some(email("admin@tnkeng.work"));
    context
}

fn host(text: &str) -> Hostname {
    Hostname::parse(text).unwrap()
}

fn email(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

fn reference() -> Reference {
    Reference::from_random([0x7f, 0x3a, 0x92, 0xc1, 0xe0, 0x8b])
}

fn body(response: Response) -> String {
    let collected = futures::executor::block_on(response.into_body().collect()).unwrap();
    String::from_utf8(collected.to_bytes().to_vec()).unwrap()
}

/// A page under a name, how it is rendered, its status, and what it must say in either language.
type Case = (&'static str, Box<dyn Fn(&PageContext) -> Response>, u16, Vec<&'static str>);

/// Every page, with `hostile` wherever a stranger's words may stand.
fn every_page(hostile: &str) -> Vec<Case> {
    let form = || Form::new("TOKEN").with("request", format!("R{hostile}"));
    let (www, text) = (host("www.tnkeng.work"), hostile.to_owned());
    let login = |problem| Login {
        host: www.clone(),
        form: form(),
        methods: Vec::new(),
        pin: true,
        passkey: None,
        email: text.clone(),
        problem,
        mail_delayed: true,
    };
    let button = || Some(PasskeyButton { name: "passkey".parse().unwrap(), form: form() });
    let passkey = |used| PasskeyLine { id: "ab12".into(), label: format!("Laptop{text}"), created: AT, used };
    let account_session = |here, client| AccountSession {
        id: "cd34".into(),
        device: Some(format!("ann-laptop{text}")),
        client,
        hosts: vec![www.clone()],
        by: client.then(|| format!("Corp{text}")),
        source: Some("198.51.100.7".parse().unwrap()),
        created: AT,
        seen: AT,
        expires: UnixTime(AT.0 + 86_400),
        here,
    };
    let account = |passkeys, may_add: bool| Account {
        email: email("staff@tnkeng.work"),
        by: may_add.then(|| format!("Corp{text}")),
        since: AT,
        passkeys,
        may_add,
        sessions: vec![account_session(true, false), account_session(false, true)],
        form: form(),
        logout: form(),
    };
    let tile = |name: &str, place: &str, kind, url: Option<&str>, command: Option<&str>| Tile {
        name: name.parse().unwrap(),
        place: format!("{place}{text}"),
        kind,
        url: url.map(|url| format!("{url}{text}")),
        command: command.map(|command| format!("{command}{text}")),
    };
    let tiles = vec![
        tile("www", "www.tnkeng.work", TileKind::Web, Some("https://www.tnkeng.work/"), None),
        tile("rdp", "rdp.tnkeng.work", TileKind::Tcp, None, Some("access tcp --hostname rdp.tnkeng.work")),
        tile("desk", "desk.tnkeng.work", TileKind::Bastion, None, Some("access tcp --destination HOST:PORT")),
        tile("dav", "*.tnkeng.work/dav*", TileKind::Away, None, None),
    ];
    let launcher = |tiles: Vec<Tile>, find: &str| Launcher {
        email: email("staff@tnkeng.work"),
        tiles,
        all: 20,
        find: if find.is_empty() { String::new() } else { format!("{find}{text}") },
        sessions: vec![account_session(true, false), account_session(false, true)],
        form: form(),
        logout: form(),
    };
    let delete = |last| DeletePasskey { passkey: passkey(Some(AT)), last, form: form() };
    let invitation = |name| Invitation { email: email("guest@tnkeng.work"), name, expires: AT, form: form() };
    let pin = |problem| Pin {
        host: www.clone(),
        email: format!("staff@tnkeng.work{text}"),
        form: form(),
        again: form(),
        other: "/.access/login?app=A&request=B".into(),
        typed: format!("4829 1305{text}"),
        problem,
        mail_delayed: false,
    };
    let denied = |signed_in: Option<EmailAddress>| Denied {
        host: www.clone(),
        form: signed_in.is_some().then(form),
        signed_in,
        by: None,
        reference: reference(),
        at: AT,
    };
    let approve = |hosts: Vec<HostChoice>, problem| ApproveConnector {
        code: "KXBT-3MRQ".into(),
        address: "203.0.113.24".parse().unwrap(),
        machine: format!("nas-office{text}"),
        software: format!("connector 0.1.0{text}"),
        asked: AT,
        lapses: UnixTime(AT.0 + 300),
        now: UnixTime(AT.0 + 60),
        hosts,
        typed: text.clone(),
        problem,
        form: form(),
    };
    let hosts = vec![
        HostChoice { host: "www.tnkeng.work".into(), value: "www.tnkeng.work".into(), served_by: None, ticked: true },
        HostChoice {
            host: "rdp.tnkeng.work".into(),
            value: "rdp.tnkeng.work@T".into(),
            served_by: Some("office".parse().unwrap()),
            ticked: false,
        },
    ];
    let client = |waiting| ApproveClient {
        host: host("rdp.tnkeng.work"),
        app: "rdp".parse().unwrap(),
        email: email("staff@tnkeng.work"),
        code: ClientCode::Compare("7492".into()),
        computer: format!("ann-laptop{text}"),
        command: format!("access rdp --hostname rdp.tnkeng.work{text}"),
        address: "198.51.100.7".parse().unwrap(),
        same: None,
        waiting,
        until: UnixTime(AT.0 + 86_400),
        form: form(),
    };
    let waiting = Waiting { asked: AT, lapses: UnixTime(AT.0 + 300), now: UnixTime(AT.0 + 60) };
    let elsewhere =
        |wrong| ApproveClient { same: Some(false), code: ClientCode::Type { wrong }, ..client(Some(waiting)) };
    let setup_pin = |in_terminal, problem| SetupPin {
        email: email("admin@tnkeng.work"),
        in_terminal,
        form: form(),
        again: form(),
        other: "/.access/setup?link=X".into(),
        typed: text.clone(),
        problem,
    };
    let service = |failure| ServiceError { failure, host: www.clone(), reference: reference(), at: AT };
    macro_rules! page {
        ($name:literal, $status:literal, $page:expr, [$($fact:literal),*]) => {{
            let page = $page;
            ($name, Box::new(move |c: &PageContext| page.render(c)) as Box<dyn Fn(&PageContext) -> Response>, $status, vec![$($fact),*])
        }};
    }
    let mut pages = providers::pages(hostile);
    pages.extend(vec![
        page!(
            "login",
            200,
            login(None),
            ["www.tnkeng.work", r#"name="method" value="pin""#, "TOKEN", r#"type="email""#]
        ),
        page!(
            "login-problem",
            422,
            login(Some(EmailProblem::NotAnAddress)),
            [r#"aria-invalid="true""#, "name@example.com"]
        ),
        page!(
            "script-login-passkey",
            200,
            Login { passkey: button(), ..login(None) },
            [r#"data-passkey="passkey""#, r#"value="pin""#, r#"role="status""#, "data-cancelled=\""]
        ),
        page!(
            "script-login-passkey-only",
            200,
            Login { passkey: button(), pin: false, ..login(None) },
            [r#"data-passkey="passkey""#, r#"<button class="btn primary full">"#, "<noscript>"]
        ),
        page!(
            "account",
            200,
            account(vec![passkey(None), passkey(Some(AT))], true),
            [
                "staff@tnkeng.work",
                "Laptop",
                "/.access/account/delete?id=ab12",
                r#"href="/.access/account/passkey""#,
                r#"name="session" value="cd34""#,
                r#"name="all" value="1""#,
                "ann-laptop",
                "198.51.100.7",
                "www.tnkeng.work",
                "Corp",
                "tag ok"
            ]
        ),
        page!("account-empty", 200, account(vec![], true), [r#"href="/.access/account/passkey""#, "class=\"empty\""]),
        page!("account-without", 200, account(vec![], false), ["class=\"empty\""]),
        page!(
            "script-add-passkey",
            200,
            AddPasskey { email: email("staff@tnkeng.work"), label: format!("Firefox on Windows{text}"), form: form() },
            ["data-passkey-add", r#"name="label""#, "Firefox on Windows"]
        ),
        page!(
            "launcher",
            200,
            launcher(tiles.clone(), ""),
            [
                "staff@tnkeng.work",
                r#"href="https://www.tnkeng.work/""#,
                r#"<code>access tcp <span class="whole">--hostname</span> rdp.tnkeng.work"#,
                "HOST:PORT",
                "*.tnkeng.work/dav*",
                r#"name="find""#,
                r#"name="session" value="cd34""#,
                r#"name="all" value="1""#,
                r#"action="/.access/logout""#,
                r#"href="/.access/account#passkeys""#
            ]
        ),
        page!("launcher-empty", 200, launcher(vec![], ""), ["class=\"empty\"", "staff@tnkeng.work"]),
        page!("launcher-not-found", 200, launcher(vec![], "wiki"), ["class=\"empty\"", r#"value="wiki"#]),
        page!("language-set", 200, LanguageSet, ["<h1>"]),
        page!(
            "opening",
            200,
            Opening {
                to: Onward::Page(www.clone()),
                url: format!("https://www.tnkeng.work/.access/authorized?code=C{text}")
            },
            [r#"href="https://www.tnkeng.work/.access/authorized?code=C"#, "www"]
        ),
        page!(
            "opening-program",
            200,
            Opening { to: Onward::Program, url: format!("http://127.0.0.1:4711/x?code=C{text}") },
            [r#"href="http://127.0.0.1:4711/x?code=C"#]
        ),
        page!(
            "come-in",
            200,
            ComeIn { host: www.clone(), url: format!("https://www.tnkeng.work/x?a=b{text}") },
            [r#"href="https://www.tnkeng.work/x?a=b"#, "www.tnkeng.work"]
        ),
        page!("signed-in", 200, SignedIn { host: www.clone() }, ["www.tnkeng.work", r#"role="status""#]),
        page!(
            "form-kept",
            401,
            FormKept {
                host: www.clone(),
                target: format!("https://www.tnkeng.work//save?x=1{text}"),
                fields: vec![
                    ("b".into(), format!("2{text}")),
                    (format!("a{text}"), "1".into()),
                    ("b".into(), "3".into())
                ],
                sign_in: "/.access/signed-in?path=%2Fsave".into(),
                writer: Some(email("staff@tnkeng.work")),
                other: None,
            },
            [
                r#"method="post" action="https://www.tnkeng.work//save?x=1"#,
                r#"<input type="hidden" name="b" value="2"#,
                r#"href="/.access/signed-in?path=%2Fsave" target="_blank" rel="noopener""#,
                "staff@tnkeng.work"
            ]
        ),
        page!(
            "form-kept-of-another",
            403,
            FormKept {
                host: www.clone(),
                target: "https://www.tnkeng.work/.access/form?kept=K".into(),
                fields: vec![("b".into(), format!("2{text}"))],
                sign_in: "/.access/signed-in?path=%2Fsave".into(),
                writer: Some(email("staff@tnkeng.work")),
                other: Some(email("guest@tnkeng.work")),
            },
            [
                r#"action="https://www.tnkeng.work/.access/form?kept=K"#,
                r#"<input type="hidden" name="b" value="2"#,
                r#"href="/.access/logout" target="_blank" rel="noopener""#,
                "staff@tnkeng.work",
                "guest@tnkeng.work"
            ]
        ),
        page!(
            "form-lost",
            401,
            FormLost { host: www.clone(), sign_in: "/.access/signed-in?path=%2Fsave".into(), signed_out: false },
            [r#"href="/.access/signed-in?path=%2Fsave" target="_blank" rel="noopener""#]
        ),
        page!(
            "form-lost-out",
            401,
            FormLost { host: www.clone(), sign_in: "/.access/signed-in?path=%2Fsave".into(), signed_out: true },
            [r#"href="/.access/signed-in?path=%2Fsave" target="_blank" rel="noopener""#]
        ),
        page!("delete-passkey", 200, delete(false), ["Laptop", "btn primary bad"]),
        page!("delete-passkey-last", 200, delete(true), ["notice warn"]),
        page!(
            "script-invitation",
            200,
            invitation(None),
            ["guest@tnkeng.work", "tnkeng.work", "data-passkey-add", "TOKEN"]
        ),
        page!("script-invitation-named", 200, invitation(Some(format!("Ann{text}"))), ["Ann", "guest@tnkeng.work"]),
        page!("invitation-gone", 410, InvitationClosed::Gone, [r#"href="/.access/account""#]),
        page!("invitation-closed", 503, InvitationClosed::NoMethod, ["<h1>"]),
        page!(
            "pin",
            200,
            pin(None),
            ["staff@tnkeng.work", "www.tnkeng.work", r#"autocomplete="one-time-code""#, r#"value="pin-again""#]
        ),
        page!(
            "pin-wrong",
            422,
            pin(Some(PinProblem::Wrong { left: 4 })),
            ["4", r#"aria-invalid="true""#, r#"value="48291305""#]
        ),
        page!("pin-last", 422, pin(Some(PinProblem::Wrong { left: 1 })), ["1"]),
        page!("pin-void", 422, pin(Some(PinProblem::Void)), ["code-error", r#"value="pin-again""#]),
        page!("pin-expired", 422, pin(Some(PinProblem::Expired)), ["code-error", "staff@tnkeng.work"]),
        page!("pin-digits", 422, pin(Some(PinProblem::NotDigits)), ["code-error"]),
        page!(
            "start-again",
            400,
            StartAgain { host: Some(www.clone()), link: Some("/".into()), reference: reference(), at: AT },
            [r#"href="/""#, ">www<"]
        ),
        page!(
            "denied",
            403,
            denied(Some(email("guest@tnkeng.work"))),
            [
                "guest@tnkeng.work",
                "7F3A-92C1-E08B",
                r#"action="/.access/logout""#,
                "mailto:admin@tnkeng.work?subject=",
                "<time datetime=\"2025-11-23T"
            ]
        ),
        page!("denied-early", 403, denied(None), ["7F3A-92C1-E08B", "www.tnkeng.work"]),
        page!(
            "no-host",
            404,
            NotFound { missing: Missing::Hostname(www.clone()), reference: reference(), at: AT },
            ["www.tnkeng.work", "7F3A-92C1-E08B"]
        ),
        page!("no-page", 404, NotFound { missing: Missing::Page, reference: reference(), at: AT }, ["7F3A-92C1-E08B"]),
        page!("bad-request", 400, BadRequest { reference: reference(), at: AT }, ["7F3A-92C1-E08B"]),
        page!("too-long", 414, TooLong { of_target: true, reference: reference(), at: AT }, ["414"]),
        page!("too-large", 431, TooLong { of_target: false, reference: reference(), at: AT }, ["431"]),
        page!("method", 405, MethodNotAllowed { allow: "GET, HEAD", reference: reference(), at: AT }, ["405"]),
        page!(
            "forged",
            403,
            ForgedForm { link: format!("/.access/login?{text}"), reference: reference(), at: AT },
            ["403", "/.access/login?"]
        ),
        page!("too-many", 429, TooManyRequests { retry_after: 30, reference: reference(), at: AT }, ["429", "30"]),
        page!("overloaded", 503, Overloaded { reference: reference(), at: AT }, ["503", "7F3A-92C1-E08B"]),
        page!("loop", 508, Looped { host: www.clone(), reference: reference(), at: AT }, ["508", "www.tnkeng.work"]),
        page!("fault", 500, EdgeFault { reference: reference(), at: AT }, ["500", "7F3A-92C1-E08B"]),
        page!("502", 502, service(Failure::BadAnswer), ["502", "www.tnkeng.work", "7F3A-92C1-E08B", r#"href="""#]),
        page!("504", 504, service(Failure::Slow), ["504", "7F3A-92C1-E08B"]),
        page!("530", 530, service(Failure::NoTunnel), ["530", "7F3A-92C1-E08B", "admin@tnkeng.work"]),
        page!("503", 503, service(Failure::Busy), ["503"]),
        page!(
            "tcp-only",
            426,
            TcpOnly { host: www.clone(), command: format!("access tcp --hostname www.tnkeng.work{text}") },
            [r#"<code>access tcp <span class="whole">--hostname</span> www.tnkeng.work"#]
        ),
        page!(
            "logout-ask",
            200,
            LogoutAsk { signed_in: Some(email("staff@tnkeng.work")), form: form() },
            ["staff@tnkeng.work", r#"method="post""#]
        ),
        page!("logout-nobody", 200, LogoutAsk { signed_in: None, form: form() }, [r#"method="post""#]),
        page!("logged-out", 200, LoggedOut { again: Some("/".into()) }, [r#"href="/""#]),
        page!(
            "approve",
            200,
            approve(hosts.clone(), None),
            [
                "KXBT-3MRQ",
                "K X B T, 3 M R Q",
                "203.0.113.24",
                "nas-office",
                "rdp.tnkeng.work",
                "office",
                r#"value="www.tnkeng.work" checked"#,
                r#"value="rdp.tnkeng.work@T"><label"#,
                r#"value="refuse" formnovalidate"#,
                r#"name="same" required"#
            ]
        ),
        page!("approve-none", 200, approve(vec![], None), [r#"name="hosts""#]),
        page!(
            "approve-not-compared",
            422,
            approve(hosts.clone(), Some(ApproveProblem::NotCompared)),
            [r#"role="alert""#, r#"aria-invalid="true" aria-describedby="same-error""#]
        ),
        page!("approve-no-host", 422, approve(hosts.clone(), Some(ApproveProblem::NoHost)), [r#"role="alert""#]),
        page!(
            "approve-bad-host",
            422,
            approve(vec![], Some(ApproveProblem::BadHost)),
            [r#"aria-describedby="hosts-hint hosts-error" aria-invalid="true""#, r#"id="hosts-error""#]
        ),
        page!(
            "approved",
            200,
            EnrolResult::Approved { machine: format!("nas{text}"), hosts: vec![format!("www.tnkeng.work{text}")] },
            ["www.tnkeng.work", "nas"]
        ),
        page!("refused", 200, EnrolResult::Refused, ["<h1>"]),
        page!("lapsed", 404, EnrolResult::Lapsed, ["connector login"]),
        page!(
            "client",
            200,
            client(None),
            [
                "staff@tnkeng.work",
                "rdp.tnkeng.work",
                "7 4 9 2",
                "198.51.100.7",
                "ann-laptop",
                "<code>access rdp --hostname rdp.tnkeng.work",
                r#"action="/.access/cli""#,
                r#"name="answer" value="refuse""#
            ]
        ),
        page!("client-elsewhere", 200, elsewhere(false), ["id=\"code\"", "tag warn", "notice warn"]),
        page!("client-elsewhere-wrong", 422, elsewhere(true), ["aria-invalid=\"true\"", "tag warn"]),
        page!("client-guessed", 429, ClientResult::Guessed { reference: reference(), at: AT }, ["7F3A-92C1-E08B"]),
        page!(
            "client-approved",
            200,
            ClientResult::Approved { computer: format!("ann-laptop{text}"), host: www.clone(), until: AT },
            ["ann-laptop", "www.tnkeng.work"]
        ),
        page!("client-refused", 200, ClientResult::Refused, ["<h1>"]),
        page!("client-lapsed", 404, ClientResult::Lapsed, ["<h1>"]),
        page!(
            "setup-email",
            200,
            SetupEmail { form: form(), email: text.clone(), problem: None },
            [r#"action="/.access/setup""#, r#"type="email""#]
        ),
        page!("setup-pin-terminal", 200, setup_pin(true, None), ["admin@tnkeng.work", r#"name="code""#]),
        page!("setup-pin-mail", 422, setup_pin(false, Some(PinProblem::Void)), ["admin@tnkeng.work", "code-error"]),
        page!(
            "setup-done",
            200,
            SetupDone {
                email: email("admin@tnkeng.work"),
                commands: vec![format!("connector --hostname www.localhost --url http://localhost:3000{text}")]
            },
            ["<code>connector --hostname www.localhost --url http://localhost:3000"]
        ),
        page!("setup-lapsed", 404, SetupLapsed, ["edge admin setup-link"]),
        page!("no-administrator", 403, NoAdministrator { quick_start: true }, ["edge admin setup-link"]),
        page!("no-administrator-configured", 403, NoAdministrator { quick_start: false }, ["[admin] emails"]),
    ]);
    pages
}

#[test]
fn every_page_says_its_facts_in_both_languages() {
    for lang in LANGS {
        for (name, render, status, facts) in every_page("") {
            let response = render(&context(lang));
            assert_eq!(response.status().as_u16(), status, "{name}");
            let html = body(response);
            assert!(html.contains(&format!("<html lang=\"{}\">", lang.tag())), "{name}");
            for fact in facts {
                assert!(html.contains(fact), "{name} in {lang:?} does not say {fact:?}:\n{html}");
            }
            assert_eq!(html.matches("<h1>").count(), 1, "{name}: one page, one question");
            assert!(html.matches("class=\"btn primary").count() <= 1, "{name}: one primary button");
            assert!(!html.contains("{$") && !html.contains("{ $"), "{name}: an argument is missing:\n{html}");
            // An application's form is the application's; ours that only look for something change nothing.
            let (posts, tokens) = (html.matches("method=\"post\"").count(), html.matches(FORM_TOKEN).count());
            let kept = name.starts_with("form-kept");
            assert_eq!(posts, if kept { 1 } else { tokens }, "{name}: each form has the token");
            assert!(!kept || tokens == 0, "{name}: no token of ours goes to an application");
            for switch in ["hreflang=\"en\"", "hreflang=\"ja\""] {
                assert_eq!(html.matches(switch).count(), 1, "{name}: {switch}");
            }
        }
    }
}

#[test]
fn every_page_says_so_while_nobody_is_administrator() {
    for lang in LANGS {
        let mut context = context(lang);
        context.no_administrator_yet = true;
        for (name, render, ..) in every_page("") {
            assert!(body(render(&context)).contains("class=\"notice warn\"><b>"), "{name}");
        }
    }
}

// A2, P6
#[test]
fn what_a_stranger_names_is_never_markup() {
    let payloads = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title><svg onload=alert(1)>",
        "{{7*7}}<b>{ $host }</b>",
        "&lt;script&gt;",
    ];
    for payload in payloads {
        for lang in LANGS {
            for ((name, render, ..), (_, plain, ..)) in every_page(payload).into_iter().zip(every_page("")) {
                let (hostile, calm) = (body(render(&context(lang))), body(plain(&context(lang))));
                // Escaped text adds no tag, and no attribute can begin where no quote ends one.
                assert_eq!(hostile.matches('<').count(), calm.matches('<').count(), "{name}: {payload}");
                assert_eq!(hostile.matches('>').count(), calm.matches('>').count(), "{name}: {payload}");
                let quotes = |html: &str| html.matches(['"', '\'']).count();
                let added = quotes(&hostile).saturating_sub(quotes(&calm));
                // A refilled field and its invalid state are quoted by us, in pairs.
                assert!(added % 2 == 0 && !hostile.contains(payload), "{name}: {payload}");
            }
        }
    }
}

#[test]
fn the_policy_is_exactly_the_strict_one() {
    let strict = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    for (name, render, ..) in every_page("") {
        let response = render(&context(Lang::En));
        let headers = response.headers();
        let mut expected = strict.to_owned();
        if name.starts_with("form-kept") {
            // What an application answers its own form with is its own affair.
            expected = expected.replace("form-action 'self'", "form-action 'self' https: http:");
        }
        if name.starts_with("script-") {
            expected =
                expected.replace("default-src 'none'", "default-src 'none'; script-src 'self'; connect-src 'self'");
        }
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], expected, "{name}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}"); // H11
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{name}");
        let referrer = if name.starts_with("form-kept") { "same-origin" } else { "no-referrer" };
        assert_eq!(headers[header::REFERRER_POLICY], referrer, "{name}");
        assert_eq!(headers[header::CONTENT_LANGUAGE], "en", "{name}");
        assert!(headers[header::VARY].to_str().unwrap().contains("Accept-Language"), "{name}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8", "{name}");
    }
}

#[test]
fn no_page_needs_what_the_policy_forbids() {
    let handler = regex::Regex::new(r"<[^>]* on[a-z]+=").unwrap();
    for (name, render, ..) in every_page("") {
        let html = body(render(&context(Lang::Ja)));
        // The one script, from a file of ours, on the pages that have a policy for it.
        let script = format!(r#"<script src="{}" defer></script>"#, Look::plain().link("passkey.js"));
        assert_eq!(html.contains(&script), name.starts_with("script-"), "{name}");
        let html = html.replacen(&script, "", 1);
        for forbidden in ["style=", "<style", "<script", "javascript:", "data:", "http-equiv", ".html"] {
            assert!(!html.contains(forbidden), "{name} has {forbidden}");
        }
        assert!(!handler.is_match(&html), "{name} has a handler");
    }
}

// H12
#[test]
fn links_to_the_other_language_lead_back_to_the_page_where_that_can_be() {
    let mut context = context(Lang::En);
    assert_eq!(context.language_link("ja"), "/.access/language?to=ja", "an answer to a form");
    context.back = Some("/.access/login?app=A&request=B%3D".into());
    let link = "/.access/language?to=ja&back=%2F.access%2Flogin%3Fapp%3DA%26request%3DB%253D";
    assert_eq!(context.language_link("ja"), link);
    // Whatever a stranger put into the address, what is led back to is a path.
    for odd in ["//evil.example/", "/a#b", "https://evil.example/", "/.access/language?to=en"] {
        context.back = Some(odd.into());
        assert_eq!(context.language_link("en"), "/.access/language?to=en", "{odd}");
    }
}

#[test]
fn moments_carry_their_zone_in_both_languages() {
    let (en, ja) = (Moment::new(AT, Lang::En), Moment::new(AT, Lang::Ja));
    assert_eq!(en.exact(), "23 Nov 2025, 05:02:51 UTC");
    assert_eq!(en.machine(), "2025-11-23T05:02:51Z");
    assert_eq!(en.time(), "05:02 UTC");
    assert_eq!(ja.exact(), "2025年11月23日 14:02:51（日本時間）");
    assert_eq!(ja.machine(), "2025-11-23T14:02:51+09:00");
    assert_eq!(ja.time(), "14:02（日本時間）");
    assert_eq!((en.brief(), en.brief_time()), ("23 Nov 2025, 05:02 UTC".into(), "05:02 UTC".into()));
    assert_eq!((ja.brief(), ja.brief_time()), ("2025年11月23日 14:02".into(), "14:02".into()));
    assert_eq!(Moment::new(UnixTime(u64::MAX), Lang::En).exact(), "1 Jan 1970, 00:00:00 UTC");
}
