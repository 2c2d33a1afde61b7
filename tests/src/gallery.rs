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

/// In how many of the ways in which a page is looked at `docs/pages.md` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// One, for pages that look like others.
    One,
    /// Three, in which there are both themes, windows and languages.
    Three,
    /// Each theme in each window in each language, for the pages that people see most.
    All,
}

impl Pictures {
    /// Their number.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
            Self::All => 8,
        }
    }
}

/// A page.
pub struct Page {
    /// What it is called, in addresses and files.
    pub name: &'static str,
    /// The pictures of it in `docs/pages.md`.
    pub pictures: Pictures,
    /// Whether it is another page in other words, which the short form of the test looks at in one way only.
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
    ($name:literal, $pictures:ident, $page:expr) => {{
        let page = $page;
        let render = Box::new(move |context: &PageContext| page.render(context));
        Page { name: $name, pictures: Pictures::$pictures, variant: false, render }
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
        mail_delayed: false,
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
        "method": "entra", "groups": [], "github": [], "amr": [], "claims": {}, "refused": ["the provider names no e-mail address"],
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
        Page { name, pictures: Pictures::One, variant: true, render }
    });
    let by_provider = Denied { by: Some("Microsoft Entra".into()), ..denied(Some(staff())) };
    let only_passkey = Login { pin: false, passkey: button(), ..login(None) };
    let mut pages = vec![
        page!("login", All, login(None)),
        page!("login-methods", Three, Login { methods, passkey: button(), ..login(None) }),
        page!("login-error", One, login(Some(EmailProblem::NotAnAddress))),
        page!("login-passkey", One, Login { passkey: button(), ..login(None) }).variant(),
        page!("login-passkey-only", One, only_passkey).variant(),
        page!("login-delayed", One, Login { mail_delayed: true, ..login(None) }).variant(),
        page!("login-no-administrator", One, login(None)).variant().amid(|context| context.no_administrator_yet = true),
        page!("login-trouble", Three, trouble(Trouble::Down)),
        page!(
            "login-trouble-alone",
            One,
            LoginTrouble { others: Vec::new(), passkey: None, by_code: None, ..trouble(Trouble::Down) }
        )
        .variant()
        .amid(|context| context.admin_contact = None),
        page!("pin", All, pin(None, "")),
        page!("pin-error", Three, pin(Some(PinProblem::Wrong { left: 4 }), "48291305")),
        page!("pin-expired", One, pin(Some(PinProblem::Expired), "48291305")).variant(),
        page!("pin-not-digits", One, pin(Some(PinProblem::NotDigits), "4829 l3O5")).variant(),
        page!("pin-void", One, pin(Some(PinProblem::Void), "48291305")).variant(),
        page!("pin-delayed", One, Pin { mail_delayed: true, ..pin(None, "") }).variant(),
        page!("opening", One, Opening { to: Onward::Page(host("www")), url: "/".into() }),
        page!("come-in", One, ComeIn { host: host("www"), url: "https://www.example.com/pay?x=1".into() }),
        page!("returning", One, Opening { to: Onward::Program, url: "/".into() }),
        page!("leaving", One, Leaving { label: "Microsoft Entra".into(), url: "/".into() }),
        page!("denied", Three, denied(Some(staff()))),
        page!("denied-by-provider", One, by_provider).variant(),
        page!("denied-early", Three, denied(None)),
        page!("start-again", Three, again(Some(host("www")), Some("/"))),
        page!("start-again-anywhere", One, again(None, None)).variant(),
        page!("trial-ask", Three, TrialAsk { method: name("entra"), label: "Microsoft Entra".into(), form: form() }),
        page!("trial-lapsed", One, TrialLapsed),
        page!("trial-works", Three, trial(works)),
        page!("trial-refused", One, trial(says_nothing)),
        page!("logout", All, LogoutAsk { signed_in: Some(staff()), form: form() }),
        page!("logout-nobody", One, LogoutAsk { signed_in: None, form: form() }).variant(),
        page!("logged-out", Three, LoggedOut { again: Some("/".into()) }),
        page!("language-set", One, LanguageSet),
    ];
    pages.extend(troubles);
    pages
}

