//! Every page of the edge, rendered by the edge's own library and served with the headers it gives, so that a browser can
//! look at pages that are hard to come by.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tunnel_edge::{
    Lang, Reference, Response,
    pages::{
        Account, AccountSession, AddPasskey, ApproveClient, ApproveConnector, ApproveProblem, BadRequest, ClientCode,
        ClientResult, ComeIn, DeletePasskey, Denied, EdgeFault, EmailProblem, EnrolResult, Failure, ForgedForm, Form,
        FormKept, FormLost, HostChoice, Invitation, InvitationClosed, LanguageSet, Launcher, Leaving, LoggedOut, Login,
        LoginTrial, LoginTrouble, LogoutAsk, Look, Looped, MethodChoice, MethodNotAllowed, Missing, NoAdministrator,
        NotFound, Onward, Opening, Overloaded, PageContext, PasskeyButton, PasskeyLine, Pin, PinProblem, ServiceError,
        SetupDone, SetupEmail, SetupLapsed, SetupPin, SignedIn, StartAgain, TcpOnly, Tile, TileKind, TooLong,
        TooManyRequests, TrialAsk, TrialLapsed, Trouble, Waiting,
    },
};
use tunnel_proto::{EmailAddress, Hostname, Name, UnixTime};

/// A page.
pub struct Page {
    /// What it is called, in addresses and files.
    pub name: &'static str,
    /// Whether `docs/pages.md` shows it.
    pub shown: bool,
    /// Whether it is another page in other words, which is looked at in one language and window only.
    pub variant: bool,
    render: Box<dyn Fn(&PageContext) -> Response + Send + Sync>,
}

/// 23 November 2026, 02:12:31 UTC.
const AT: UnixTime = UnixTime(1_795_399_951);

fn host(name: &str) -> Hostname {
    Hostname::parse(&format!("{name}.example.com")).expect("a hostname")
}

fn staff() -> EmailAddress {
    "staff@example.com".parse().expect("an address")
}

