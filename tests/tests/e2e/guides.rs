//! The guides for services that are no web pages: what they tell their readers to type is typed here, in the order in which
//! it stands there, on the machine that is meant.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use tokio::process::Command;
use tunnel_tests::{
    Lab, Office, Process,
    access::listening,
    edge::listens_in,
    guide::{self, Part},
    office::DESKS,
    process::{finish, program},
    run,
    services::{Desktop, Postgres, Samba, Sshd, picture, redis, used, vnc},
};

/// The guides that a test here follows.
const GUIDES: &[&str] = &["databases", "iperf3", "rdp", "smb", "ssh"];

/// What is not typed here, by its beginning, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("mount -t cifs", "needs the module cifs of the kernel, which machines for tests do not have"),
    ("mstsc", "is a program of Windows"),
    ("New-SmbMapping", "is a command of Windows"),
    ("net use", "is a command of Windows"),
];

/// What a reader has in the place of the guides' examples, in all of them.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("example.com", "example.test"),
    // The NAS of the lab calls its share so.
    ("//127.0.0.1/share", "//127.0.0.1/nas"),
    // Nobody is here to type a password.
    ("-U name", "-U name%password"),
    ("/u:name", "/u:name /p:password /cert:tofu"),
    // A second is enough.
    ("iperf3 -c", "iperf3 -t 1 -c"),
];

/// The hostnames of all guides.
const NAMES: &[&str] = &[
    "app.example.test",
    "cache.example.test",
    "db.example.test",
    "jump.example.test",
    "nas.example.test",
    "pc.example.test",
    "rdp.example.test",
    "ssh.example.test",
    "vnc.example.test",
];

/// Programs that show a desktop until they are closed.
const VIEWERS: &[&str] = &["xfreerdp", "vncviewer"];
/// The display of the first one; no other test has it, since displays are the whole machine's.
const FIRST_DISPLAY: u16 = 31;

/// Somebody who follows a guide.
struct Reader {
    lab: Lab,
    office: Office,
    /// What is root's home to the programs at home.
    home: PathBuf,
    placeholders: Vec<(String, String)>,
    /// What was exported to the commands that follow.
    exported: String,
    logins: BTreeSet<String>,
    /// What goes on beside, by where it listens or what it publishes.
    beside: Vec<(String, Process)>,
    pictures: u16,
}

impl Reader {
    async fn new(lab: &Lab) -> Result<Self> {
        let mut access = String::from(
            "login_methods:\n  - {name: pin, type: one_time_pin}\npolicies:\n  - name: staff-only\n    action: allow\n    \
             include: [{email_domain: example.test}]\n    destinations: [\"192.168.1.0/24:*\"]\n  - {name: machines, \
             action: service_auth, include: [{any_service_token: true}]}\napplications:\n",
        );
        for name in NAMES {
            let (short, _) = name.split_once('.').context("a hostname")?;
            access += &format!("  - {{name: {short}, hostnames: [{name}], policies: [staff-only, machines]}}\n");
        }
        let office = Office::open(lab, NAMES, &access).await?;
        let home = office.home.folder().clone();
        // The programs by their names.
        for name in ["access", "connector"] {
            let link = lab.path("bin").join(name);
            fs::create_dir_all(lab.path("bin"))?;
            std::os::unix::fs::symlink(program(name)?, link)?;
        }
        let placeholders = PLACEHOLDERS.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let (exported, logins, beside) = (String::new(), BTreeSet::new(), Vec::new());
        Ok(Self { lab: lab.clone(), office, home, placeholders, exported, logins, beside, pictures: 0 })
    }

