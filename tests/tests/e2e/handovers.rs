//! An edge replaced at the worst moments: twice at once, by what does not start, and while somebody ends one of the two (F3).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tunnel_tests::{
    Edge, EdgeConfig, Lab, PATIENCE, Process, Smtp, Visitor,
    edge::{ACCESS, LOGIN_HOST},
    process::{Finished, program, signal},
    run,
    stage::{STAFF, WWW},
    visitor::login,
};

/// What takes the place of the program and never says a word; its number is left in a file.
fn mute(lab: &Lab) -> Result<()> {
    let mark = lab.path("mute");
    let _ = fs::remove_file(&mark);
    let script = format!("#!/bin/sh\necho $$ > {0}.part\nmv {0}.part {0}\nexec sleep 60\n", mark.display());
    let next = lab.write("bin/next", &script)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(next, lab.path("bin/edge"))?)
}

/// What takes the place of the program, says that everything is ready, and ends when it is to serve.
fn unready(lab: &Lab) -> Result<()> {
    let script = format!(
        "#!/bin/sh\nread -r offer\necho '\"ready\"' >&0\nread -r go\necho \"$go\" > {}\nexit 1\n",
        lab.path("heard").display()
    );
    let next = lab.write("bin/next", &script)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(next, lab.path("bin/edge"))?)
}

/// The number of that process, once it runs.
async fn mute_pid(lab: &Lab) -> Result<u32> {
    let begun = async {
        loop {
            match fs::read_to_string(lab.path("mute")) {
                Ok(pid) => return pid,
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let pid = timeout(PATIENCE, begun).await.context("the program was not started again")?;
    Ok(pid.trim().parse()?)
}

/// One edge serves: visitors, and its owner.
async fn serves(edge: &Edge, visitor: &mut Visitor) -> Result<()> {
    let reply = visitor.get(&format!("https://{LOGIN_HOST}/.access/certs")).await?;
    ensure!(reply.status() == 200, "{}: {}", reply.status(), reply.text());
    edge.run(&["admin", "tunnel", "list"]).await?.ok().map(drop)
}

fn refused(outcome: &Finished, why: &str) -> Result<()> {
    ensure!(outcome.code == 1 && outcome.stderr.contains(why), "{why}: {}", outcome.said());
    Ok(())
}

// F3
#[test]
fn whatever_happens_while_an_edge_is_replaced_one_serves_and_whoever_asked_is_told() {
    run("handovers", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let (file, real) = (lab.path("bin/edge"), program("edge")?);
        fs::create_dir_all(lab.path("bin"))?;
        symlink(&real, &file)?;
        let mut command = lab.command(&file);
        command.arg("run").arg("--config").arg(lab.path("edge.toml"));
        let mut edge = Edge::start_as(&lab, EdgeConfig::with_mail(&smtp), |_| command).await?;
        let mut visitor = Visitor::new(&edge.ca().await?)?;
        serves(&edge, &mut visitor).await?;

        // The program is gone.
        fs::remove_file(&file)?;
        refused(&edge.run(&["restart"]).await?, "cannot be started again")?;
        serves(&edge, &mut visitor).await?;

        // The new process is ended before it serves.
        mute(&lab)?;
        let (outcome, ended) = tokio::join!(edge.run(&["restart"]), async {
            let pid = mute_pid(&lab).await?;
            serves(&edge, &mut visitor.clone()).await.context("while a new process gets ready")?;
            // A second ask meanwhile does not wait for the first.
            refused(&edge.run(&["restart"]).await?, "already")?;
            signal(pid, "TERM").await
        });
        ended?;
        refused(&outcome?, "ended before it served")?;
        serves(&edge, &mut visitor).await?;

        // Two at once: one of them replaces the edge, and the other one is refused, or replaces the new one.
        symlink(&real, lab.path("bin/next"))?;
        fs::rename(lab.path("bin/next"), &file)?;
        let asked = ["restart", "--json"];
        let (one, other) = tokio::join!(edge.run(&asked), edge.run(&asked));
        let mut serving = edge.process.pid();
        let mut done: Vec<serde_json::Value> = Vec::new();
        for outcome in [one?, other?] {
            if outcome.code == 0 {
                done.push(serde_json::from_str(&outcome.stdout)?);
            } else {
                refused(&outcome, "already")?;
            }
        }
        ensure!(!done.is_empty(), "neither was done");
        while let Some(at) = done.iter().position(|one| one["before"] == serving) {
            serving = done.remove(at)["process"].as_u64().context("a process")?.try_into()?;
            edge.successors.note(serving);
        }
        ensure!(done.is_empty(), "two took one place: {done:?}");
        serves(&edge, &mut visitor).await?;
        let second = Process::start("second edge", Edge::command(&lab, &["run"])?)?;
        second.log.wait_for("already runs on this data directory").await?;

        // The old process is told to stop while the new one gets ready: both end, which is what was asked for last.
        mute(&lab)?;
        let (outcome, pid) = tokio::join!(edge.run(&["restart"]), async {
            let pid = mute_pid(&lab).await?;
            signal(serving, "TERM").await.map(|()| pid)
        });
        refused(&outcome?, "told to stop")?;
        let (socket, new) = (lab.path("edge/edge.sock"), format!("/proc/{}", pid?));
        let gone = async {
            while socket.exists() || Path::new(&new).exists() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, gone).await.context("an edge that was told to stop, or its new process")?;
        ensure!(TcpStream::connect("127.0.0.1:443").await.is_err(), "somebody still listens");
        Ok(())
    });
}

// F3
#[test]
fn after_a_restart_that_failed_at_its_last_step_the_edge_does_again_what_it_rested() {
    run("unserved", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        fs::create_dir_all(lab.path("bin"))?;
        symlink(program("edge")?, lab.path("bin/edge"))?;
        let mut command = lab.command(lab.path("bin/edge"));
        command.arg("run").arg("--config").arg(lab.path("edge.toml"));
        let edge = Edge::start_as(&lab, EdgeConfig::with_mail(&smtp), |_| command).await?;
        edge.apply(ACCESS).await?;
        let ca = edge.ca().await?;
        unready(&lab)?;
        refused(&edge.run(&["restart"]).await?, "ended before it served")?;
        let heard = fs::read_to_string(lab.path("heard")).context("the new process was not told to go")?;
        ensure!(heard.trim() == "\"go\"", "{heard}");
        // Mails are sent, what is declared changes, and another restart ends in the same way.
        login(&ca, &smtp, WWW, STAFF).await.context("by a code from a mail")?;
        edge.apply(ACCESS).await?;
        serves(&edge, &mut Visitor::new(&ca)?).await?;
        refused(&edge.run(&["restart"]).await?, "ended before it served")?;
        login(&ca, &smtp, WWW, "other@example.test").await.context("after the second restart")?;
        Ok(())
    });
}
