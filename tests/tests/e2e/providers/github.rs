//! GitHub, which speaks OAuth 2 and no OpenID: organisations, teams, and addresses of which some are verified.

use anyhow::Result;
use tunnel_tests::{
    GitHub, Lab, Reply, Stage, Visitor,
    github::{API, Person, Trick},
    html::words,
    loopback::{encoded, value_of},
    provider::{CLIENT_ID, CLIENT_SECRET, answer, callback, sign_in},
    run,
    stage::APP,
};

use super::{
    CLIENT, DEEP, HERE, access, assert_arrived, assert_failed, assert_start_again, asserted, audited, declared,
    hostile, logged_in, method, set, stranger,
};

const AUTHORIZE: &str = "/login/oauth/authorize";
const REDEEM: &str = "/login/oauth/access_token";

fn person(id: u64, email: &str) -> Person {
    Person { id, name: "Ann".into(), emails: vec![(email.into(), true, true)], ..Person::default() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

async fn github(lab: &Lab) -> Result<(GitHub, String)> {
    let github = GitHub::start("127.0.0.1:13002".parse()?, CLIENT).await?;
    let more = format!("authority: \"{}\", api: \"{}\", {HERE}", github.url(), github.api());
    let method = method(lab, "github", "github", &more)?;
    Ok((github, method))
}

async fn come(stage: &Stage, url: &str, login: &str) -> Result<(Visitor, Reply)> {
    let mut visitor = stranger(stage)?;
    let page = visitor.browse(url).await?;
    let reply = sign_in(&mut visitor, &page, login).await?;
    Ok((visitor, reply))
}

/// Members of an organisation, of a team in it, of neither; lists that go on over pages; names that only look alike.
#[test]
fn organisations_and_teams_at_github_decide() {
    run("github", async |lab| {
        let (github, method) = github(&lab).await?;
        let many = names(&["org-1", "org-2", "org-3", "org-4", "org-5", "Acme"]);
        let team = |organization: &str, slug: &str| (organization.to_owned(), slug.to_owned());
        let mut ann = Person { organizations: many, ..person(1, "ann@example.test") };
        ann.teams =
            vec![team("org-1", "a"), team("org-1", "b"), team("org-2", "c"), team("org-3", "d"), team("Acme", "ops")];
        github.person("ann", ann);
        github.person("bob", Person { organizations: names(&["acme"]), ..person(2, "bob@example.test") });
        let mut eve = Person { organizations: names(&["acme-evil", "notacme"]), ..person(3, "eve@example.test") };
        eve.teams = vec![team("acme-evil", "ops")];
        github.person("eve", eve);
        // A team of this name, in another organisation, beside being in the right one.
        let mut dan = Person { organizations: names(&["acme", "other"]), ..person(4, "dan@example.test") };
        dan.teams = vec![team("other", "ops"), team("acme", "opsy")];
        github.person("dan", dan);
        github.person("nobody", person(5, "nobody@example.test"));
        let policies = "  - {name: in-acme, action: allow, include: [{github: {organization: acme}}]}\n  \
             - {name: in-ops, action: allow, include: [{github: {organization: acme, team: ops}}]}\n";
        let apps = [("www", "", "in-acme"), ("app", "", "in-ops")];
        let stage = set(&lab, &declared(&[method], policies, &apps)).await?;
        for (login, www, app) in
            [("ann", 200, 200), ("bob", 200, 403), ("dan", 200, 403), ("eve", 403, 403), ("nobody", 403, 403)]
        {
            let (mut visitor, reply) = come(&stage, DEEP, login).await?;
            assert_eq!(reply.status(), www, "{login}: {}", words(&reply.text()));
            let reply = visitor.browse(&format!("https://{APP}/")).await?;
            assert_eq!(reply.status(), app, "{login}: {}", words(&reply.text()));
        }
        let claims = asserted(&stage, "dan@example.test").await?;
        assert!(claims["sub"].is_string());
        // What was sent where.
        for asked in github.asked() {
            assert!(asked.path == REDEEM || !asked.mentions(CLIENT_SECRET), "the secret was told to {}", asked.path);
            assert_eq!(asked.bearer().is_some(), asked.path.starts_with(API), "the token is for the API: {asked:?}");
        }
        for asked in github.asked_for(AUTHORIZE).iter().filter(|asked| asked.method == http::Method::GET) {
            assert_eq!(asked.parameter("client_id").as_deref(), Some(CLIENT_ID));
            assert_eq!(asked.parameter("redirect_uri"), Some(callback("github")));
            assert_eq!(asked.parameter("code_challenge_method").as_deref(), Some("S256"), "GitHub knows PKCE, too");
            let scope = asked.parameter("scope").unwrap_or_default();
            for needed in ["user:email", "read:org"] {
                assert!(scope.split([' ', ',']).any(|one| one == needed), "{needed} in {scope}");
            }
            assert!(!scope.contains("repo") && !scope.contains("admin"), "no more than that: {scope}");
        }
        Ok(())
    });
}

/// O5 at GitHub: the primary address, if it is verified; what stands on the public profile is nobody's word.
#[test]
fn an_address_that_github_did_not_verify_is_refused() {
    run("github-addresses", async |lab| {
        let (github, method) = github(&lab).await?;
        let stage = set(&lab, &access(&[method])).await?;
        let with = |id: u64, emails: &[(&str, bool, bool)]| Person {
            id,
            emails: emails
                .iter()
                .map(|(email, primary, verified)| ((*email).to_owned(), *primary, *verified))
                .collect(),
            ..Person::default()
        };
        github.person(
            "several",
            with(
                1,
                &[
                    ("public@example.test", false, false),
                    ("old@example.com", false, true),
                    ("ann@example.test", true, true),
                    ("boss@example.test", false, false),
                ],
            ),
        );
        github.person("unverified", with(2, &[("ann@example.test", true, false)]));
        github.person("public", with(3, &[("boss@example.test", false, false), ("x@example.com", true, true)]));
        github.person("none", with(4, &[]));
        github.person(
            "late",
            with(
                5,
                &[
                    ("a@example.com", false, true),
                    ("b@example.com", false, true),
                    ("c@example.com", false, true),
                    ("d@example.com", false, true),
                    ("late@example.test", true, true),
                ],
            ),
        );
        for (login, email) in [("several", "ann@example.test"), ("late", "late@example.test")] {
            let (_, reply) = come(&stage, DEEP, login).await?;
            assert_arrived(&reply, DEEP);
            asserted(&stage, email).await?;
        }
        stage.www.forget();
        for login in ["unverified", "none"] {
            let (visitor, reply) = come(&stage, DEEP, login).await?;
            assert_failed(&visitor, &reply, &[400, 401, 403], "github");
        }
        let (_, reply) = come(&stage, DEEP, "public").await?;
        assert!((400..500).contains(&reply.status()), "{}", reply.status());
        stage.assert_silence("no verified address of ours");
        audited(&stage.edge, 0, "github", &["verif"]).await?;
        Ok(())
    });
}

/// O6 at GitHub: a person is the number; the login name can be taken by somebody else the next day.
#[test]
fn a_login_name_at_github_that_somebody_else_took_is_somebody_else() {
    run("github-names", async |lab| {
        let (github, method) = github(&lab).await?;
        let stage = set(&lab, &access(&[method])).await?;
        let mut subjects = Vec::new();
        for (login, id) in [("ann", 1), ("ann-renamed", 1), ("ann", 2)] {
            github.person(login, person(id, "ann@example.test"));
            let (_, reply) = come(&stage, DEEP, login).await?;
            assert_arrived(&reply, DEEP);
            subjects.push(asserted(&stage, "ann@example.test").await?["sub"].clone());
        }
        assert_eq!(subjects[0], subjects[1], "renamed, and the same person");
        assert_ne!(subjects[0], subjects[2], "who took the name is another");
        Ok(())
    });
}

/// Trouble at GitHub: refused, wrong secret, API away, lists without end or with a next page elsewhere.
#[test]
fn trouble_at_github_has_a_page_and_a_record() {
    run("github-trouble", async |lab| {
        let (github, good) = github(&lab).await?;
        let elsewhere = hostile(13003, "elsewhere").await?;
        let stage = set(&lab, &access(std::slice::from_ref(&good))).await?;
        github.person("ann", Person { organizations: names(&["a", "b", "c"]), ..person(1, "ann@example.test") });
        // O1: a state that is not this browser's, and one used before.
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let form = tunnel_tests::html::pressed(&page.text(), "answer", "login")?.with("account", "ann");
        let reply = visitor.submit(&page.url, &form).await?;
        let back = visitor.leads_to(reply, &callback("github")).await?;
        let mut thief = stranger(&stage)?;
        let reply = thief.get(&back).await?;
        assert_start_again(&thief, &reply);
        let code = value_of(back.split_once('?').unwrap().1, "code").unwrap();
        let reply = thief.get(&format!("{}?{}", callback("github"), encoded(&[("code", code)]))).await?;
        assert_start_again(&thief, &reply);
        let reply = visitor.get(&back).await?;
        assert_arrived(&visitor.follow(reply).await?, DEEP);
        // Refused there.
        let mut visitor = stranger(&stage)?;
        let page = visitor.browse(DEEP).await?;
        let reply = answer(&mut visitor, &page, "refuse").await?;
        assert_failed(&visitor, &reply, &[400, 401, 403], "github");
        // The API is away: nobody gets in with half of what there is to know.
        github.trick(Trick::Down);
        let (visitor, reply) = come(&stage, DEEP, "ann").await?;
        assert_failed(&visitor, &reply, &[502, 503], "github");
        // A list without end is not read without end, nor followed to another server with the person's token.
        github.trick(Trick::Endless);
        github.forget();
        let begun = std::time::Instant::now();
        let (_, reply) = come(&stage, DEEP, "ann").await?;
        assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
        let pages = github.asked().iter().filter(|asked| asked.path.starts_with(API)).count();
        assert!(pages <= 100, "{pages} pages; then {}", reply.status());
        github.trick(Trick::Elsewhere(elsewhere.issuer().into()));
        come(&stage, DEEP, "ann").await?;
        assert!(elsewhere.asked().is_empty(), "the token went elsewhere: {:?}", elsewhere.asked());
        github.trick(Trick::None);
        // A wrong secret is the administrator's matter.
        let known = super::failures(&stage.edge).await?.len();
        let wrong = lab.write("wrong-secret", "not the secret")?;
        let right = lab.path("client-secret");
        stage.edge.apply(&access(&[good.replace(&format!("{right:?}"), &format!("{wrong:?}"))])).await?;
        let (visitor, reply) = come(&stage, DEEP, "ann").await?;
        assert_failed(&visitor, &reply, &[500, 502, 503], "github");
        assert!(words(&reply.text()).contains("administrator must look"), "{}", words(&reply.text()));
        audited(&stage.edge, known, "github", &["secret", "credential"]).await?;
        assert!(!logged_in(&visitor));
        Ok(())
    });
}