    fn mine(&self, text: &str) -> String {
        self.placeholders.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// A shell with a line, at home: `~` is this reader's for programs that do not ask `HOME`, too.
    fn shell(&self, line: &str) -> Result<Command> {
        let mut shell = self.office.home.command(&[])?;
        let path = format!("{}:{}", self.lab.path("bin").display(), std::env::var("PATH")?);
        shell.env("PATH", path);
        let run = "mount --bind \"$0\" /root && export HOME=/root && cd /root && set -- sh -c \"$LINE\"";
        let mut shell = self.lab.privately(&shell, run, &self.home);
        shell.env("LINE", format!("{}{line}", self.exported));
        Ok(shell)
    }

    /// Follows a guide; gives what each command said that came to an end.
    async fn follow(&mut self, name: &str) -> Result<Vec<(String, String)>> {
        let mut said = Vec::new();
        for part in guide::read(name)? {
            match part {
                Part::Command(line) if NOT_HERE.iter().any(|(begin, _)| line.starts_with(begin)) => {}
                Part::Command(line) => {
                    println!("$ {line}");
                    let output = self.type_in(&line).await.with_context(|| format!("docs/{name}.md: `{line}`"))?;
                    said.push((line, output));
                }
                Part::Text(text) => self.put(&text).with_context(|| format!("docs/{name}.md shows:\n{text}"))?,
            }
        }
        Ok(said)
    }

    async fn type_in(&mut self, line: &str) -> Result<String> {
        let mine = self.mine(line);
        let words: Vec<_> = mine.split_whitespace().collect();
        let value = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
        match (words[0], words.get(1).copied(), value("--url")) {
            ("connector", ..) => {
                let host = value("--hostname").context("a connector publishes something")?.to_owned();
                self.beside.retain(|(what, _)| *what != host);
                let connector = self.office.publish(&words[1..]).await?;
                // The first use of it would open the browser.
                if self.logins.insert(host.clone()) {
                    self.office.log_in(&host).await?;
                }
                self.beside.push((host, connector.process));
            }
            ("iperf3", Some("-s"), _) => {
                let mut command = self.office.machine.command("iperf3");
                command.arg("-s");
                let mut server = Process::start(line, command)?;
                listens_in(self.office.machine.net(), &mut server, "127.0.0.1:5201".parse()?).await?;
                self.beside.push(("iperf3".to_owned(), server));
            }
            ("export", ..) => self.exported += &format!("{mine}; "),
            ("access", Some("login"), _) => {
                let shell = self.shell(&mine)?;
                self.office.log_in_by(shell).await?;
            }
            ("access", Some(_), Some(url)) => {
                // Whoever goes on to the next command with the same port has ended the one before.
                let (url, port) = (url.to_owned(), url.rsplit(':').next().unwrap_or_default().parse()?);
                for (_, before) in self.beside.extract_if(.., |(what, _)| *what == url) {
                    before.kill().await?;
                }
                let mut forward = Process::start(line, self.shell(&format!("exec {mine}"))?)?;
                listening(&mut forward, port).await?;
                self.beside.push((url, forward));
            }
            (viewer, ..) if VIEWERS.contains(&viewer) => {
                let (display, file) = (FIRST_DISPLAY + self.pictures, format!("picture-{}.png", self.pictures));
                self.pictures += 1;
                picture(&self.lab, self.shell(&format!("exec {mine}"))?, display, &file).await?;
            }
            _ => {
                let done = finish(self.shell(&mine)?).await?;
                let said = done.said();
                ensure!(done.code == 0, "exit code {}:\n{said}", done.code);
                return Ok(said);
            }
        }
        Ok(String::new())
    }

    /// A block for `~/.ssh/config`: it stands there, or is put there by the reader.
    fn put(&self, text: &str) -> Result<()> {
        if !text.starts_with("Host ") {
            bail!("what is to be done with this?");
        }
        let file = self.home.join(".ssh/config");
        let there = fs::read_to_string(&file)?;
        let mine = self.mine(text);
        let first = mine.lines().next().unwrap_or_default();
        let Some(at) = there.find(first) else {
            return Ok(fs::write(file, there + &mine)?);
        };
        // What was printed has the path of the program, and what tells of this test's edge.
        let program = Regex::new(r"(?m)ProxyCommand \S*/access")?;
        let shown = program.replace(&mine, "ProxyCommand access").into_owned();
        let printed = program.replace(&there[at..], "ProxyCommand access").into_owned();
        let told = Regex::new(r" --edge-ca \S+")?;
        let printed = told.replace(&printed, "").into_owned();
        ensure!(printed.starts_with(&shown), "`access ssh-config` printed\n{printed}");
        Ok(())
    }
}

/// What a command said.
fn said<'a>(all: &'a [(String, String)], begin: &str) -> Result<&'a str> {
    let found = all.iter().find(|(line, _)| line.starts_with(begin));
    Ok(&found.with_context(|| format!("the guide has no `{begin}`"))?.1)
}

