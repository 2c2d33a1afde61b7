use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use tunnel_proto::{EmailAddress, Hostname, UnixTime};

use super::*;
use crate::Response;

mod providers;

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
        method: "pin".parse().unwrap(),
        source: Some("198.51.100.7".parse().unwrap()),
        created: AT,
        seen: AT,
        expires: UnixTime(AT.0 + 86_400),
        here,
    };
    let account = |passkeys, may_add| Account {
        email: email("staff@tnkeng.work"),
        method: "pin".parse().unwrap(),
        since: AT,
        passkeys,
        may_add,
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
        target: "https://www.tnkeng.work:8443".into(),
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
        target: Some("http://127.0.0.1:13389".into()),
    };
    let waiting = Waiting { asked: AT, lapses: UnixTime(AT.0 + 300), now: UnixTime(AT.0 + 60) };
    let elsewhere = |wrong| ApproveClient {
        same: Some(false),
        target: None,
        code: ClientCode::Type { wrong },
        ..client(Some(waiting))
    };
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
            [r#"data-passkey="passkey""#, "<noscript>"]
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
        page!("pin-void", 422, pin(Some(PinProblem::Void)), ["code-error"]),
        page!("pin-expired", 422, pin(Some(PinProblem::Expired)), ["code-error"]),
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
        page!("too-many", 429, TooManyRequests { retry_after: 30, reference: reference(), at: AT }, ["429"]),
        page!("fault", 500, EdgeFault { reference: reference(), at: AT }, ["500", "7F3A-92C1-E08B"]),
        page!("502", 502, service(Failure::BadAnswer), ["502", "www.tnkeng.work", "7F3A-92C1-E08B", r#"href="""#]),
        page!("504", 504, service(Failure::Slow), ["504", "7F3A-92C1-E08B"]),
        page!("530", 530, service(Failure::NoTunnel), ["530", "7F3A-92C1-E08B", "admin@tnkeng.work"]),
        page!("503", 503, service(Failure::Busy), ["503"]),
        page!(
            "tcp-only",
            426,
            TcpOnly { host: www.clone(), command: format!("access tcp --hostname www.tnkeng.work{text}") },
            ["access tcp --hostname"]
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
            [r#"role="alert""#]
        ),
        page!("approve-no-host", 422, approve(hosts.clone(), Some(ApproveProblem::NoHost)), [r#"role="alert""#]),
        page!("approve-bad-host", 422, approve(vec![], Some(ApproveProblem::BadHost)), [r#"role="alert""#]),
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
        page!("client-guessed", 429, ClientResult::Guessed, []),
        page!(
            "client-approved",
            200,
            ClientResult::Approved { computer: format!("ann-laptop{text}"), host: www.clone() },
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
            assert_eq!(
                html.matches("<form").count(),
                html.matches(FORM_TOKEN).count(),
                "{name}: each form has the token"
            );
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
fn the_policy_is_exactly_the_strict_one_and_a_form_adds_one_origin() {
    let strict = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    for (name, render, ..) in every_page("") {
        let response = render(&context(Lang::En));
        let headers = response.headers();
        let targets = match name {
            name if name.starts_with("pin") => " https://www.tnkeng.work:8443",
            "client" => " http://127.0.0.1:13389",
            _ => "",
        };
        let mut expected = strict.replace("form-action 'self'", &format!("form-action 'self'{targets}"));
        if name.starts_with("script-") {
            expected =
                expected.replace("default-src 'none'", "default-src 'none'; script-src 'self'; connect-src 'self'");
        }
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], expected, "{name}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{name}"); // H11
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{name}");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer", "{name}");
        assert_eq!(headers[header::CONTENT_LANGUAGE], "en", "{name}");
        assert!(headers[header::VARY].to_str().unwrap().contains("Accept-Language"), "{name}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8", "{name}");
    }
    for bad in ["https://a; script-src *", "javascript:alert(1)", "https://", "https://a b", "*"] {
        assert_eq!(csp(Some(bad)), strict, "{bad}");
    }
}

#[test]
fn no_page_needs_what_the_policy_forbids() {
    let handler = regex::Regex::new(r"<[^>]* on[a-z]+=").unwrap();
    for (name, render, ..) in every_page("") {
        let html = body(render(&context(Lang::Ja)));
        // The one script, from a file of ours, on the pages that have a policy for it.
        let script = format!(r#"<script src="{}" defer></script>"#, assets::link("passkey.js"));
        assert_eq!(html.contains(&script), name.starts_with("script-"), "{name}");
        let html = html.replacen(&script, "", 1);
        for forbidden in ["style=", "<style", "<script", "javascript:", "data:", "http-equiv", ".html"] {
            assert!(!html.contains(forbidden), "{name} has {forbidden}");
        }
        assert!(!handler.is_match(&html), "{name} has a handler");
    }
}

#[test]
fn a_program_gets_json_with_the_same_status() {
    let mut context = context(Lang::En);
    context.json = true;
    for (name, render, status, _) in every_page("") {
        let failure = matches!(
            name,
            "start-again"
                | "start-again-nowhere"
                | "denied"
                | "denied-early"
                | "no-host"
                | "no-page"
                | "bad-request"
                | "method"
                | "forged"
                | "too-many"
                | "fault"
                | "502"
                | "504"
                | "530"
                | "503"
                | "tcp-only"
                | "no-administrator"
        );
        if !failure && !name.starts_with("trouble") {
            continue;
        }
        let response = render(&context);
        assert_eq!(response.status().as_u16(), status, "{name}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{name}");
        let json: serde_json::Value = serde_json::from_str(&body(response)).unwrap();
        assert!(json["error"].as_str().is_some_and(|code| !code.is_empty()), "{name}");
        let message = json["message"].as_str().unwrap();
        assert!(message.len() > 10 && !message.contains("-text"), "{name}: {message}");
    }
    let response = LoginRequired { reference: reference() }.render(&context);
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let json: serde_json::Value = serde_json::from_str(&body(response)).unwrap();
    assert_eq!((json["error"].as_str(), json["reference"].as_str()), (Some("login_required"), Some("7F3A-92C1-E08B")));
}

#[test]
fn our_script_gets_words_for_whatever_is_in_the_way() {
    for lang in LANGS {
        let problems = [
            (PasskeyProblem::Refused, 403, "passkey_refused", None),
            (PasskeyProblem::Void, 410, "passkey_void", None),
            (
                PasskeyProblem::Renew { method: "entra".parse().unwrap() },
                403,
                "passkey_renew",
                Some("/.access/account"),
            ),
            (
                PasskeyProblem::Elsewhere { methods: vec!["okta".parse().unwrap(), "work".parse().unwrap()] },
                403,
                "passkey_elsewhere",
                None,
            ),
            (PasskeyProblem::SignInAgain { link: "/.access/x" }, 403, "sign_in_again", Some("/.access/x")),
            (PasskeyProblem::TooMany, 409, "passkeys_many", Some("/.access/account")),
            (PasskeyProblem::NotMade, 403, "passkey_not_made", None),
            (PasskeyProblem::NotKept, 403, "passkey_not_kept", None),
            (PasskeyProblem::NoMethod, 409, "no_method", None),
            (PasskeyProblem::InvitationGone, 410, "invitation_gone", None),
        ];
        for (problem, status, code, link) in problems {
            let response = problem.render(&context(lang), &reference());
            assert_eq!(response.status().as_u16(), status, "{code}");
            let json: serde_json::Value = serde_json::from_str(&body(response)).unwrap();
            assert_eq!((json["error"].as_str(), json["link"].as_str()), (Some(code), link));
            assert_eq!(json["link_text"].is_string(), link.is_some(), "{code}");
            assert_eq!(json["reference"], "7F3A-92C1-E08B");
            let message = json["message"].as_str().unwrap();
            assert!(message.chars().count() > 10 && !message.contains(['{', '<']), "{code}: {message}");
            assert_eq!(message.contains("entra"), code == "passkey_renew", "{message}");
            assert_eq!(message.contains("okta, work"), code == "passkey_elsewhere", "{message}");
        }
    }
}

#[test]
fn a_tunnel_that_is_down_says_when_to_come_back() {
    let page = |failure| ServiceError { failure, host: host("www.tnkeng.work"), reference: reference(), at: AT };
    for (failure, retry) in
        [(Failure::NoTunnel, true), (Failure::Busy, true), (Failure::BadAnswer, false), (Failure::Slow, false)]
    {
        for json in [false, true] {
            let mut context = context(Lang::En);
            context.json = json;
            let response = page(failure).render(&context);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), retry, "{failure:?}");
        }
    }
}

#[test]
fn who_navigates_gets_a_page_and_who_fetches_gets_json() {
    let table: [(&[(&str, &str)], bool); 8] = [
        (&[("sec-fetch-mode", "navigate"), ("accept", "*/*")], false),
        (&[("sec-fetch-mode", "cors"), ("accept", "text/html")], true),
        (&[("sec-fetch-mode", "no-cors")], true),
        (&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], false),
        (&[("accept", "application/json")], true),
        (&[("accept", "*/*")], true),
        (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], true),
        (&[], true),
    ];
    for (fields, json) in table {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(http::HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value));
        }
        assert_eq!(wants_json(&headers), json, "{fields:?}");
    }
}

#[test]
fn links_to_the_other_language_keep_the_query_and_stay_on_the_page() {
    let mut context = context(Lang::En);
    assert_eq!(context.language_link("ja"), "?lang=ja");
    assert_eq!(context.action("/.access/login"), "/.access/login");
    context.query = Some("app=A&lang=en&request=B%3D".into());
    assert_eq!(context.language_link("ja"), "?app=A&request=B%3D&lang=ja");
    assert_eq!(context.action("/.access/login"), "/.access/login?lang=en");
    // Whatever a stranger put into the query, the link is relative to the page: it begins with `?`.
    context.query = Some("//evil.example/&x".into());
    assert!(context.language_link("ja").starts_with('?'));
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
    assert_eq!(Moment::new(UnixTime(u64::MAX), Lang::En).exact(), "1 Jan 1970, 00:00:00 UTC");
}

#[test]
fn assets_are_small_typed_and_kept_by_their_content() {
    let link = assets::link("tunnel.css");
    let query = link.split_once('?').unwrap().1;
    let response = assets::serve("tunnel.css", Some(query), &HeaderMap::new()).unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
    assert!(response.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    let etag = response.headers()[header::ETAG].clone();
    let css = body(response);
    assert!(css.len() <= 24 * 1024, "the stylesheet has {} bytes", css.len());
    let other = assets::serve("tunnel.css", Some("v=old"), &HeaderMap::new()).unwrap();
    assert_eq!(other.headers()[header::CACHE_CONTROL], "public, max-age=300");
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_NONE_MATCH, etag);
    let unchanged = assets::serve("tunnel.css", None, &headers).unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert!(body(unchanged).is_empty());
    for (name, kind) in [("logo.svg", "image/svg+xml"), ("passkey.js", "text/javascript; charset=utf-8")] {
        let asset = assets::serve(name, None, &HeaderMap::new()).unwrap();
        assert_eq!(asset.headers()[header::CONTENT_TYPE], kind);
        assert_eq!(asset.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
    for missing in ["", "../tunnel.css", "tunnel.css/", "TUNNEL.CSS"] {
        assert!(assets::serve(missing, None, &HeaderMap::new()).is_none(), "{missing}");
    }
}

mod words_of_the_locales {
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
}
