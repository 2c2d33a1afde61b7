//! Wrong input gets one clear message that names the thing and the mend, and the right exit code.

use tunnel_tests::{
    Canary, Connector, Edge, EdgeConfig, Lab, Smtp,
    edge::ACCESS,
    process::{Finished, finish, program},
    run,
    stage::WWW,
};

async fn edge(lab: &Lab, args: &[&str]) -> anyhow::Result<Finished> {
    let mut command = lab.command(program("edge")?);
    command.args(args);
    finish(command).await
}

async fn connector(lab: &Lab, args: &[&str]) -> anyhow::Result<Finished> {
    let mut command = lab.command(program("connector")?);
    command.args(args);
    finish(command).await
}

/// # Panics
/// The outcome is not this code with these words, or it looks like a crash.
#[track_caller]
fn assert_refused(finished: &Finished, code: i32, words: &[&str], because: &str) {
    assert_eq!(finished.code, code, "exit code of {because}: {}", finished.said());
    for word in words {
        assert!(finished.stderr.contains(word), "{because} says `{word}`: {}", finished.stderr);
    }
    let said = finished.said();
    assert!(
        !said.contains("panicked") && !said.contains("RUST_BACKTRACE") && !said.contains("Stack backtrace"),
        "{because}: {said}"
    );
    assert!(finished.stderr.lines().count() <= 14, "{because}: one message, not a flood: {}", finished.stderr);
}

#[test]
fn wrong_usage_of_edge_is_told() {
    run("edge-usage", async |lab| {
        let dir = lab.path("data");
        let dir = dir.to_str().unwrap();
        let good = EdgeConfig::default().toml(&lab.path("data"));
        let file = |text: String| lab.write("edge.toml", &text).map(|path| path.to_string_lossy().into_owned());
        assert_refused(&edge(&lab, &["run", "--confg", "x"]).await?, 2, &["--confg", "--config"], "a wrong flag");
        assert_refused(&edge(&lab, &["rnu"]).await?, 2, &["rnu", "run"], "a wrong subcommand");
        assert_refused(&edge(&lab, &["apply"]).await?, 2, &["-f"], "apply without a file");
        let missing = lab.path("nowhere.toml");
        assert_refused(
            &edge(&lab, &["run", "--config", missing.to_str().unwrap()]).await?,
            1,
            &["nowhere.toml"],
            "a missing file",
        );
        for (from, to, words) in [
            ("zone =", "zoen =", &["zoen", "zone"][..]),
            ("zone = \"example.test\"", "zone = \"exa mple\"", &["exa mple"]),
            ("zone = \"example.test\"", "zone = 5", &["zone"]),
            ("[tls]", "[tsl]", &["tsl", "tls"]),
            (
                "mode = \"internal\"",
                "mode = \"acme\"\n[tls.acme]\nchallenge = \"dns-01\"",
                &["dns-01", "[tls.acme.dns]"],
            ),
            ("mode = \"internal\"", "mode = \"acme\"\n[tls.acme]\ndirectroy = \"x\"", &["directroy", "directory"]),
            ("mode = \"internal\"", "mode = \"magic\"", &["magic"]),
            ("mode = \"internal\"", "mode = \"files\"", &["files"]),
            ("127.0.0.1:443", "127.0.0.1:99999", &["127.0.0.1:99999"]),
            ("admin@example.test", "admin", &["admin"]),
            ("data_dir", "database = \"postgres://x\"\ndata_dir", &["database", "PostgreSQL", "not"]),
        ] {
            assert!(good.contains(from), "{from}");
            let path = file(good.replacen(from, to, 1))?;
            let refused = edge(&lab, &["run", "--config", &path]).await?;
            assert_refused(&refused, 1, words, to);
            assert!(refused.stderr.contains("edge.toml"), "the file is named: {}", refused.stderr);
            assert!(!lab.path("data").exists(), "nothing half-written for {to}");
        }
        let path = file("zone = \n".into())?;
        assert_refused(&edge(&lab, &["run", "--config", &path]).await?, 1, &["edge.toml", "1"], "broken TOML");
        let occupied = tokio::net::TcpListener::bind("127.0.0.1:443").await?;
        let path = file(good.clone())?;
        assert_refused(
            &edge(&lab, &["run", "--config", &path]).await?,
            1,
            &["127.0.0.1:443", "in use"],
            "a port in use",
        );
        drop(occupied);
        // A configured edge without mail refuses the PIN method, saying so.
        assert_refused(
            &edge(&lab, &["export", "--data-dir", dir, "--config", "/dev/null/x"]).await?,
            1,
            &["/dev/null/x"],
            "an unreadable file",
        );
        Ok(())
    });
}

