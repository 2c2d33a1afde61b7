//! What every page looks like, to people who see it and to people who do not.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;
use tunnel_edge::{Lang, config::Brand, pages::Look};
use tunnel_tests::{
    Browser, Canary, EdgeConfig, Process, Stage,
    browser::BrowserOptions,
    edge::{ACCESS, LOGIN_HOST},
    gallery::{self, Gallery, Page},
    html::words,
    process::{long, program},
    run,
    stage::{STAFF, WWW},
};

const DESKTOP: (u32, u32) = (1280, 800);
const PHONE: (u32, u32) = (390, 844);
/// The narrowest window in which nothing is cut off (WCAG 2.2, 1.4.10).
const NARROW: (u32, u32) = (320, 640);
const WIDTHS: &str = "return await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth])";
/// What is pressed and lower than 44 pixels (WCAG 2.2, 2.5.5, which leaves links in sentences alone), or not all in sight.
const TARGETS: &str = "return await page.evaluate(() => {
    const pressed = 'a, button, input:not([type=hidden], [type=checkbox], [type=radio])';
    return [...document.querySelectorAll(pressed)].filter((one) => {
        const { height, left, right } = one.getBoundingClientRect();
        return !one.closest('p, .skip') && height > 0 && (height < 43.5 || left < 0 || right > window.innerWidth);
    }).map((one) => one.outerHTML);
})";