#[test]
fn the_guide_for_ssh_works() {
    run("guide-ssh", async |lab| {
        let mut reader = Reader::new(&lab).await?;
        let (there, web1) = (lab.path("root-of-server"), lab.path("root-of-web1"));
        let server = Sshd::start(&reader.office.machine, "127.0.0.1:22".parse()?, &there).await?;
        let _web1 = Sshd::start(&reader.office.desk, format!("{}:22", DESKS[2]).parse()?, &web1).await?;
        let make = format!("git init -q --bare {0}/project.git && mkdir {0}/photos", there.display());
        used(&lab, "sh", &["-c", &make]).await?.ok()?;
        // What somebody has who uses SSH: a key that the servers know, and files.
        let ssh = reader.home.join(".ssh");
        fs::create_dir_all(&ssh)?;
        fs::copy(&server.key, ssh.join("id_ed25519"))?;
        fs::write(ssh.join("config"), "StrictHostKeyChecking accept-new\n")?;
        fs::create_dir_all(reader.home.join("photos"))?;
        fs::write(reader.home.join("photos/one.jpg"), "a picture")?;
        fs::write(reader.home.join("report.pdf"), "a report")?;

        let all = reader.follow("ssh").await?;
        assert!(said(&all, "echo x |")?.starts_with("SSH-2.0-"), "{all:?}");
        assert_eq!(fs::read_to_string(there.join("report.pdf"))?, "a report");
        assert_eq!(fs::read_to_string(there.join("photos/one.jpg"))?, "a picture");
        assert!(reader.home.join("project/.git").is_dir());
        // Each name has led to its own server.
        for (host, root) in [("ssh.example.test", &there), ("web1", &web1)] {
            used_at_home(&reader, &format!("ssh {host} touch was-here-{host}")).await?;
            assert!(root.join(format!("was-here-{host}")).exists(), "{host}");
        }
        Ok(())
    });
}

async fn used_at_home(reader: &Reader, line: &str) -> Result<String> {
    finish(reader.shell(line)?).await?.ok()
}

#[test]
fn the_guide_for_desktops_works() {
    run("guide-rdp", async |lab| {
        let mut reader = Reader::new(&lab).await?;
        let _rdp = Desktop::start(&reader.office.desk, format!("{}:3389", DESKS[0]).parse()?, 29).await?;
        let _vnc = vnc(&reader.office.machine, 30, 5900).await?;
        reader.follow("rdp").await?;
        assert_eq!(reader.pictures, 2, "one desktop was seen by RDP, one by VNC");
        // Without a bastion, too.
        let line = "xfreerdp /v:localhost:2244 /u:name";
        reader.type_in(line).await?;
        Ok(())
    });
}