/// A configured edge without `[smtp]` refuses a PIN method.
#[test]
fn a_pin_method_without_mail_is_refused() {
    run("no-smtp", async |lab| {
        let edge = Edge::start(&lab, EdgeConfig::default()).await?;
        let file = lab.write("access.yaml", ACCESS)?;
        let refused = edge.run(&["apply", "-f", file.to_str().unwrap()]).await?;
        assert_refused(&refused, 1, &["smtp"], "a PIN method without mail");
        Ok(())
    });
}

#[test]
fn wrong_usage_of_connector_is_told() {
    run("connector-usage", async |lab| {
        let config = lab.path("connector");
        let config = config.to_str().unwrap();
        for (args, words) in [
            (&["--hostnme", WWW, "--url", "http://localhost:1"][..], &["--hostnme", "--hostname"][..]),
            (&["--hostname", WWW], &["--url"]),
            (&["--url", "http://localhost:1"], &["--hostname"]),
            (&["--hostname", "no host", "--url", "http://localhost:1"], &["no host"]),
            (&["--hostname", WWW, "--url", "gopher://localhost:1"], &["gopher"]),
            (&["--hostname", WWW, "--url", "localhost"], &["localhost"]),
            (&["--hostname", WWW, "--url", "http://localhost:99999"], &["99999"]),
            (&["--hostname", WWW, "--bastion"], &["--allow", "192.168"]),
            (&["--hostname", WWW, "--bastion", "--allow", "192.168.1.0/24"], &["CIDR:PORT"]),
            (&["--hostname", WWW, "--url", "http://localhost:1", "--allow", "10.0.0.1:22"], &["--bastion"]),
            (&["--hostname", WWW, "--url", "tcp://localhost"], &["port"]),
            (&["--hostname", WWW, "--url", "http://localhost:1", "--no-tls-verify"], &["--no-tls-verify", "https://"]),
            (
                &["--hostname", "*.example.test", "--url", "https://localhost:1", "--match-sni-to-host"],
                &["*.example.test", "--origin-server-name"],
            ),
            (&["rnu"], &["rnu"]),
            (&["--hostname", WWW, "--url", "http://localhost:1", "--connections", "many"], &["many"]),
            (&["--hostname", WWW, "--url", "http://localhost:1", "--edge", "https://"], &["https://"]),
        ] {
            let args = [args, &["--config-dir", config]].concat();
            assert_refused(&connector(&lab, &args).await?, 2, words, &args.join(" "));
            assert!(!lab.path("connector/tunnels").exists(), "nothing half-written for {args:?}");
        }
        // Built later, refused by name.
        for (args, word) in [
            (&["--hostname", WWW, "--url", "http://localhost:1", "--protocol", "quic"][..], "quic"),
            (&["--hostname", WWW, "--url", "socks-proxy"], "socks-proxy"),
            (&["service", "install"], "service"),
        ] {
            let args = [args, &["--config-dir", config]].concat();
            let refused = connector(&lab, &args).await?;
            assert!(matches!(refused.code, 1 | 2), "{} for {args:?}: {}", refused.code, refused.said());
            assert!(refused.stderr.contains(word) && refused.stderr.contains("not"), "{args:?}: {}", refused.stderr);
        }
        Ok(())
    });
}

