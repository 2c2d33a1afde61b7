//! The pages about logging in at providers.

use super::*;
use crate::login::provider::TrialOutcome;

pub(super) fn pages(hostile: &str) -> Vec<Case> {
    let (www, text) = (host("www.tnkeng.work"), hostile.to_owned());
    let form = || Form::new("TOKEN").with("request", format!("R{hostile}"));
    let choices = || vec![MethodChoice { name: "entra".parse().unwrap(), label: format!("Microsoft Entra{text}") }];
    let passkey = || Some(PasskeyButton { name: "key".parse().unwrap(), form: form() });
    let several = |pin, passkey| Login {
        host: www.clone(),
        form: form(),
        methods: choices(),
        pin,
        passkey,
        email: text.clone(),
        problem: None,
        mail_delayed: true,
    };
    let trouble = |trouble| LoginTrouble {
        trouble,
        host: www.clone(),
        method: "google".parse().unwrap(),
        label: format!("Google{text}"),
        form: form(),
        again: form(),
        others: choices(),
        passkey: None,
        link: "https://www.tnkeng.work/x".into(),
        by_code: Some("/.access/login?app=A&request=B&choose=1".into()),
        reference: reference(),
        at: AT,
    };
    let trial = |refused: Vec<String>| LoginTrial {
        label: format!("Google{text}"),
        outcome: TrialOutcome {
            method: "google".parse().unwrap(),
            issuer: Some(format!("https://id.example{text}")),
            subject: Some(format!("somebody{text}")),
            email: Some(email("ann@example.com")),
            email_claim: Some(format!("email{text}")),
            email_accepted: Some("it says so".into()),
            groups: vec![format!("staff{text}")],
            github: vec![tunnel_policy::GithubOrganization { name: format!("org{text}"), teams: vec![text.clone()] }],
            amr: vec![format!("mfa{text}")],
            claims: [(format!("department{text}"), serde_json::json!([text]))].into(),
            refused,
        },
    };
    let denied = Denied {
        host: www.clone(),
        signed_in: Some(email("guest@tnkeng.work")),
        by: Some(format!("Google{text}")),
        form: Some(form()),
        reference: reference(),
        at: AT,
    };
    macro_rules! page {
        ($name:literal, $status:literal, $page:expr, [$($fact:literal),*]) => {{
            let page = $page;
            ($name, Box::new(move |c: &PageContext| page.render(c)) as Box<dyn Fn(&PageContext) -> Response>, $status, vec![$($fact),*])
        }};
    }
    vec![
        page!(
            "login-several",
            200,
            several(true, None),
            [
                r#"class="methods" method="post" action="/.access/login""#,
                r#"name="method" value="entra"><span class="mark" aria-hidden="true">M</span>Microsoft Entra"#,
                r#"name="method" value="pin""#,
                r#"class="or""#
            ]
        ),
        page!("login-without-pin", 200, several(false, None), [r#"value="entra""#]),
        page!(
            "script-login-several",
            200,
            several(true, passkey()),
            [r#"value="entra""#, r#"data-passkey="key""#, r#"class="or""#]
        ),
        page!(
            "script-trouble",
            503,
            LoginTrouble { passkey: passkey(), ..trouble(Trouble::Down) },
            [r#"value="entra""#, r#"data-passkey="key""#]
        ),
        page!(
            "trouble-down",
            503,
            trouble(Trouble::Down),
            [
                "Google",
                "503",
                "<code>google</code>",
                r#"value="google""#,
                r#"value="entra""#,
                "choose=1",
                "7F3A-92C1-E08B",
                r#"href="https://www.tnkeng.work/x""#
            ]
        ),
        page!("trouble-setup", 502, trouble(Trouble::Setup), ["Google", "502", "mailto:admin@tnkeng.work"]),
        page!("trouble-answer", 502, trouble(Trouble::Answer), ["Google", "502"]),
        page!("trouble-again", 400, trouble(Trouble::Again), ["Google", "400"]),
        page!("trouble-refused", 403, trouble(Trouble::Refused), ["Google", r#"value="google""#]),
        page!("trouble-recent", 403, trouble(Trouble::NotRecent), ["Google", r#"value="google""#]),
        page!("trouble-unverified", 403, trouble(Trouble::Unverified), [r#"name="account" value="other""#]),
        page!("trouble-email", 403, trouble(Trouble::NoEmail), [r#"name="account" value="other""#]),
        page!("trouble-account", 403, trouble(Trouble::Account), [r#"name="account" value="other""#, "www"]),
        page!("trouble-much", 403, trouble(Trouble::TooMuch), ["403"]),
        page!(
            "trial-ask",
            200,
            TrialAsk {
                method: "google".parse().unwrap(),
                label: format!("Google{text}"),
                form: form().with("id", format!("ID{text}")),
            },
            ["Google", "<code>google</code>", r#"method="post" action="/.access/login-test""#, "notice warn", "TOKEN"]
        ),
        page!(
            "trial",
            200,
            trial(vec![]),
            ["https://id.example", "somebody", "ann@example.com", "staff", "mfa", "department", "it says so"]
        ),
        page!(
            "trial-refused",
            422,
            trial(vec![format!("no{text}"), "neither".into()]),
            ["notice bad", "No", "Neither."]
        ),
        page!("trial-lapsed", 404, TrialLapsed, ["edge admin login-method test"]),
        page!(
            "leaving",
            200,
            Leaving { label: format!("Google{text}"), url: "https://id.example/authorize?a=b&c=d".into() },
            ["Google", r#"href="https://id.example/authorize?a=b&#38;c=d""#]
        ),
        page!(
            "start-again-anywhere",
            400,
            StartAgain { host: None, link: Some("https://www.tnkeng.work/".into()), reference: reference(), at: AT },
            [r#"href="https://www.tnkeng.work/""#]
        ),
        page!(
            "start-again-nowhere",
            400,
            StartAgain { host: None, link: None, reference: reference(), at: AT },
            ["7F3A-92C1-E08B"]
        ),
        page!("denied-by-provider", 403, denied, ["Google", "guest@tnkeng.work"]),
    ]
}

#[test]
fn a_provider_that_is_down_says_when_to_come_back() {
    for (render, status) in
        pages("").into_iter().filter(|(name, ..)| name.starts_with("trouble")).map(|(_, r, s, _)| (r, s))
    {
        for json in [false, true] {
            let mut context = context(Lang::En);
            context.json = json;
            let response = render(&context);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503, "{status}");
        }
    }
}

#[test]
fn a_press_leads_to_the_provider_by_a_page_whose_policy_names_nobody() {
    let page = Leaving { label: "Google".into(), url: "https://id.example/authorize?a=b&c=d".into() };
    let response = page.render(&context(Lang::En));
    assert_eq!(response.headers()[header::REFRESH], "0;url=https://id.example/authorize?a=b&c=d");
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("form-action 'self';"), "{policy}");
}

#[test]
fn whoever_cannot_be_sent_to_the_beginning_is_told_how_to_get_there_and_given_no_button() {
    let page =
        |link: Option<&str>| StartAgain { host: None, link: link.map(str::to_owned), reference: reference(), at: AT };
    for (lang, words) in [(Lang::En, "open the page that you wanted"), (Lang::Ja, "開きたかったページ")] {
        let without = body(page(None).render(&context(lang)));
        assert!(without.contains(words) && !without.contains("class=\"btn"), "{without}");
        let with = body(page(Some("https://www.tnkeng.work/x")).render(&context(lang)));
        assert!(!with.contains(words) && with.contains("class=\"btn primary\""), "{with}");
    }
}
