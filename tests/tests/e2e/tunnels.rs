//! Several connectors at once, and what none of them may take.

use std::sync::Arc;

use tunnel_tests::{
    Canary, Connector, Edge, EdgeConfig, Smtp, Stage,
    canary::{After, page},
    edge::ACCESS,
    process::finish,
    run,
    stage::{APP, STAFF, WWW},
    visitor::login,
};

fn saying(text: &'static str) -> tunnel_tests::canary::Manners {
    Arc::new(move |_| (page(text), After::KeepAlive))
}

/// Three processes, three services; killing one leaves the others.
#[test]
fn three_connectors_serve_three_hosts_and_one_death_is_one_death() {
    run("three", async |lab| {
        let access = format!("{ACCESS}  - {{name: third, hostnames: [third.example.test], policies: [staff-only]}}\n");
        lab.net()
            .hosts(&[("127.0.0.1", "access.example.test www.example.test app.example.test third.example.test")])?;
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), &access).await?;
        let hosts = [WWW, APP, "third.example.test"];
        let origins = [
            Canary::answering(saying("one")).await?,
            Canary::answering(saying("two")).await?,
            Canary::answering(saying("three")).await?,
        ];
        let mut connectors = Vec::new();
        for (host, origin) in hosts.iter().zip(&origins) {
            connectors.push(Connector::publish(&lab, host, &origin.url()).await?);
        }
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        for (host, text) in hosts.iter().zip(["one", "two", "three"]) {
            assert_eq!(
                visitor.browse(&format!("https://{host}/")).await?.text(),
                text,
                "{host} reaches its own service"
            );
        }
        connectors.remove(1).process.kill().await?;
        let end = tokio::time::Instant::now() + tunnel_tests::PATIENCE;
        while visitor.get(&format!("https://{APP}/")).await?.status() != 530 {
            assert!(tokio::time::Instant::now() < end, "the death is noticed");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        for (host, text) in [(WWW, "one"), ("third.example.test", "three")] {
            assert_eq!(visitor.get(&format!("https://{host}/")).await?.text(), text, "{host} is still served");
        }
        // The names in the listing are those of the first hostnames.
        let listing = edge.run(&["admin", "tunnel", "list", "--json"]).await?.ok()?;
        let listing: serde_json::Value = serde_json::from_str(&listing)?;
        for host in hosts {
            assert!(listing.to_string().contains(host), "{host} in {listing}");
        }
        Ok(())
    });
}

/// The login host, reserved paths, hostnames of other tunnels, by route and by application.
#[test]
fn nobody_takes_the_login_host_or_reserved_paths() {
    run("taking", async |lab| {
        let stage = Stage::set(&lab).await?;
        let evil = Canary::start().await?;
        for host in ["access.example.test", "ACCESS.example.test", "access.example.test.", "www.example.test"] {
            let mut command = Connector::command(&lab)?;
            command.args(["--name", "evil", "--hostname", host, "--url", &evil.url()]);
            let refused = finish(command).await?;
            assert_ne!(refused.code, 0, "`connector --hostname {host}` must be refused: {}", refused.said());
            let word =
                if host.to_lowercase().starts_with("access") { "access.example.test" } else { "www.example.test" };
            assert!(refused.said().contains(word), "the refusal names the hostname: {}", refused.said());
        }
        for hostname in [
            "access.example.test",
            "\"*.example.test/.access/x\"",
            "www.example.test/.access",
            "www.example.test/.access/login",
            "www.example.test/cdn-cgi/access",
            "www.example.test/%2eaccess/",
            "www.example.test/x/../.access/",
        ] {
            let access = format!("{ACCESS}  - {{name: evil, hostnames: [{hostname}], policies: [staff-only]}}\n");
            let file = lab.write("evil.yaml", &access)?;
            let refused = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
            assert_eq!(refused.code, 1, "an application at {hostname} must be refused: {}", refused.said());
        }
        let file = lab
            .write("evil.yaml", &format!("{ACCESS}tunnels:\n  - {{name: evil, hostnames: [access.example.test]}}\n"))?;
        let refused = stage.edge.run(&["apply", "-f", &file.to_string_lossy()]).await?;
        assert_eq!(refused.code, 1, "a route for the login host must be refused: {}", refused.said());
        // A wildcard takes what is free, and neither the login host nor what has a route of its own.
        lab.net().hosts(&[("127.0.0.1", "access.example.test www.example.test app.example.test")])?;
        let mut visitor = stage.somebody(WWW, STAFF).await?;
        visitor.get(&format!("https://{WWW}/")).await?;
        visitor.get("https://access.example.test/").await?;
        assert_eq!(evil.bytes(), 0, "the evil origin has heard nothing");
        assert_eq!(stage.www.heads().len(), 1);
        Ok(())
    });
}

/// Publishing is not admitting. In a real zone a hostname without an application is refused, routed or not.
#[test]
fn a_published_hostname_without_an_application_is_closed() {
    run("default-deny", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let access = ACCESS.replace("  - {name: app, hostnames: [app.example.test], policies: [staff-only]}\n", "");
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), &access).await?;
        let (www, app) = (Canary::start().await?, Canary::start().await?);
        let _a = Connector::publish(&lab, WWW, &www.url()).await?;
        let _b = Connector::publish(&lab, APP, &app.url()).await?;
        let mut visitor = login(&edge.ca().await?, &smtp, WWW, STAFF).await?;
        let reply = visitor.get(&format!("https://{APP}/")).await?;
        assert!(matches!(reply.status(), 403 | 404), "{}", reply.status());
        app.assert_heard_nothing("no application, no way");
        Ok(())
    });
}