/// Nobody there, somebody else there, a certificate that is not ours.
#[test]
fn an_edge_that_cannot_be_reached_or_trusted_is_told() {
    run("edge-trust", async |lab| {
        let config = lab.path("connector");
        let config = config.to_str().unwrap();
        let base = ["--hostname", WWW, "--url", "http://localhost:1", "--config-dir", config];
        let none = connector(&lab, &base).await?;
        assert_refused(&none, 3.min(none.code.max(1)), &["connector login"], "no login and no edge on this machine");
        let unreachable =
            connector(&lab, &["login", "--edge", "https://access.example.test:9", "--config-dir", config]).await?;
        assert_refused(&unreachable, 1, &["access.example.test:9"], "an edge that does not listen");
        let unknown =
            connector(&lab, &["login", "--edge", "https://access.nowhere.test", "--config-dir", config]).await?;
        assert_refused(&unknown, 1, &["access.nowhere.test"], "a name that does not resolve");
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let untrusted =
            connector(&lab, &["login", "--edge", "https://access.example.test", "--config-dir", config]).await?;
        assert_refused(&untrusted, 1, &["certificate", "--edge-ca"], "a CA that is not trusted");
        let other =
            tunnel_proto::identity::Ca::generate(&"example.test".parse()?, tunnel_proto::UnixTime(1_790_000_000))?;
        let wrong = lab.write("wrong-ca.pem", other.certificate_pem())?;
        let wrong = wrong.to_str().unwrap();
        let args = ["login", "--edge", "https://access.example.test", "--edge-ca", wrong, "--config-dir", config];
        assert_refused(&connector(&lab, &args).await?, 1, &["certificate"], "a wrong CA");
        let pin = format!("sha256:{}", "00".repeat(32));
        let args = ["login", "--edge", "https://access.example.test", "--edge-pin", &pin, "--config-dir", config];
        assert_refused(&connector(&lab, &args).await?, 1, &["pin"], "a wrong pin");
        assert!(!lab.path("connector/cert.pem").exists(), "nothing half-written");
        drop(edge);
        Ok(())
    });
}

/// A hostname that no route gives to the tunnel is told, not silently left without visitors.
#[test]
fn a_hostname_that_is_not_routed_is_told() {
    run("not-routed", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let _edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let service = Canary::start().await?;
        drop(Connector::publish(&lab, WWW, &service.url()).await?);
        let mut command = Connector::command(&lab)?;
        command.args(["run", WWW, "--hostname", "app.example.test", "--url", &service.url()]);
        let words = ["app.example.test", "connector route"];
        assert_refused(&finish(command).await?, 3, &words, "a hostname that is not routed");
        Ok(())
    });
}

/// A hostname of another tunnel stays where it is; the error names it and the command that would move it.
#[test]
fn a_hostname_of_another_tunnel_is_not_taken() {
    run("taken", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let (first, second) = (Canary::start().await?, Canary::start().await?);
        let _first = Connector::publish(&lab, WWW, &first.url()).await?;
        let mut command = Connector::command(&lab)?;
        command.args(["--name", "second", "--hostname", WWW, "--url", &second.url()]);
        let refused = finish(command).await?;
        assert_refused(&refused, 3, &[WWW, "connector delete"], "a hostname of another tunnel");
        let listing = edge.run(&["admin", "tunnel", "list"]).await?.ok()?;
        assert!(!listing.contains("second"), "nothing half-made: {listing}");
        // The command that it names does what it says.
        edge.run(&["admin", "tunnel", "delete", WWW]).await?.ok()?;
        let mut command = Connector::command(&lab)?;
        command.args(["--name", "second", "--hostname", WWW, "--url", &second.url()]);
        let _second = Connector::start("connector", command).await?;
        Ok(())
    });
}
