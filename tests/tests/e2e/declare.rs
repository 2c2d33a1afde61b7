//! `edge apply`, `edge export`, `edge check`: declared state, shown before it is changed, and never half-changed.

use tunnel_tests::{Edge, EdgeConfig, Smtp, edge::ACCESS, process::finish, run};

/// Apply is idempotent, shows what it does, and `--dry-run` does nothing.
#[test]
fn apply_is_idempotent_and_a_dry_run_changes_nothing() {
    run("apply", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::start(&lab, EdgeConfig::with_mail(&smtp)).await?;
        let file = lab.write("access.yaml", ACCESS)?;
        let file = file.to_string_lossy();
        let empty = edge.run(&["export"]).await?.ok()?;
        let dry = edge.run(&["apply", "-f", &file, "--dry-run"]).await?.ok()?;
        for name in ["staff", "staff-only", "www", "app"] {
            assert!(dry.contains(name), "the diff names {name}: {dry}");
        }
        assert_eq!(edge.run(&["export"]).await?.ok()?, empty, "a dry run changes nothing");
        edge.run(&["apply", "-f", &file]).await?.ok()?;
        let first = edge.run(&["export"]).await?.ok()?;
        assert!(first.contains("staff-only") && first.contains("www.example.test"), "{first}");
        let again = edge.run(&["apply", "-f", &file]).await?.ok()?;
        assert!(!again.contains("+ ") && !again.contains("- "), "nothing to do the second time: {again}");
        assert_eq!(edge.run(&["export"]).await?.ok()?, first);
        // What is exported can be applied, and changes nothing.
        let round = lab.write("exported.yaml", &first)?;
        edge.run(&["apply", "-f", &round.to_string_lossy()]).await?.ok()?;
        assert_eq!(edge.run(&["export"]).await?.ok()?, first);
        Ok(())
    });
}

/// What is left out stays, unless `--prune` says otherwise.
#[test]
fn only_prune_deletes() {
    run("prune", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let less = ACCESS.replace("  - {name: app, hostnames: [app.example.test], policies: [staff-only]}\n", "");
        edge.apply(&less).await?;
        assert!(edge.run(&["export"]).await?.ok()?.contains("app.example.test"), "kept");
        let file = lab.write("less.yaml", &less)?;
        edge.run(&["apply", "-f", &file.to_string_lossy(), "--prune"]).await?.ok()?;
        assert!(!edge.run(&["export"]).await?.ok()?.contains("app.example.test"), "pruned");
        Ok(())
    });
}

/// What makes no sense or is not built yet is refused by name and position, and nothing of the file is taken.
#[test]
fn what_makes_no_sense_is_refused_whole() {
    run("refused", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let before = edge.run(&["export"]).await?.ok()?;
        // Replaced text, its replacement, and what the refusal must say.
        for (from, to, says) in [
            ("groups:", "grups:", &["grups", "groups", "3"][..]),
            ("action: allow", "action: alow", &["alow", "allow"]),
            ("action: allow", "action: bypass", &["bypass", "guest@example.test"]),
            ("action: allow", "action: service_auth", &["service_auth", "not"]),
            ("email_domain: example.test", "email_domian: example.test", &["email_domian", "email_domain"]),
            ("email_domain: example.test", "country: JP", &["country", "none"]),
            ("email_domain: example.test", "email_domain: \"*.test\"", &["*.test"]),
            ("type: one_time_pin", "type: saml", &["saml", "not"]),
            ("type: one_time_pin", "type: carrier_pigeon", &["carrier_pigeon"]),
            ("{group: staff}", "{group: stuff}", &["stuff"]),
            ("policies: [staff-only]", "policies: [staff-onyl]", &["staff-onyl"]),
            ("hostnames: [app.example.test]", "hostnames: [\"app..example.test\"]", &["app..example.test"]),
            ("hostnames: [app.example.test]", "hostnames: [www.example.test]", &["www.example.test"]),
            ("hostnames: [app.example.test]", "hostnames: []", &["app"]),
            ("{name: app,", "{name: www,", &["www"]),
            ("exclude: [{email: guest@example.test}]", "exclude: [{email: guest}]", &["guest"]),
            ("    include: [{group: staff}]\n", "", &["staff-only", "include"]),
            ("applications:", "applications: [", &["access.yaml"]),
        ] {
            assert!(ACCESS.contains(from), "{from}");
            let file = lab.write("access.yaml", &ACCESS.replacen(from, to, 1))?;
            for dry in [true, false] {
                let mut args = vec!["apply", "-f", file.to_str().unwrap()];
                args.extend(dry.then_some("--dry-run"));
                let refused = edge.run(&args).await?;
                assert_eq!(refused.code, 1, "`{to}` must be refused: {}", refused.said());
                for word in says {
                    assert!(refused.stderr.contains(word), "the refusal of `{to}` says `{word}`: {}", refused.stderr);
                }
            }
            assert_eq!(edge.run(&["export"]).await?.ok()?, before, "nothing of `{to}` was taken");
        }
        Ok(())
    });
}

/// `edge check` reads what `edge run` would, and starts nothing.
#[test]
fn check_reads_the_configuration() {
    run("check", async |lab| {
        lab.write("edge.toml", &EdgeConfig::default().toml(&lab.path("edge")))?;
        let checked = finish(Edge::command(&lab, &["check"])?).await?;
        assert_eq!(checked.code, 0, "{}", checked.said());
        lab.write("edge.toml", &EdgeConfig::default().toml(&lab.path("edge")).replace("zone =", "zoen ="))?;
        let checked = finish(Edge::command(&lab, &["check"])?).await?;
        assert_eq!(checked.code, 1, "{}", checked.said());
        for word in ["zoen", "zone", "edge.toml"] {
            assert!(checked.stderr.contains(word), "{word} in {}", checked.stderr);
        }
        // The files that it names, too.
        let config = EdgeConfig {
            tls: "mode = \"files\"\n[[tls.files]]\ncert = \"c.pem\"\nkey = \"k.pem\"".into(),
            ..EdgeConfig::default()
        };
        lab.write("edge.toml", &config.toml(&lab.path("edge")))?;
        let checked = finish(Edge::command(&lab, &["check"])?).await?;
        assert_eq!(checked.code, 1, "{}", checked.said());
        assert!(checked.stderr.contains("c.pem"), "{}", checked.stderr);
        Ok(())
    });
}

/// `edge check` judges by the file as it is now, also while an edge runs that was started with another.
#[test]
fn check_judges_by_the_file_and_not_by_the_running_edge() {
    run("check-running", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        edge.run(&["check"]).await?.ok()?;
        let without_mail = EdgeConfig::default().toml(&lab.path("edge"));
        for (text, word) in [
            (without_mail.clone(), "smtp"),
            (
                EdgeConfig::with_mail(&smtp)
                    .toml(&lab.path("edge"))
                    .replace("zone = \"example.test\"", "zone = \"other.test\""),
                "other.test",
            ),
        ] {
            lab.write("edge.toml", &text)?;
            let checked = edge.run(&["check"]).await?;
            assert_eq!(checked.code, 1, "{word}: {}", checked.said());
            assert!(checked.stderr.contains(word), "{}", checked.stderr);
        }
        Ok(())
    });
}
