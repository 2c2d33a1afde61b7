//! Policies on what a provider says about a person.

use anyhow::Result;
use serde_json::json;
use tunnel_tests::{
    Provider, ProviderConfig,
    edge::LOGIN_HOST,
    html::words,
    provider::{Account, sign_in},
    run,
    stage::{APP, STAFF},
};

use super::{
    DEEP, HERE, assert_arrived, asserted, choose, declared, hostile,
    journeys::{GROUP, entra, entra_method, group_policy},
    method, oidc, set, stranger,
};

/// Groups, authentication methods, login methods and claims, each as the only thing that differs.
#[test]
fn what_a_provider_says_of_a_person_decides() {
    run("selectors", async |lab| {
        let provider = hostile(13000, "good").await?;
        let more = format!("issuer: \"{}\", claims: [department, level, manager], {HERE}", provider.issuer());
        let methods = [method(&lab, "hostile", "oidc", &more)?];
        // Rules, what a provider says, and whether that is enough.
        let rows = [
            ("{idp_group: staff}", r#"{"groups": ["guests", "staff"]}"#, true),
            ("{idp_group: staff}", r#"{"groups": ["guests"]}"#, false),
            ("{idp_group: staff}", r#"{"groups": []}"#, false),
            ("{idp_group: staff}", "{}", false),
            ("{idp_group: staff}", r#"{"groups": "staff"}"#, true),
            ("{idp_group: staff}", r#"{"groups": "guests,staff"}"#, false),
            ("{idp_group: staff}", r#"{"groups": ["staffing", "STAFF ", "xstaff"]}"#, false),
            ("{idp_group: staff}", r#"{"groups": {"staff": true}}"#, false),
            ("{idp_group: staff}", r#"{"groups": [["staff"]]}"#, false),
            ("{idp_group: staff}", r#"{"roles": ["staff"]}"#, false),
            ("{auth_method: mfa}", r#"{"amr": ["pwd", "mfa"]}"#, true),
            ("{auth_method: mfa}", r#"{"amr": ["pwd"]}"#, false),
            ("{auth_method: mfa}", "{}", false),
            ("{auth_method: mfa}", r#"{"amr": {"mfa": true}}"#, false),
            ("{oidc_claim: {name: department, value: ops}}", r#"{"department": "ops"}"#, true),
            ("{oidc_claim: {name: department, value: ops}}", r#"{"department": "devops"}"#, false),
            ("{oidc_claim: {name: department, value: ops}}", r#"{"department": "OPS"}"#, false),
            ("{oidc_claim: {name: department, value: ops}}", r#"{"department": ["sales", "ops"]}"#, true),
            ("{oidc_claim: {name: department, value: ops}}", r#"{"department": null}"#, false),
            ("{oidc_claim: {name: department, value: ops}}", "{}", false),
            ("{login_method: hostile}", "{}", true),
        ];
        let mut stage = None;
        for (rule, claims, admitted) in rows {
            let policies =
                format!("  - {{name: by-rule, action: allow, include: [{{email: {STAFF}}}], require: [{rule}]}}\n");
            let text = declared(&methods, &policies, &[("www", "", "by-rule"), ("app", "", "by-rule")]);
            let stage = match &stage {
                None => stage.insert(set(&lab, &text).await?),
                Some(stage) => {
                    stage.edge.apply(&text).await?;
                    stage
                }
            };
            stage.www.forget();
            provider.behave(|ways| ways.say(claims));
            let mut visitor = stranger(stage)?;
            let reply = visitor.browse(DEEP).await?;
            assert_eq!(
                reply.status() == 200,
                admitted,
                "{rule} of {claims}: {} {}",
                reply.status(),
                words(&reply.text())
            );
            assert_eq!(stage.www.bytes() > 0, admitted, "{rule} of {claims}");
            if !admitted {
                // What is no list of groups is no answer to believe, so that a rule against a group cannot be got around by it.
                let unreadable = claims.contains(r#""groups": {"#);
                assert_eq!(reply.status(), if unreadable { 502 } else { 403 }, "{rule} of {claims}");
            }
        }
        // What was asked for is passed on to services, and nothing else.
        let stage = stage.unwrap();
        provider.behave(|ways| {
            ways.say(
                r#"{"department": "ops", "level": 3, "manager": {"of": ["x"]}, "salary": 1000, "groups": ["staff"]}"#,
            );
        });
        assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
        let claims = asserted(&stage, STAFF).await?;
        let custom =
            |name: &str| if claims[name].is_null() { claims["custom"][name].clone() } else { claims[name].clone() };
        assert_eq!(
            (custom("department"), custom("level"), custom("manager")),
            (json!("ops"), json!(3), json!({"of": ["x"]})),
            "{claims}"
        );
        assert!(!claims.to_string().contains("salary"), "{claims}");
        Ok(())
    });
}

/// A claim cannot take the place of what the edge itself says about a person.
#[test]
fn a_claim_that_is_kept_does_not_stand_in_for_ours() {
    run("reserved-claims", async |lab| {
        let provider = hostile(13000, "good").await?;
        let ours =
            ["iss", "aud", "exp", "iat", "nbf", "sub", "email", "type", "identity_nonce", "country", "common_name"];
        let plain = oidc(&lab, "hostile", provider.issuer())?;
        let apps = [("www", "", "staff-only"), ("app", "", "staff-only")];
        let stage = set(&lab, &declared(std::slice::from_ref(&plain), "", &apps)).await?;
        for name in ours {
            let keeping = plain.replace(HERE, &format!("claims: [{name}, department], {HERE}"));
            let file = lab.write("keeping.yaml", &declared(&[keeping], "", &apps))?;
            let applied = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
            if applied.code != 0 {
                assert!(applied.said().contains(name), "{}", applied.said());
                continue;
            }
            // Not refused when written: then it has to be harmless.
            let own = ["iss", "aud", "exp", "iat", "nbf", "sub", "email"];
            let said = if own.contains(&name) { json!({}) } else { json!({name: "planted"}) };
            provider.behave(|ways| ways.say(&said.to_string()));
            assert_arrived(&stranger(&stage)?.browse(DEEP).await?, DEEP);
            let claims = asserted(&stage, STAFF).await?;
            assert_eq!(claims["iss"], format!("https://{LOGIN_HOST}"));
            assert_ne!(claims[name], "planted", "{claims}");
            assert_ne!(claims["sub"], "somebody", "{claims}");
        }
        Ok(())
    });
}

/// Groups are as of the login; the next one brings what is true then. O9.
#[test]
fn who_left_a_group_at_the_provider_is_out_at_the_next_login() {
    run("left", async |lab| {
        let mut provider = Provider::start(&lab, entra()).await?;
        let apps = [("www", "", "members"), ("app", "", "members")];
        let stage = set(&lab, &declared(&[entra_method(&lab)?], &group_policy(), &apps)).await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        let left = json!({"upn": "ann@example.test", "groups": ["5a5a5a5a-9999-4000-8000-000000000000"]});
        provider.account("ann", &Account::saying(&left)).await?;
        let mut elsewhere = stranger(&stage)?;
        let page = elsewhere.browse(DEEP).await?;
        let reply = sign_in(&mut elsewhere, &page, "ann").await?;
        assert_eq!(reply.status(), 403, "{}", words(&reply.text()));
        // A rule that keeps a group out is not got round by being in too many groups to be told.
        let excluding = format!(
            "  - {{name: members, action: allow, include: [{{email_domain: example.test}}], exclude: [{{idp_group: {GROUP}}}]}}\n"
        );
        stage.edge.apply(&declared(&[entra_method(&lab)?], &excluding, &apps)).await?;
        for (account, status) in [("many", 403), ("other", 200)] {
            let mut visitor = stranger(&stage)?;
            let page = visitor.browse(DEEP).await?;
            let reply = sign_in(&mut visitor, &page, account).await?;
            assert_eq!(reply.status(), status, "{account}: {}", words(&reply.text()));
        }
        Ok(())
    });
}

/// `amr` is the provider's word, and a group of one provider is not the other's of the same name, if the rule says whose.
#[test]
fn groups_and_methods_of_one_provider_are_not_those_of_another() {
    run("whose", async |lab| {
        let staff = json!({"email": "ann@example.test", "email_verified": true, "groups": ["admins"]});
        let trusted = ProviderConfig::new(13000, "trusted").with("ann", Account::saying(&staff).by(&["hwk", "mfa"]));
        let trusted = Provider::start(&lab, trusted).await?;
        let other = hostile(13001, "other").await?;
        other.behave(|ways| {
            ways.say(r#"{"email": "ann@example.test", "groups": ["admins"], "amr": ["hwk", "mfa"]}"#);
        });
        let groups = trusted_groups(&lab, trusted.issuer())?;
        let methods = [groups, oidc(&lab, "other", other.issuer())?];
        let policies = "  - {name: admins, action: allow, include: [{idp_group: admins}], \
             require: [{login_method: trusted}, {auth_method: hwk}]}\n  \
             - {name: whose, action: allow, include: [{idp_group: {name: admins, login_method: trusted}}]}\n";
        let apps = [("www", "", "admins"), ("app", "", "whose")];
        let stage = set(&lab, &declared(&methods, policies, &apps)).await?;
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let page = choose(&mut visitor, &page, "trusted").await?;
        assert_arrived(&sign_in(&mut visitor, &page, "ann").await?, DEEP);
        let app = format!("https://{APP}/");
        assert_arrived(&visitor.browse(&app).await?, &app);
        stage.www.forget();
        stage.app.forget();
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let reply = choose(&mut visitor, &page, "other").await?;
        assert_eq!(reply.status(), 403, "{}", words(&reply.text()));
        assert_eq!(visitor.browse(&app).await?.status(), 403);
        stage.assert_silence("the other provider's word is not enough");
        Ok(())
    });
}

/// A method that asks for the scope by which this provider tells groups.
pub(super) fn trusted_groups(lab: &tunnel_tests::Lab, issuer: &str) -> Result<String> {
    let more = format!("issuer: \"{issuer}\", scopes: [openid, email, groups], groups_claim: groups, {HERE}");
    method(lab, "trusted", "oidc", &more)
}