#[test]
fn the_guide_for_file_shares_works() {
    run("guide-smb", async |lab| {
        let mut reader = Reader::new(&lab).await?;
        let samba = Samba::start(&reader.office.desk, format!("{}:445", DESKS[1]).parse()?).await?;
        fs::write(reader.home.join("report.pdf"), "a report")?;
        let all = reader.follow("smb").await?;
        assert!(said(&all, "smbclient")?.contains("report.pdf"), "{all:?}");
        assert_eq!(fs::read_to_string(samba.folder.join("report.pdf"))?, "a report");
        // The loopback address of its own, with the port that file shares have.
        let listed = used_at_home(&reader, "smbclient //127.0.0.2/nas -N -c ls").await?;
        assert!(listed.contains("report.pdf"), "{listed}");
        Ok(())
    });
}

#[test]
fn the_guide_for_databases_works() {
    run("guide-db", async |lab| {
        let mut reader = Reader::new(&lab).await?;
        let machine = reader.office.machine.clone();
        let postgres = Postgres::start(&machine, 5432).await?;
        let _redis = redis(&machine, 6379).await?;
        let make = ["-h", "127.0.0.1", "-U", "app", "postgres", "-c", "create database app"];
        used(&machine, postgres.programs.join("psql").to_str().context("a path")?, &make).await?.ok()?;
        fs::create_dir_all(reader.home.join(".postgresql"))?;
        fs::copy(&postgres.certificate, reader.home.join(".postgresql/root.crt"))?;
        let made = reader.office.edge.run(&["admin", "service-token", "create", "robot", "--json"]).await?.ok()?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        for (variable, field) in [("TUNNEL_SERVICE_TOKEN_ID", "id"), ("TUNNEL_SERVICE_TOKEN_SECRET", "secret")] {
            let value = made[field].as_str().context("a service token")?;
            reader.placeholders.push((format!("{variable}=…"), format!("{variable}={value}")));
        }
        let all = reader.follow("databases").await?;
        assert_eq!(said(&all, "redis-cli")?.trim(), "PONG");
        let dumped = fs::read_to_string(reader.home.join("app.sql"))?;
        assert!(dumped.contains("PostgreSQL database dump complete"), "{dumped}");
        // It was a machine that made the dump, and the guide's last forward is that machine's.
        let audit = reader.office.edge.run(&["admin", "audit", "-n", "200"]).await?.ok()?;
        assert!(audit.contains("service-token:robot"), "{audit}");
        Ok(())
    });
}

#[test]
fn the_guide_for_iperf3_works() {
    run("guide-iperf3", async |lab| {
        let mut reader = Reader::new(&lab).await?;
        // The guide itself has its reader log in.
        reader.logins.insert("app.example.test".to_owned());
        let all = reader.follow("iperf3").await?;
        assert_eq!(reader.office.home.opened().len(), 1);
        assert_eq!(all.iter().filter(|(line, _)| line.starts_with("iperf3 -c")).count(), 4, "{all:?}");
        for (line, said) in all.iter().filter(|(line, _)| line.starts_with("iperf3 -c")) {
            assert!(said.contains("iperf Done."), "{line}: {said}");
        }
        Ok(())
    });
}

/// A guide that nobody follows here, and an excuse that no guide needs any more, are both forgotten ones.
#[test]
fn every_guide_is_followed() {
    let text = fs::read_to_string(guide::folder().join("access.md")).unwrap();
    let (_, listed) = text.split_once("Guides:").expect("access.md lists the guides");
    let (listed, _) = listed.split_once(".\n").expect("the list ends");
    let link = Regex::new(r"\((\w+)\.md\)").unwrap();
    let listed: BTreeSet<_> = link.captures_iter(listed).map(|found| found[1].to_owned()).collect();
    assert_eq!(listed, GUIDES.iter().map(|name| (*name).to_owned()).collect());
    let shown: Vec<_> = GUIDES.iter().flat_map(|name| guide::read(name).unwrap()).collect();
    for (begin, because) in NOT_HERE {
        let needed = shown.iter().any(|part| matches!(part, Part::Command(line) if line.starts_with(begin)));
        assert!(needed, "no guide has `{begin}`, which is not typed because it {because}");
    }
}