/// The size of a window, and a theme.
type Show = ((u32, u32), &'static str);

/// Each theme in each window; the first two have both of both, and so do the last two.
static SHOWS: [Show; 4] = [(DESKTOP, "light"), (PHONE, "dark"), (DESKTOP, "dark"), (PHONE, "light")];

/// The pictures of docs/pages.md: what the file has behind the page's name, and the way in which it is shown.
const PICTURES: [(&str, Lang, Show); 8] = [
    ("", Lang::En, (DESKTOP, "light")),
    ("-phone", Lang::En, (PHONE, "light")),
    ("-ja", Lang::Ja, (PHONE, "dark")),
    ("-dark", Lang::En, (DESKTOP, "dark")),
    ("-phone-dark", Lang::En, (PHONE, "dark")),
    ("-ja-desktop", Lang::Ja, (DESKTOP, "light")),
    ("-ja-desktop-dark", Lang::Ja, (DESKTOP, "dark")),
    ("-ja-phone", Lang::Ja, (PHONE, "light")),
];

/// How a page is looked at: in the long form in all eight ways. In the short one, each window is seen in each theme between
/// the two languages, and of pages that differ in words alone each is seen once.
fn looks(page: &Page, number: usize) -> Vec<(Lang, &'static [Show])> {
    if long() {
        return vec![(Lang::En, &SHOWS[..]), (Lang::Ja, &SHOWS[..])];
    }
    let both = [(Lang::En, &SHOWS[..2]), (Lang::Ja, &SHOWS[2..])];
    if page.variant {
        let (lang, shows) = both[number % 2];
        return vec![(lang, &shows[1..])];
    }
    both.to_vec()
}

/// Light and dark, phone and desktop, English and Japanese: axe-core finds nothing, the contrasts that it leaves open are
/// enough, nothing is cut off or too small to be pressed, and no policy is violated. With `TUNNEL_SCREENSHOTS` it also keeps
/// the pictures of docs/pages.md.
#[test]
fn every_page_is_a_product() {
    run("appearance", async |lab| {
        let look = Look::plain();
        let gallery = Gallery::open(look).await?;
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        let pictures = std::env::var_os("TUNNEL_SCREENSHOTS").map(PathBuf::from);
        let mut found = Vec::new();
        for (number, page) in gallery::pages().into_iter().enumerate() {
            for (lang, shows) in looks(&page, number) {
                browser.open(&gallery.url(page.name, lang)).await?;
                found.extend(wrong_with(&mut browser, page.name, lang, shows).await?);
            }
            if let Some(folder) = &pictures {
                keep(&mut browser, folder, &gallery, &page).await?;
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        let complaints = browser.complaints().await?;
        // The browser notes answers that are no 200 by themselves.
        let complaints: Vec<_> = complaints.into_iter().filter(|said| !said.contains("status of")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        Ok(())
    });
}

/// What is wrong with the page that is open, in these windows and themes and in a narrow window.
async fn wrong_with(browser: &mut Browser, page: &str, lang: Lang, shows: &[Show]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (window, theme) in shows.iter().copied() {
        browser.show(window, theme).await?;
        let wrong = browser.audit().await?;
        found.extend(
            wrong.into_iter().map(|wrong| format!("{page} in {} {theme} at {}: {wrong}", lang.tag(), window.0)),
        );
    }
    browser.show(NARROW, "light").await?;
    let widths = browser.script(WIDTHS, json!(null)).await?;
    let widths: (f64, f64) = serde_json::from_value(widths)?;
    if widths.0 > widths.1 {
        found.push(format!("{page} in {} scrolls sideways: {widths:?}", lang.tag()));
    }
    let targets: Vec<String> = serde_json::from_value(browser.script(TARGETS, json!(null)).await?)?;
    found.extend(targets.into_iter().map(|one| format!("{page} in {} on a phone: {one}", lang.tag())));
    Ok(found)
}

/// Takes the pictures of a page.
async fn keep(browser: &mut Browser, folder: &Path, gallery: &Gallery, page: &Page) -> Result<()> {
    for (suffix, lang, (window, theme)) in PICTURES.into_iter().take(page.pictures.count()) {
        browser.open(&gallery.url(page.name, lang)).await?;
        browser.show(window, theme).await?;
        browser.picture(&folder.join(format!("{}{suffix}.png", page.name))).await?;
    }
    Ok(())
}

/// The colour of an organisation gives the hue; that it can be read is ours to see to.
#[test]
fn every_colour_of_a_brand_can_be_read() {
    run("brand-colours", async |lab| {
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        let mut found = Vec::new();
        for color in ["#ffe600", "#7c3aed", "#0b1f3a"] {
            let brand = Brand { color: Some(color.to_owned()), ..Brand::default() };
            let gallery = Gallery::open(Look::load(&brand)?).await?;
            for page in ["login", "launcher", "denied"] {
                browser.open(&gallery.url(page, Lang::En)).await?;
                for theme in ["light", "dark"] {
                    browser.show(DESKTOP, theme).await?;
                    let wrong = browser.audit().await?;
                    found.extend(wrong.into_iter().map(|wrong| format!("{page} in {color}, {theme}: {wrong}")));
                }
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    });
}

/// The document shows every page, those that people see most in all eight ways, and no other pictures.
#[test]
fn the_document_of_pages_shows_what_there_is() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pages.md")).unwrap();
    let picture = regex::Regex::new(r#"src="images/([a-z0-9-]+)\.png" alt="[^"]+" width="#).unwrap();
    let mut named: Vec<_> = picture.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    let suffixes = |page: &Page| PICTURES.into_iter().take(page.pictures.count());
    let mut there: Vec<_> = gallery::pages()
        .iter()
        .flat_map(|page| suffixes(page).map(move |(suffix, ..)| format!("{}{suffix}", page.name)))
        .collect();
    named.sort();
    there.sort();
    assert_eq!(named, there);
}

/// The first three ways have both themes, both windows and both languages between them, and all eight are each of them once.
#[test]
fn pictures_have_every_window_theme_and_language() {
    let kinds = |count| {
        let some = || PICTURES.into_iter().take(count);
        let windows: std::collections::BTreeSet<_> = some().map(|(_, _, (window, _))| window).collect();
        let themes: std::collections::BTreeSet<_> = some().map(|(_, _, (_, theme))| theme).collect();
        let langs: std::collections::BTreeSet<_> = some().map(|(_, lang, _)| lang.tag()).collect();
        let ways: std::collections::BTreeSet<_> = some().map(|(_, lang, show)| (lang.tag(), show)).collect();
        (windows.len(), themes.len(), langs.len(), ways.len())
    };
    assert_eq!(kinds(gallery::Pictures::Three.count()), (2, 2, 2, 3));
    assert_eq!(kinds(gallery::Pictures::All.count()), (2, 2, 2, 8));
    for file in PICTURES.iter().map(|(suffix, ..)| *suffix).filter(|suffix| !suffix.is_empty()) {
        assert!(gallery::pages().iter().all(|page| !page.name.ends_with(file)), "a page's name ends with {file}");
    }
}

/// Every template in each of its branches: whatever words one names are on some page of the gallery. Mails are looked at as
/// mails.
#[test]
fn the_gallery_shows_every_template_in_each_of_its_branches() {
    let edge = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/edge");
    let files = |folder: &str| {
        let mut paths: Vec<_> =
            std::fs::read_dir(format!("{edge}/{folder}")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), text)
        })
    };
    // A message, or each of its variants, is found by what stands between its arguments.
    let mut messages = std::collections::BTreeMap::<String, Vec<String>>::new();
    let mut last = String::new();
    for line in files("locales/en").flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        let variant = line.trim_start().trim_start_matches('*');
        if let Some((key, text)) = line.split_once(" = ").filter(|_| line.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            last = key.to_owned();
            let said = if text.ends_with("->") { Vec::new() } else { vec![text.to_owned()] };
            messages.insert(last.clone(), said);
        } else if let Some((_, text)) = variant.split_once("] ").filter(|_| variant.starts_with('[')) {
            messages.get_mut(&last).unwrap().push(text.to_owned());
        }
    }
    let argument = regex::Regex::new(r"\{ \$[a-z]+ \}").unwrap();
    let pages: Vec<_> = gallery::pages().iter().map(|page| page.html(Lang::En)).collect();
    let shows = |page: &str, message: &str| {
        let mut rest = page;
        argument.split(message).all(|piece| match rest.split_once(piece) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    };
    let named = regex::Regex::new(r#"say\("([a-z0-9-]+)"\)"#).unwrap();
    let mut missing = Vec::new();
    for (template, text) in files("templates").filter(|(name, _)| name.ends_with(".html") && !name.contains("_mail")) {
        for key in named.captures_iter(&text).map(|found| found[1].to_owned()) {
            let said = &messages[&key];
            if !said.iter().any(|message| pages.iter().any(|page| shows(page, message))) {
                missing.push(format!("{template} says {key}: {said:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "no page of the gallery shows what\n{}", missing.join("\n"));
}

/// A login with the keyboard alone, in a browser that runs no script; the language chosen on the page stays.
#[test]
fn a_person_without_mouse_and_script_logs_in() {
    run("keyboard", async |lab| {
        let stage = Stage::set(&lab).await?;
        let options = BrowserOptions { ca: Some(stage.ca.clone()), no_script: true, ..Default::default() };
        let mut browser = Browser::start(&lab, options).await?;
        browser.open(&format!("https://{WWW}/deep")).await?;
        browser.press("a[hreflang=ja]").await?;
        browser.arrives(&format!("https://{LOGIN_HOST}/.access/login*")).await?;
        assert!(browser.text().await?.contains("サインイン"), "{}", browser.text().await?);
        browser.press("a[hreflang=en]").await?;
        let reach = "for (let n = 0; n < 20; n++) {
            await page.keyboard.press('Tab');
            if (await page.locator(`[name=${args.name}]:focus`).count()) return true;
        } return false";
        assert_eq!(browser.script(reach, json!({"name": "email"})).await?, json!(true), "{}", browser.text().await?);
        let type_in =
            "await page.keyboard.type(args.text); await page.keyboard.press('Enter'); await page.waitForURL(args.url)";
        let next = format!("https://{LOGIN_HOST}/.access/login*challenge=*");
        browser.script(type_in, json!({"text": STAFF, "url": next})).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        // The field for the code has the focus by itself, as soon as the page is there to be seen.
        browser.script("await page.locator('[name=code]:focus').waitFor()", json!({})).await?;
        browser.script(type_in, json!({"text": code, "url": format!("https://{WWW}/deep")})).await?;
        let complaints = browser.complaints().await?;
        assert!(!complaints.iter().any(|said| said.contains("Security Policy")), "{complaints:?}");
        Ok(())
    });
}

/// Tab until something has the focus.
async fn reach(browser: &mut Browser, to: &str) -> Result<()> {
    let tab = "for (let n = 0; n < 60; n++) {
        await page.keyboard.press('Tab');
        if (await page.locator(`${args.to}:focus`).count()) return true;
    } return false";
    let reached = browser.script(tab, json!({"to": to})).await?;
    ensure!(reached == json!(true), "no way to {to} at {}:\n{}", browser.url().await?, browser.text().await?);
    Ok(())
}

/// Types into what has the focus, presses Enter, and waits for the page that this leads to.
async fn enter(browser: &mut Browser, text: &str, url: &str) -> Result<()> {
    let enter =
        "await page.keyboard.type(args.text); await page.keyboard.press('Enter'); await page.waitForURL(args.url)";
    browser.script(enter, json!({"text": text, "url": url})).await.map(drop)
}

/// What else people do, by the keyboard alone: approve a machine, open an application from the launcher, send a form once more
/// whose session had ended, sign out.
#[test]
fn a_person_without_mouse_approves_opens_sends_a_kept_form_and_signs_out() {
    run("keys", async |lab| {
        let form = b"<form method=post action=/save><input name=title><button>Save</button></form>";
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", form.len());
        let page = [head.as_bytes(), form].concat();
        let manners = move |_: &tunnel_tests::Head| (page.clone(), tunnel_tests::canary::After::KeepAlive);
        let stage = Stage::with(&lab, ACCESS, Canary::answering(std::sync::Arc::new(manners)).await?).await?;
        let admin = "admin@example.test";
        let ca = lab.write("ca.pem", &stage.ca)?;
        let mut machine = lab.command(program("connector")?);
        machine.args(["login", "--edge", &format!("https://{LOGIN_HOST}"), "--hostname", "db.example.test"]);
        machine.arg("--edge-ca").arg(&ca).arg("--config-dir").arg(lab.path("machine"));
        let mut waiting = Process::start("connector login", machine)?;
        let url = waiting.log.wait_for(r"https://access\.example\.test/\S+").await?.remove(0);
        let options = BrowserOptions { ca: Some(stage.ca.clone()), no_script: true, ..Default::default() };
        let mut browser = Browser::start(&lab, options).await?;

        browser.open(&url).await?;
        reach(&mut browser, "[name=email]").await?;
        enter(&mut browser, admin, &format!("https://{LOGIN_HOST}/.access/login*challenge=*")).await?;
        let code = stage.smtp.mail_to(admin, 1).await?.pin()?;
        enter(&mut browser, &code, "**/.access/enroll**").await?;
        reach(&mut browser, "[name=same]").await?;
        browser.script("await page.keyboard.press('Space')", json!(null)).await?;
        reach(&mut browser, "button[value=approve]").await?;
        enter(&mut browser, "", "**/.access/enroll**").await?;
        let status = waiting.wait().await?;
        ensure!(status.success(), "{}", waiting.log.text());

        browser.open(&format!("https://{LOGIN_HOST}/")).await?;
        reach(&mut browser, &format!("a[href=\"https://{WWW}/\"]")).await?;
        enter(&mut browser, "", &format!("https://{WWW}/")).await?;

        reach(&mut browser, "[name=title]").await?;
        let over = "await context.clearCookies({ name: '__Host-access', domain: args.host })";
        browser.script(over, json!({"host": WWW})).await?;
        stage.www.forget();
        enter(&mut browser, "Minutes", &format!("https://{WWW}/save")).await?;
        stage.www.assert_heard_nothing("the session has ended");
        reach(&mut browser, "main a[target=_blank]").await?;
        let beside = "const [tab] =
                await Promise.all([context.waitForEvent('page'), page.keyboard.press('Enter')]);
            await tab.waitForURL(args.url);
            await tab.close();
            await page.bringToFront()";
        let url = format!("https://{WWW}/.access/signed-in?path=%2Fsave");
        browser.script(beside, json!({"url": url})).await?;
        reach(&mut browser, "main form button").await?;
        let send = "await Promise.all([page.waitForEvent('load'), page.keyboard.press('Enter')])";
        browser.script(send, json!(null)).await?;
        stage.www.wait_until(|www| www.heard("title=Minutes")).await?;

        browser.open(&format!("https://{WWW}/.access/logout")).await?;
        reach(&mut browser, "main form button").await?;
        let sign_out = "const [answer] = await Promise.all([
                page.waitForResponse((one) => one.request().method() === 'POST'), page.keyboard.press('Enter')
            ]);
            return answer.status()";
        assert_eq!(browser.script(sign_out, json!(null)).await?, json!(200));
        let left = stage.edge.run(&["admin", "session", "list", "--json"]).await?.ok()?;
        assert_eq!(serde_json::from_str::<serde_json::Value>(&left)?, json!([]), "nobody is logged in any more");
        let complaints = browser.complaints().await?;
        assert!(!complaints.iter().any(|said| said.contains("Security Policy")), "{complaints:?}");
        Ok(())
    });
}

/// An application that sends whoever has just logged in on to a third origin: no policy of ours is in the way.
#[test]
fn an_application_may_lead_on_to_anybody_after_a_login() {
    run("third-origin", async |lab| {
        let third = Canary::start().await?;
        let to = format!("{}/arrived", third.url());
        let away = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let leading =
            Canary::answering(std::sync::Arc::new(move |_| (away.clone(), tunnel_tests::canary::After::KeepAlive)));
        let stage = Stage::with(&lab, ACCESS, leading.await?).await?;
        let mut browser =
            Browser::start(&lab, BrowserOptions { ca: Some(stage.ca.clone()), ..Default::default() }).await?;
        browser.open(&format!("https://{WWW}/")).await?;
        browser.fill("email", STAFF).await?;
        browser.press("button[value=pin]").await?;
        browser.fill("code", &stage.smtp.mail_to(STAFF, 1).await?.pin()?).await?;
        browser.press("form:has([name=code]) button").await?;
        browser.arrives(&to).await?;
        let complaints = browser.complaints().await?;
        assert!(!complaints.iter().any(|said| said.contains("Security Policy")), "{complaints:?}");
        Ok(())
    });
}

/// Name, colour, logo and language of the operator, on pages and in mails, and what is wrong with them before the start.
#[test]
fn pages_and_mails_carry_the_brand() {
    run("brand", async |lab| {
        let logo = lab.path("logo.svg");
        std::fs::write(&logo, "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>")?;
        let table = format!(
            "[brand]\nname = \"Example & Co\"\ncolor = \"#7c3aed\"\nlogo = {logo:?}\nlogo_width = \"4rem\"\nlanguage = \"ja\""
        );
        let branded = |config: EdgeConfig| EdgeConfig { tls: format!("{}\n{table}", config.tls), ..config };
        let stage = Stage::configured(&lab, branded, ACCESS, Canary::start().await?).await?;
        let mut visitor = stage.stranger()?;
        visitor.language = "fr".into();
        let page = visitor.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let text = page.text();
        assert!(text.contains("<html lang=\"ja\"") && text.contains("Example &#38; Co"), "{text}");
        let mail = stage.smtp.mail_to(STAFF, 1).await?;
        assert!(mail.text.contains("Example & Co") && mail.html.contains("Example &#38; Co"), "{mail:?}");
        let find =
            |pattern: &str, text: &str| regex::Regex::new(pattern).unwrap().captures(text).unwrap()[1].to_owned();
        let style = find(r#"<link rel="stylesheet" href="([^"]+)""#, &text);
        let style = visitor.get(&format!("https://{WWW}{style}")).await?;
        assert!(style.header("cache-control").is_some_and(|kept| kept.contains("immutable")));
        let css = style.text();
        assert!(css.contains("--brand: #7c3aed; --brand-logo: url(") && css.contains("--brand-logo-width: 4rem"));
        let address = find(r#"--brand-logo: url\("(/[^"]+)"\)"#, &css);
        let served = visitor.get(&format!("https://{WWW}{address}")).await?;
        assert_eq!((served.status(), served.header("content-type")), (200, Some("image/svg+xml")));
        let policy = served.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
        Ok(())
    });
}

/// The launcher in a browser: what is there, and a session that ends by a press.
#[test]
fn the_launcher_opens_applications_and_ends_sessions() {
    run("launcher", async |lab| {
        let stage = Stage::set(&lab).await?;
        let mut elsewhere = stage.somebody(WWW, STAFF).await?;
        let mut visitor = stage.stranger()?;
        // Nobody is sent two codes within half a minute.
        tokio::time::sleep(std::time::Duration::from_secs(31)).await;
        let first = visitor.login(&stage.smtp, &format!("https://{LOGIN_HOST}/"), STAFF).await?;
        assert_eq!((first.status(), first.url.as_str()), (200, format!("https://{LOGIN_HOST}/").as_str()));
        super::pages::assert_safe_page(&first);
        for link in ["https://www.example.test/", "https://app.example.test/"] {
            assert!(first.text().contains(&format!("href=\"{link}\"")), "{}", first.text());
        }
        // An application opens without another login.
        assert_eq!(visitor.browse(&format!("https://{WWW}/")).await?.status(), 200);
        assert_eq!(elsewhere.get(&format!("https://{WWW}/")).await?.status(), 200);
        let page = visitor.get(&format!("https://{LOGIN_HOST}/")).await?;
        let ends = |form: &tunnel_tests::html::Form| form.buttons.iter().any(|(name, _)| name == "session");
        let forms: Vec<_> = tunnel_tests::html::forms(&page.text()).into_iter().filter(ends).collect();
        assert_eq!(forms.len(), 2, "{}", words(&page.text()));
        // This browser's is the first.
        let other = forms[1].clone();
        let number = other.buttons[0].1.clone();
        let done = visitor.submit(&page.url, &other.with("session", &number)).await?;
        assert_eq!((done.status(), done.header("location")), (303, Some(format!("https://{LOGIN_HOST}/").as_str())));
        assert_ne!(elsewhere.get(&format!("https://{WWW}/")).await?.status(), 200, "it ended at once");
        assert_eq!(visitor.get(&format!("https://{WWW}/")).await?.status(), 200);
        stage.edge.apply(&ACCESS.replace("guest@example.test", STAFF)).await?;
        let page = visitor.get(&format!("https://{LOGIN_HOST}/")).await?;
        assert!(
            page.status() == 200 && page.text().contains("class=\"empty\""),
            "whom nothing admits: {}",
            page.text()
        );
        Ok(())
    });
}

#[test]
fn a_logo_that_is_none_is_told_before_the_start() {
    use tunnel_edge::pages::look::LogoError;
    let brand = Brand { logo: Some("/nowhere/logo.svg".into()), ..Brand::default() };
    assert!(matches!(Look::load(&brand), Err(LogoError::Unreadable { .. })));
}
