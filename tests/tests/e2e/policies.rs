//! Policies tried out, decisions explained and made again; people and sessions that end.

use std::time::{Duration, Instant};

use serde_json::Value;
use tunnel_tests::{
    Canary, EdgeConfig, Stage, run,
    stage::{APP, STAFF, WWW},
};

const BOSS: &str = "boss@example.test";

/// `www` for staff, `app` for the boss from the office, or for anybody who only looks at `/open`.
const ACCESS: &str = "\
login_methods:
  - {name: pin, type: one_time_pin}
groups:
  - {name: staff, include: [{email_domain: example.test}]}
policies:
  - {name: staff-only, action: allow, include: [{group: staff}], exclude: [{email: guest@example.test}]}
  - {name: boss-only, action: allow, include: [{email: boss@example.test}], require: [{ip: 127.0.0.0/8}]}
  - {name: public, action: bypass, include: [everyone]}
applications:
  - {name: www, hostnames: [www.example.test], policies: [staff-only]}
  - {name: app, hostnames: [app.example.test], policies: [boss-only]}
  - {name: open, hostnames: [app.example.test/open/*], policies: [public]}
";

async fn json(stage: &Stage, args: &[&str]) -> anyhow::Result<(i32, Value)> {
    let done = stage.edge.run(&[args, &["--json"]].concat()).await?;
    let value = serde_json::from_str(&done.stdout).map_err(|error| anyhow::anyhow!("{error}: {}", done.said()))?;
    Ok((done.code, value))
}

#[test]
fn an_administrator_tries_policies_explains_decisions_and_makes_them_again() {
    run("policies", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::start().await?).await?;
        let mut staff = stage.somebody(WWW, STAFF).await?;
        let boss = stage.somebody(WWW, BOSS).await?;
        drop(boss);

        // Somebody who might come, rule by rule.
        let (code, tested) = json(&stage, &["policy", "test", "--application", "app", "--email", BOSS]).await?;
        assert_eq!((code, &tested["admitted"]), (0, &1.into()), "{tested}");
        assert_eq!(tested["tested"][0]["why"], "policy `boss-only` admits");
        assert_eq!(tested["tested"][0]["known"], true);
        let far = ["policy", "test", "--application", "app", "--email", BOSS, "--ip", "203.0.113.9"];
        let (code, tested) = json(&stage, &far).await?;
        assert_eq!((code, &tested["admitted"]), (3, &0.into()), "{tested}");
        assert_eq!(tested["tested"][0]["why"], "no policy matches");
        let words = stage.edge.run(&far).await?;
        for said in
            ["would be turned away", "policy `boss-only` (allow) does not match", "require ip `127.0.0.0/8`: no"]
        {
            assert!(words.stdout.contains(said), "`{said}` in {}", words.said());
        }
        let new = ["policy", "test", "--application", "www", "--email", "new@example.test"];
        let unknown = stage.edge.run(&new).await?;
        assert_eq!(unknown.code, 1);
        assert!(unknown.stderr.contains("--method"), "{}", unknown.said());
        assert_eq!(json(&stage, &[&new[..], &["--method", "pin"]].concat()).await?.0, 0);
        let typo = stage.edge.run(&["policy", "test", "--application", "ww", "--everyone"]).await?;
        assert!(typo.code == 1 && typo.stderr.contains("known: www, app, open"), "{}", typo.said());

        // Everybody who is known.
        let (code, everyone) = json(&stage, &["policy", "test", "--application", "app", "--everyone"]).await?;
        assert_eq!((code, &everyone["admitted"], everyone["tested"].as_array().unwrap().len()), (0, &1.into(), 2));
        let words = stage.edge.run(&["policy", "test", "--application", "app", "--everyone"]).await?.ok()?;
        assert!(words.contains("1 of 2 known people (50 %) would get into `app`"), "{words}");

        // A refusal, by the reference that its page shows.
        let refused = staff.browse(&format!("https://{APP}/")).await?;
        assert_eq!(refused.status(), 403);
        let text = refused.text();
        let reference = text.split("<code>").nth(1).and_then(|rest| rest.split("</code>").next()).unwrap();
        let (_, explained) = json(&stage, &["policy", "explain", &reference.to_lowercase()]).await?;
        let record = &explained["records"][0]["record"];
        assert_eq!((&record["actor"], &record["object"]), (&STAFF.into(), &APP.into()), "{explained}");
        assert!(stage.edge.run(&["policy", "explain", "0000-0000-0000"]).await?.stderr.contains("nothing is recorded"));

        // What a changed policy would have done to the past.
        let (_, same) = json(&stage, &["policy", "replay"]).await?;
        assert!(same["decisions"].as_u64() >= Some(2), "{same}");
        assert_eq!(same["differences"], Value::Array(vec![]), "{same}");
        let stricter = ACCESS.replace("guest@example.test", STAFF);
        let file = stage.lab.write("stricter.yaml", &stricter)?;
        let file = file.to_string_lossy().into_owned();
        let (_, replayed) = json(&stage, &["policy", "replay", "-f", &file]).await?;
        let difference = &replayed["differences"][0];
        assert_eq!(replayed["differences"].as_array().unwrap().len(), 1, "{replayed}");
        assert_eq!(
            (&difference["who"], &difference["was"], &difference["would"]),
            (&STAFF.into(), &true.into(), &false.into())
        );
        let words = stage.edge.run(&["policy", "replay", "-f", &file, "--since", "1d"]).await?.ok()?;
        assert!(words.contains("turned away") && words.contains(STAFF), "{words}");
        assert_eq!(staff.browse(&format!("https://{WWW}/")).await?.status(), 200, "nothing was changed by looking");
        Ok(())
    });
}

#[test]
fn what_a_bypass_opens_is_public_and_nothing_beside_it() {
    run("bypass", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::start().await?).await?;
        let mut stranger = stage.stranger()?;
        let open = stranger.get(&format!("https://{APP}/open/page")).await?;
        assert_eq!(open.status(), 200, "{}", open.text());
        let head = stage.app.heads().pop().unwrap();
        for name in ["access-jwt-assertion", "access-user-email", "cf-access-jwt-assertion"] {
            assert!(head.all(name).is_empty(), "nobody is nobody: {head:?}");
        }
        stage.app.forget();
        for path in
            ["/", "/opens", "/open", "/open/../x", "/open/%2e%2e/x", "/open/..%2fx", "/x/open/y", "/open/;/../x"]
        {
            let reply = stranger.get(&format!("https://{APP}{path}")).await?;
            assert!(matches!(reply.status(), 303 | 400 | 403), "{path}: {}", reply.status());
        }
        stage.assert_silence("only what lies below /open/ in every reading is public");
        Ok(())
    });
}

/// S5: effective within a second on the same edge, also for what is open.
#[test]
fn who_is_banned_is_out_within_a_second_and_stays_out() {
    run("ban", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::start().await?).await?;
        let mut staff = stage.somebody(WWW, STAFF).await?;
        let mut boss = stage.somebody(WWW, BOSS).await?;
        let url = format!("https://{WWW}/");
        assert_eq!(staff.get(&url).await?.status(), 200);
        let done = stage.edge.run(&["admin", "person", "ban", STAFF, "--reason", "left"]).await?.ok()?;
        assert!(done.contains("sessions ended: 2"), "{done}");
        let since = Instant::now();
        while staff.get(&url).await?.status() == 200 {
            anyhow::ensure!(since.elapsed() < Duration::from_secs(1), "still in");
        }
        assert_eq!(boss.get(&url).await?.status(), 200, "nobody else is concerned");
        let mut again = stage.stranger()?;
        // One who has not been here before: whoever just logged in has to wait for another code anyway.
        let new = "new@example.test";
        stage.edge.run(&["admin", "person", "ban", new]).await?.ok()?;
        let page = again.ask_for_code(&url, new).await?;
        assert_eq!(page.status(), 200, "the page says nothing");
        let mut other = stage.stranger()?;
        other.ask_for_code(&url, "other@example.test").await?;
        stage.smtp.mail_to("other@example.test", 1).await?;
        assert_eq!(stage.smtp.mails_to(new)?.len(), 0, "and no code is sent");
        let (_, people) = json(&stage, &["admin", "person", "list"]).await?;
        let one = people.as_array().unwrap().iter().find(|one| one["email"] == STAFF).unwrap();
        assert!(one["banned"].is_u64() && one["sessions"] == 0, "{one}");
        let refused = stage.edge.run(&["admin", "person", "ban", "admin@example.test"]).await?;
        assert!(refused.code == 3 && refused.stderr.contains("administrator"), "{}", refused.said());
        stage.edge.run(&["admin", "person", "unban", STAFF]).await?.ok()?;
        assert_eq!(stage.edge.run(&["admin", "person", "unban", STAFF]).await?.code, 1);
        Ok(())
    });
}

/// S5, S10
#[test]
fn an_application_is_revoked_alone_and_asks_for_a_new_login() {
    run("revoke-app", async |lab| {
        let both = ACCESS.replace("policies: [boss-only]", "policies: [staff-only]");
        let stage = Stage::configured(&lab, |config: EdgeConfig| config, &both, Canary::start().await?).await?;
        let mut staff = stage.somebody(WWW, STAFF).await?;
        assert_eq!(staff.browse(&format!("https://{APP}/")).await?.status(), 200, "signed in once");
        let (_, sessions) = json(&stage, &["admin", "session", "list"]).await?;
        let hosts: Vec<_> = sessions.as_array().unwrap().iter().map(|one| one["host"].as_str().unwrap()).collect();
        assert_eq!(hosts.len(), 3, "{sessions}");
        assert!(sessions[0]["device"].as_str().is_some_and(|device| device.contains("Firefox")), "{sessions}");
        // A login of the same second would not count either.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        stage.edge.run(&["admin", "session", "revoke", "--application", "app"]).await?.ok()?;
        let login = staff.browse(&format!("https://{APP}/")).await?;
        assert!(login.status() == 200 && login.url.contains("/.access/login"), "{}: {}", login.status(), login.url);
        assert_eq!(staff.browse(&format!("https://{WWW}/")).await?.url, format!("https://{WWW}/"), "the other stays");
        let (_, exported) = (0, stage.edge.run(&["export"]).await?.ok()?);
        assert!(!exported.contains("since"), "no business of the file's: {exported}");
        stage.edge.apply(&both).await?;
        let login = staff.browse(&format!("https://{APP}/")).await?;
        assert!(login.url.contains("/.access/login"), "an apply does not bring it back: {}", login.url);
        Ok(())
    });
}

/// P8: what a code proves is possession of a mailbox; who asks, fails and succeeds is on record.
#[test]
fn every_step_of_a_code_is_recorded() {
    run("pin-audit", async |lab| {
        let stage = Stage::with(&lab, ACCESS, Canary::start().await?).await?;
        let mut visitor = stage.stranger()?;
        let page = visitor.ask_for_code(&format!("https://{WWW}/"), STAFF).await?;
        let code = stage.smtp.mail_to(STAFF, 1).await?.pin()?;
        let wrong: String = code.chars().map(|c| if c == '1' { '2' } else { '1' }).collect();
        assert_eq!(visitor.enter_code(&page, &wrong).await?.status(), 422);
        let reply = visitor.enter_code(&page, &code).await?;
        assert_eq!(visitor.follow(reply).await?.status(), 200);
        let (_, records) = json(&stage, &["admin", "audit"]).await?;
        let of = |event: &str| {
            let found = records.as_array().unwrap().iter().find(|record| record["event"] == event);
            found.unwrap_or_else(|| panic!("no {event} in {records}")).clone()
        };
        for event in ["pin_requested", "pin_sent", "pin_failed", "login", "admitted"] {
            let record = of(event);
            assert!(record["source"] == "127.0.0.1" && record["reference"].is_string(), "{record}");
            assert!(record.to_string().contains(STAFF), "{record}");
        }
        assert!(!records.to_string().contains(&code), "no code is");
        let (_, sessions) = json(&stage, &["admin", "session", "list"]).await?;
        assert_eq!(sessions[0]["method"], "pin");
        Ok(())
    });
}