fn errors() -> Vec<Page> {
    let service = |failure| ServiceError { failure, host: host("www"), reference: reference(), at: AT };
    let command = "access tcp --hostname rdp.example.com --url 127.0.0.1:PORT".to_owned();
    vec![
        page!("error-502-alone", One, service(Failure::BadAnswer))
            .variant()
            .amid(|context| context.admin_contact = None),
        page!("error-502", Three, service(Failure::BadAnswer)),
        page!("error-503", Three, service(Failure::Busy)),
        page!("error-504", Three, service(Failure::Slow)),
        page!("error-530", All, service(Failure::NoTunnel)),
        page!("tcp-only", Three, TcpOnly { host: host("rdp"), command }),
        page!(
            "not-found",
            Three,
            NotFound { missing: Missing::Hostname(host("wwww")), reference: reference(), at: AT }
        ),
        page!("no-page", Three, NotFound { missing: Missing::Page, reference: reference(), at: AT })
            .amid(|context| context.admin_contact = None),
        page!("loop", Three, Looped { host: host("www"), reference: reference(), at: AT }),
        page!("method-not-allowed", Three, MethodNotAllowed { allow: "GET", reference: reference(), at: AT }),
        page!("target-too-long", Three, TooLong { of_target: true, reference: reference(), at: AT }),
        page!("head-too-large", Three, TooLong { of_target: false, reference: reference(), at: AT }),
        page!("bad-request", Three, BadRequest { reference: reference(), at: AT }),
        page!("form-refused", Three, ForgedForm { link: "/".into(), reference: reference(), at: AT }),
        page!("too-many", Three, TooManyRequests { retry_after: 30, reference: reference(), at: AT }),
        page!("overloaded", Three, Overloaded { reference: reference(), at: AT }),
        page!("fault", Three, EdgeFault { reference: reference(), at: AT }),
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
    let bad_host =
        ApproveConnector { typed: "www.example.org".into(), ..approve(Vec::new(), Some(ApproveProblem::BadHost)) };
    let not_compared = approve(hosts.clone(), Some(ApproveProblem::NotCompared));
    let same = ApproveClient { same: Some(true), ..client(ClientCode::Type { wrong: false }, Some(waiting)) };
    let approved = EnrolResult::Approved { machine: "nas-office".into(), hosts: vec!["www.example.com".into()] };
    vec![
        page!("approve-connector", All, approve(hosts, None)),
        page!("approve-connector-error", One, approve(Vec::new(), Some(ApproveProblem::NoHost))),
        page!("approve-connector-bad-host", One, bad_host).variant(),
        page!("approve-connector-not-compared", One, not_compared).variant(),
        page!("approved", Three, approved),
        page!("refused", One, EnrolResult::Refused),
        page!("lapsed", One, EnrolResult::Lapsed),
        page!("approve-client", Three, client(ClientCode::Compare("7492".into()), None)),
        page!("approve-device", Three, client(ClientCode::Type { wrong: true }, Some(waiting))),
        page!("approve-device-same", One, same).variant(),
        page!(
            "client-approved",
            One,
            ClientResult::Approved { computer: "ann-laptop".into(), host: host("rdp"), until: later(86_400) }
        ),
        page!("client-refused", One, ClientResult::Refused),
        page!("client-guessed", One, ClientResult::Guessed { reference: reference(), at: AT }),
        page!("client-lapsed", One, ClientResult::Lapsed),
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
        page!("setup-email", Three, SetupEmail { form: form(), email: String::new(), problem: None }),
        page!("setup-email-error", One, not_an_address).variant(),
        page!("setup-pin", Three, pin(true, None)),
        page!("setup-pin-mail", One, pin(false, None)),
        page!("setup-pin-error", One, pin(false, Some(PinProblem::Wrong { left: 4 }))),
        page!("setup-pin-void", One, pin(true, Some(PinProblem::Void))),
        page!("setup-done", Three, SetupDone { email: staff(), commands }),
        page!("setup-lapsed", One, SetupLapsed),
        page!("no-administrator", Three, NoAdministrator { quick_start: false }),
        page!("no-administrator-quick", One, NoAdministrator { quick_start: true }),
        page!(
            "invitation",
            Three,
            Invitation { email: staff(), name: Some("Ann".into()), expires: later(86_400), form: form() }
        ),
        page!(
            "invitation-unnamed",
            One,
            Invitation { email: staff(), name: None, expires: later(86_400), form: form() }
        )
        .variant(),
        page!("invitation-gone", One, InvitationClosed::Gone),
        page!("invitation-closed", One, InvitationClosed::NoMethod),
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
    let key = PasskeyLine { label: "Key in the safe".into(), ..passkey() };
    let used = PasskeyLine { used: Some(AT), ..passkey() };
    let others =
        Account { by: Some("Microsoft Entra".into()), may_add: false, sessions: unnamed(), ..account(vec![used, key]) };
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
        page!("launcher", All, launcher(tiles, 4, "")),
        page!("launcher-search", One, launcher(searched, 20, "example")),
        page!("launcher-empty", Three, launcher(Vec::new(), 0, "")),
        page!("launcher-not-found", One, launcher(Vec::new(), 20, "payroll")),
        page!("account", All, account(vec![passkey()])),
        page!("account-empty", One, account(Vec::new())),
        page!("account-unnamed", One, others),
        page!("add-passkey", Three, AddPasskey { email: staff(), label: "Firefox on Windows".into(), form: form() }),
        page!("delete-passkey-of-many", One, DeletePasskey { passkey: passkey(), last: false, form: form() }).variant(),
        page!("delete-passkey", Three, DeletePasskey { passkey: passkey(), last: true, form: form() }),
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
        page!("form-kept", Three, kept(Some(staff()), None)),
        page!("form-kept-unknown", One, kept(None, None)).variant(),
        page!("form-other", Three, kept(Some(staff()), Some(guest()))),
        page!("form-lost", Three, FormLost { host: host("www"), sign_in: sign_in(), signed_out: false }),
        page!("form-lost-out", One, FormLost { host: host("www"), sign_in: sign_in(), signed_out: true }).variant(),
        page!("signed-in", Three, SignedIn { host: host("www") }),
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
