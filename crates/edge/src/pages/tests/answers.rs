//! What programs and scripts are told.

use super::*;

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
                | "overloaded"
                | "loop"
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
    let response =
        LoginRequired { login: Some("https://www.tnkeng.work/x".into()), reference: reference() }.render(&context);
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let json: serde_json::Value = serde_json::from_str(&body(response)).unwrap();
    assert_eq!((json["error"].as_str(), json["reference"].as_str()), (Some("login_required"), Some("7F3A-92C1-E08B")));
    assert_eq!(json["login"], "https://www.tnkeng.work/x");
    let response = LoginRequired { login: None, reference: reference() }.render(&context);
    assert!(!response.headers().contains_key("access-control-allow-origin"), "for its own origin alone");
    let json: serde_json::Value = serde_json::from_str(&body(response)).unwrap();
    assert!(json.get("login").is_none(), "{json}");
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
fn whatever_is_down_on_the_way_to_a_service_says_when_to_come_back() {
    // F6
    let page = |failure| ServiceError { failure, host: host("www.tnkeng.work"), reference: reference(), at: AT };
    for failure in [Failure::NoTunnel, Failure::Busy, Failure::BadAnswer, Failure::Slow] {
        for json in [false, true] {
            let mut context = context(Lang::En);
            context.json = json;
            let response = page(failure).render(&context);
            let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            assert_eq!(seconds, Some("5"), "{failure:?}");
        }
    }
}

#[test]
fn who_navigates_gets_a_page_and_who_fetches_gets_json() {
    let table: [(&[(&str, &str)], bool); 9] = [
        (&[("sec-fetch-mode", "navigate"), ("accept", "*/*")], false),
        (&[("sec-fetch-mode", "cors"), ("accept", "text/html")], true),
        (&[("sec-fetch-mode", "no-cors")], true),
        (&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")], false),
        (&[("accept", "application/json")], true),
        (&[("accept", "*/*")], true),
        (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], true),
        (&[("accept", "text/html"), ("access-control-request-method", "PUT")], true),
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