fn guest() -> EmailAddress {
    "guest@example.com".parse().expect("an address")
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn form() -> Form {
    Form::new("token")
}

const fn reference() -> Reference {
    Reference::from_random([0x7f, 0x3a, 0x92, 0xc1, 0xe0, 0x8b])
}

fn later(seconds: u64) -> UnixTime {
    UnixTime(AT.0 + seconds)
}

/// What the pages stand in, unless one says otherwise.
fn surroundings(look: Arc<Look>, lang: Lang) -> PageContext {
    let mut context = PageContext::new(Hostname::parse("example.com").expect("a hostname"), lang);
    context.admin_contact = "admin@example.com".parse().ok();
    context.look = look;
    context
}

impl Page {
    /// The page as it is written.
    pub fn html(&self, lang: Lang) -> String {
        let response = (self.render)(&surroundings(Look::plain(), lang));
        let body = futures::executor::block_on(response.into_body().collect()).expect("a page of ours");
        String::from_utf8_lossy(&body.to_bytes()).into_owned()
    }

    /// A page that differs from another in words alone.
    fn variant(mut self) -> Self {
        self.variant = true;
        self
    }

    /// The same in other surroundings.
    fn amid(self, change: fn(&mut PageContext)) -> Self {
        let render = self.render;
        let amid = move |context: &PageContext| {
            let mut context = context.clone();
            change(&mut context);
            render(&context)
        };
        Self { render: Box::new(amid), ..self }
    }
}

macro_rules! page {
    ($name:literal, $shown:literal, $page:expr) => {{
        let page = $page;
        let render = Box::new(move |context: &PageContext| page.render(context));
        Page { name: $name, shown: $shown, variant: false, render }
    }};
}

/// All of them.
pub fn pages() -> Vec<Page> {
    [login(), errors(), machines(), first_run(), own(), renewal()].into_iter().flatten().collect()
}

fn login() -> Vec<Page> {
    let method = |method: &str, label: &str| MethodChoice { name: name(method), label: label.into() };
    let button = || Some(PasskeyButton { name: name("passkey"), form: form() });
    let login = |problem: Option<EmailProblem>| Login {
        host: host("www"),
        form: form(),
        methods: Vec::new(),
        pin: true,
        passkey: None,
        email: if problem.is_none() { String::new() } else { "staff.example.com".into() },
        problem,
        mail_delayed: false,
    };
    let methods = vec![method("entra", "Microsoft Entra"), method("google", "Google")];
    let pin = |problem: Option<PinProblem>, typed: &str| Pin {
        host: host("www"),
        email: staff().to_string(),
        form: form(),
        again: form(),
        other: "/".into(),
        typed: typed.into(),
        problem,
        mail_delayed: problem.is_some(),
    };
    let trouble = |trouble| LoginTrouble {
        trouble,
        host: host("www"),
        method: name("entra"),
        label: "Microsoft Entra".into(),
        form: form(),
        again: form(),
        others: vec![method("google", "Google")],
        passkey: button(),
        link: "/".into(),
        by_code: Some("/".into()),
        reference: reference(),
        at: AT,
    };
    let denied = |signed_in: Option<EmailAddress>| Denied {
        host: host("www"),
        form: signed_in.is_some().then(form),
        signed_in,
        by: None,
        reference: reference(),
        at: AT,
    };
    let again = |host: Option<Hostname>, link: Option<&str>| StartAgain {
        host,
        link: link.map(str::to_owned),
        reference: reference(),
        at: AT,
    };
    let trial = |outcome| {
        let outcome = serde_json::from_value(outcome).expect("what came of a test");
        LoginTrial { label: "Microsoft Entra".into(), outcome }
    };
    let works = json!({
        "method": "entra", "issuer": "https://issuer.example.com/", "subject": "a1b2c3", "email": staff(),
        "email_claim": "email", "email_accepted": "email_verified is true", "groups": ["staff", "admins"],
        "github": [{"name": "example", "teams": ["network"]}], "amr": ["pwd", "mfa"], "claims": {"department": "IT"},
        "refused": [],
    });
    let says_nothing = json!({
        "method": "entra", "groups": [], "github": [], "amr": [], "claims": {}, "refused": ["there is no address"],
    });
    let troubles = [
        ("trouble-setup", Trouble::Setup),
        ("trouble-answer", Trouble::Answer),
        ("trouble-again", Trouble::Again),
        ("trouble-refused", Trouble::Refused),
        ("trouble-not-recent", Trouble::NotRecent),
        ("trouble-unverified", Trouble::Unverified),
        ("trouble-no-email", Trouble::NoEmail),
        ("trouble-account", Trouble::Account),
        ("trouble-too-much", Trouble::TooMuch),
    ];
    let troubles = troubles.map(|(name, one)| {
        let page = trouble(one);
        let render = Box::new(move |context: &PageContext| page.render(context));
        Page { name, shown: false, variant: true, render }
    });
    let by_provider = Denied { by: Some("Microsoft Entra".into()), ..denied(Some(staff())) };
    let only_passkey = Login { pin: false, passkey: button(), ..login(None) };
    let mut pages = vec![
        page!("login", true, login(None)),
        page!("login-methods", true, Login { methods, passkey: button(), ..login(None) }),
        page!("login-error", false, login(Some(EmailProblem::NotAnAddress))),
        page!("login-passkey", false, Login { passkey: button(), ..login(None) }).variant(),
        page!("login-passkey-only", false, only_passkey).variant(),
        page!("login-delayed", false, Login { mail_delayed: true, ..login(None) }).variant(),
        page!("login-no-administrator", false, login(None))
            .variant()
            .amid(|context| context.no_administrator_yet = true),
        page!("login-trouble", true, trouble(Trouble::Down)),
        page!(
            "login-trouble-alone",
            false,
            LoginTrouble { others: Vec::new(), passkey: None, by_code: None, ..trouble(Trouble::Down) }
        )
        .variant()
        .amid(|context| context.admin_contact = None),
        page!("pin", true, pin(None, "")),
        page!("pin-error", true, pin(Some(PinProblem::Wrong { left: 4 }), "48291305")),
        page!("pin-expired", false, pin(Some(PinProblem::Expired), "48291305")).variant(),
        page!("pin-not-digits", false, pin(Some(PinProblem::NotDigits), "4829 l3O5")).variant(),
        page!("pin-void", false, pin(Some(PinProblem::Void), "48291305")).variant(),
        page!("opening", false, Opening { to: Onward::Page(host("www")), url: "/".into() }),
        page!("come-in", false, ComeIn { host: host("www"), url: "https://www.example.com/pay?x=1".into() }),
        page!("returning", false, Opening { to: Onward::Program, url: "/".into() }),
        page!("leaving", false, Leaving { label: "Microsoft Entra".into(), url: "/".into() }),
        page!("denied", true, denied(Some(staff()))),
        page!("denied-by-provider", false, by_provider).variant(),
        page!("denied-early", true, denied(None)),
        page!("start-again", true, again(Some(host("www")), Some("/"))),
        page!("start-again-elsewhere", false, again(Some(host("www")), None)),
        page!("start-again-anywhere", false, again(None, None)).variant(),
        page!("trial-ask", true, TrialAsk { method: name("entra"), label: "Microsoft Entra".into(), form: form() }),
        page!("trial-lapsed", false, TrialLapsed),
        page!("trial-works", true, trial(works)),
        page!("trial-refused", false, trial(says_nothing)),
        page!("logout", true, LogoutAsk { signed_in: Some(staff()), form: form() }),
        page!("logout-nobody", false, LogoutAsk { signed_in: None, form: form() }).variant(),
        page!("logged-out", true, LoggedOut { again: Some("/".into()) }),
        page!("language-set", false, LanguageSet),
    ];
    pages.extend(troubles);
    pages
}

fn errors() -> Vec<Page> {
    let service = |failure| ServiceError { failure, host: host("www"), reference: reference(), at: AT };
    let command = "access tcp --hostname rdp.example.com --url 127.0.0.1:PORT".to_owned();
    vec![
        page!("error-502-alone", false, service(Failure::BadAnswer))
            .variant()
            .amid(|context| context.admin_contact = None),
        page!("error-502", true, service(Failure::BadAnswer)),
        page!("error-503", false, service(Failure::Busy)),
        page!("error-504", true, service(Failure::Slow)),
        page!("error-530", true, service(Failure::NoTunnel)),
        page!("tcp-only", true, TcpOnly { host: host("rdp"), command }),
        page!("not-found", true, NotFound { missing: Missing::Hostname(host("wwww")), reference: reference(), at: AT }),
        page!("no-page", false, NotFound { missing: Missing::Page, reference: reference(), at: AT })
            .amid(|context| context.admin_contact = None),
        page!("loop", false, Looped { host: host("www"), reference: reference(), at: AT }),
        page!("method-not-allowed", false, MethodNotAllowed { allow: "GET", reference: reference(), at: AT }),
        page!("target-too-long", false, TooLong { of_target: true, reference: reference(), at: AT }),
        page!("head-too-large", true, TooLong { of_target: false, reference: reference(), at: AT }),
        page!("bad-request", false, BadRequest { reference: reference(), at: AT }),
        page!("form-refused", false, ForgedForm { link: "/".into(), reference: reference(), at: AT }),
        page!("too-many", false, TooManyRequests { retry_after: 30, reference: reference(), at: AT }),
        page!("overloaded", false, Overloaded { reference: reference(), at: AT }),
        page!("fault", false, EdgeFault { reference: reference(), at: AT }),
    ]
}

fn machines() -> Vec<Page> {
    let hosts = vec![
        HostChoice { host: "www.example.com".into(), value: "www".into(), served_by: None, ticked: true },
        HostChoice {
            host: "rdp.example.com".into(),
            value: "rdp".into(),
            served_by: Some(name("office")),
            ticked: false,
        },
    ];
    let approve = |hosts, problem| ApproveConnector {
        code: "KXBT-3MRQ".into(),
        address: "203.0.113.24".parse().expect("an address"),
        machine: "nas-office".into(),
        software: "connector 0.1.0, Linux".into(),
        asked: AT,
        lapses: later(600),
        now: later(60),
        hosts,
        typed: String::new(),
        problem,
        form: form(),
    };
    let client = |code, waiting: Option<Waiting>| ApproveClient {
        host: host("rdp"),
        app: name("rdp"),
        email: staff(),
        code,
        computer: "ann-laptop".into(),
        command: "access rdp --hostname rdp.example.com --url 127.0.0.1:13389".into(),
        address: "198.51.100.7".parse().expect("an address"),
        same: waiting.map(|_| false),
        waiting,
        until: later(86_400),
        form: form(),
    };
    let waiting = Waiting { asked: AT, lapses: later(600), now: later(60) };
    let not_compared = approve(hosts.clone(), Some(ApproveProblem::NotCompared));
    let same = ApproveClient { same: Some(true), ..client(ClientCode::Type { wrong: false }, Some(waiting)) };
    let approved = EnrolResult::Approved { machine: "nas-office".into(), hosts: vec!["www.example.com".into()] };
    vec![
        page!("approve-connector", true, approve(hosts, None)),
        page!("approve-connector-error", false, approve(Vec::new(), Some(ApproveProblem::NoHost))),
        page!("approve-connector-bad-host", false, approve(Vec::new(), Some(ApproveProblem::BadHost))).variant(),
        page!("approve-connector-not-compared", false, not_compared).variant(),
        page!("approved", true, approved),
        page!("refused", false, EnrolResult::Refused),
        page!("lapsed", false, EnrolResult::Lapsed),
        page!("approve-client", true, client(ClientCode::Compare("7492".into()), None)),
        page!("approve-device", true, client(ClientCode::Type { wrong: true }, Some(waiting))),
        page!("approve-device-same", false, same).variant(),
        page!("client-approved", false, ClientResult::Approved { computer: "ann-laptop".into(), host: host("rdp") }),
        page!("client-refused", false, ClientResult::Refused),
        page!("client-guessed", false, ClientResult::Guessed),
        page!("client-lapsed", false, ClientResult::Lapsed),
    ]
}

fn first_run() -> Vec<Page> {
    let pin = |in_terminal, problem: Option<PinProblem>| SetupPin {
        email: staff(),
        in_terminal,
        form: form(),
        again: form(),
        other: "/".into(),
        typed: if problem.is_some() { "48291305".into() } else { String::new() },
        problem,
    };
    let not_an_address = SetupEmail { form: form(), email: "staff".into(), problem: Some(EmailProblem::NotAnAddress) };
    let commands = vec!["connector --hostname www.localhost --url http://localhost:3000".into()];
    vec![
        page!("setup-email", true, SetupEmail { form: form(), email: String::new(), problem: None }),
        page!("setup-email-error", false, not_an_address).variant(),
        page!("setup-pin", true, pin(true, None)),
        page!("setup-pin-mail", false, pin(false, None)),
        page!("setup-pin-error", false, pin(false, Some(PinProblem::Wrong { left: 4 }))),
        page!("setup-pin-void", false, pin(true, Some(PinProblem::Void))),
        page!("setup-done", true, SetupDone { email: staff(), commands }),
        page!("setup-lapsed", false, SetupLapsed),
        page!("no-administrator", true, NoAdministrator { quick_start: false }),
        page!("no-administrator-quick", false, NoAdministrator { quick_start: true }),
        page!(
            "invitation",
            true,
            Invitation { email: staff(), name: Some("Ann".into()), expires: later(86_400), form: form() }
        ),
        page!(
            "invitation-unnamed",
            false,
            Invitation { email: staff(), name: None, expires: later(86_400), form: form() }
        )
        .variant(),
        page!("invitation-gone", false, InvitationClosed::Gone),
        page!("invitation-closed", false, InvitationClosed::NoMethod),
    ]
}

fn own() -> Vec<Page> {
    let session = |device: Option<&str>, client, here, hosts: &[&str]| AccountSession {
        id: format!("{here}"),
        device: device.map(str::to_owned),
        client,
        hosts: hosts.iter().map(|one| host(one)).collect(),
        by: None,
        source: "198.51.100.7".parse().ok(),
        created: AT,
        seen: later(3600),
        expires: later(86_400),
        here,
    };
    let sessions = || {
        vec![
            session(Some("Firefox on Windows"), false, true, &["www"]),
            session(Some("ann-laptop"), true, false, &["rdp"]),
        ]
    };
    let unnamed = || {
        let by = |session: AccountSession| AccountSession { by: Some("Microsoft Entra".into()), ..session };
        let long = &["www", "wiki", "a-department-with-a-long-name.and-a-place-of-its-own"];
        vec![by(session(None, false, true, long)), by(session(None, true, false, &[]))]
    };
    let passkey = || PasskeyLine { id: "ab".into(), label: "Ann’s laptop".into(), created: AT, used: None };
    let account = |passkeys| Account {
        email: staff(),
        by: None,
        since: AT,
        passkeys,
        may_add: true,
        sessions: sessions(),
        form: form(),
        logout: form(),
    };
    let tile = |app: &str, kind, command: Option<&str>| Tile {
        name: name(app),
        place: host(app).to_string(),
        kind,
        url: command.is_none().then(|| format!("https://{}/", host(app))),
        command: command.map(str::to_owned),
    };
    let tiles = vec![
        tile("www", TileKind::Web, None),
        tile("wiki", TileKind::Away, None),
        tile("rdp", TileKind::Tcp, Some("access tcp --hostname rdp.example.com --url 127.0.0.1:PORT")),
        tile(
            "office",
            TileKind::Bastion,
            Some("access tcp --hostname office.example.com --destination HOST:PORT --url 127.0.0.1:PORT"),
        ),
    ];
    let pattern = Tile { place: "*.example.com/dav*".into(), url: None, ..tile("dav", TileKind::Web, None) };
    let searched = tiles.iter().cloned().chain([pattern]).collect();
    let used = PasskeyLine { used: Some(AT), ..passkey() };
    let others = Account {
        by: Some("Microsoft Entra".into()),
        may_add: false,
        sessions: unnamed(),
        ..account(vec![used, passkey()])
    };
    let launcher = |tiles: Vec<Tile>, all, find: &str| Launcher {
        email: staff(),
        tiles,
        all,
        find: find.into(),
        sessions: sessions(),
        form: form(),
        logout: form(),
    };
    vec![
        page!("launcher", true, launcher(tiles, 4, "")),
        page!("launcher-search", false, launcher(searched, 20, "w")),
        page!("launcher-empty", true, launcher(Vec::new(), 0, "")),
        page!("launcher-not-found", false, launcher(Vec::new(), 20, "wiki")),
        page!("account", true, account(vec![passkey()])),
        page!("account-empty", false, account(Vec::new())),
        page!("account-unnamed", false, others),
        page!("add-passkey", true, AddPasskey { email: staff(), label: "Firefox on Windows".into(), form: form() }),
        page!("delete-passkey-of-many", false, DeletePasskey { passkey: passkey(), last: false, form: form() })
            .variant(),
        page!("delete-passkey", true, DeletePasskey { passkey: passkey(), last: true, form: form() }),
    ]
}

fn renewal() -> Vec<Page> {
    let sign_in = || "/".to_owned();
    let kept = |writer, other| FormKept {
        host: host("www"),
        target: "/".into(),
        fields: vec![("title".into(), "Minutes".into()), ("text".into(), "…".into())],
        sign_in: sign_in(),
        writer,
        other,
    };
    vec![
        page!("form-kept", true, kept(Some(staff()), None)),
        page!("form-kept-unknown", false, kept(None, None)).variant(),
        page!("form-other", true, kept(Some(staff()), Some(guest()))),
        page!("form-lost", true, FormLost { host: host("www"), sign_in: sign_in(), signed_out: false }),
        page!("form-lost-out", false, FormLost { host: host("www"), sign_in: sign_in(), signed_out: true }).variant(),
        page!("signed-in", true, SignedIn { host: host("www") }),
    ]
}

/// A server of all pages at `/NAME`, in the language of `?en` or `?ja`. It ends when dropped.
#[derive(Debug)]
pub struct Gallery {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gallery {
    /// A gallery on 127.0.0.1.
    ///
    /// # Errors
    /// No port.
    pub async fn open(look: Arc<Look>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let pages = Arc::new(pages());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (pages, look) = (pages.clone(), look.clone());
                tokio::spawn(async move {
                    let answer = |request: Request<Incoming>| {
                        let response = answer(&pages, &look, &request);
                        async move { Ok::<_, Infallible>(response) }
                    };
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
                });
            }
        });
        Ok(Self { address, task })
    }

    /// The address of a page.
    pub fn url(&self, page: &str, lang: Lang) -> String {
        format!("http://{}/{page}?{}", self.address, lang.tag())
    }
}

impl Drop for Gallery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(pages: &[Page], look: &Arc<Look>, request: &Request<Incoming>) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query());
    let asset = path.strip_prefix("/.access/assets/");
    if let Some(asset) = asset.and_then(|asset| look.serve(asset, query, request.headers())) {
        return asset;
    }
    let lang = query.and_then(Lang::of_tag).unwrap_or_default();
    let mut context = surroundings(look.clone(), lang);
    context.back = Some(path.to_owned());
    let Some(page) = pages.iter().find(|page| path.strip_prefix('/') == Some(page.name)) else {
        return NotFound { missing: Missing::Page, reference: reference(), at: AT }.render(&context);
    };
    let mut response = (page.render)(&context);
    // Pages that are left at once stay to be looked at; and nobody here would go on after an upgrade.
    response.headers_mut().remove("refresh");
    response.headers_mut().remove("upgrade");
    response
}
