//! C4: what somebody left in the directory that the access client is started in, and in what it is given to open.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tokio::process::Command;
use tunnel_tests::{
    Connector, Echo, Edge, EdgeConfig, Lab, Process, Smtp,
    access::Home,
    edge::ACCESS,
    process::{finish, program},
    run,
    stage::APP,
};

/// Programs that something might look for, to open an address or on the way.
const PROGRAMS: &[&str] = &[
    "browser",
    "chromium",
    "curl",
    "edge",
    "firefox",
    "gio",
    "gnome-open",
    "kde-open",
    "open",
    "sensible-browser",
    "sh",
    "touch",
    "wsl-open",
    "www-browser",
    "x-www-browser",
    "xdg-mime",
    "xdg-open",
    "xdg-settings",
];
/// Files that something might read.
const FILES: &[&str] = &[
    ".config/tunnel/access/app.example.test.json",
    ".curlrc",
    ".env",
    ".local/state/tunnel/edge.sock",
    ".local/state/tunnel/quick-start.json",
    ".netrc",
    "access.json",
    "access.toml",
    "access.yaml",
    "access/app.example.test.json",
    "app.example.test.json",
    "ca.pem",
    "cert.pem",
    "config.yaml",
    "config.yml",
    "edge.toml",
    "forwards.yaml",
    "key.pem",
    "token",
    "tunnel/access/app.example.test.json",
];
/// Read by the test, to know that reading leaves a trace here.
const CONTROL: &str = "control";

/// A directory full of temptations.
struct Trap {
    folder: PathBuf,
}

impl Trap {
    fn set(lab: &Lab) -> anyhow::Result<Self> {
        let folder = lab.path("trap");
        for name in PROGRAMS {
            // Absolute throughout: the programs here are bait for the script, too.
            let script = format!("#!/bin/bash\n/usr/bin/touch '{}/RAN-{name}'\n", folder.display());
            let file = lab.write(&format!("trap/{name}"), &script)?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
        }
        for name in FILES.iter().chain(&[CONTROL]) {
            let file = lab.write(&format!("trap/{name}"), "{}\n")?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        }
        Ok(Self { folder })
    }

    /// When a file was last read.
    fn read_at(&self, name: &str) -> anyhow::Result<SystemTime> {
        Ok(fs::metadata(self.folder.join(name))?.accessed()?)
    }

    /// Does something, and looks that nothing here was run, read or added meanwhile.
    async fn untouched_by(&self, doing: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        // Older than everything, so that any reading shows also where only the first one is noted.
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        for name in FILES.iter().chain(&[CONTROL]) {
            fs::File::options()
                .write(true)
                .open(self.folder.join(name))?
                .set_times(fs::FileTimes::new().set_accessed(old))?;
        }
        let before = everything(&self.folder)?;
        doing.await?;
        assert_eq!(everything(&self.folder)?, before, "nothing was made here");
        fs::read(self.folder.join(CONTROL))?;
        assert_ne!(self.read_at(CONTROL)?, old, "the file system of the tests notes what is read");
        for name in FILES {
            assert_eq!(self.read_at(name)?, old, "{name} was read");
        }
        Ok(())
    }
}

/// All names below a folder.
fn everything(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn nothing_that_lies_in_the_current_directory_is_run_or_read() {
    run("planted", async |lab| {
        let smtp = Smtp::start(&lab).await?;
        let edge = Edge::with_access(&lab, EdgeConfig::with_mail(&smtp), ACCESS).await?;
        let echo = Echo::start().await?;
        let _connector = Connector::publish(&lab, APP, &echo.url()).await?;
        let home = Home::new(&lab, "laptop", &edge.ca().await?)?;
        let trap = Trap::set(&lab)?;
        let here = |args: &[&str]| -> anyhow::Result<Command> {
            let mut command = home.command(args)?;
            command.current_dir(&trap.folder);
            Ok(command)
        };
        let path = std::env::var("PATH")?;
        let tcp = ["tcp", "--hostname", APP, "--url", "127.0.0.1:7001"];

        // A display and no browser at hand; and with the current directory on the path, as some have it.
        for path in [path.clone(), format!(":.:{path}"), format!("{path}:")] {
            trap.untouched_by(async {
                // What finds the program for the lab must not be found here itself.
                let mut command = lab.privately(&here(&tcp)?, "export PATH=\"$0\"", Path::new(&path));
                command.env_remove("BROWSER").env("DISPLAY", ":9").env("XDG_DATA_DIRS", ":.");
                let mut client = Process::start("access", command)?;
                tunnel_tests::access::listening(&mut client, 7001).await?;
                let _held = tokio::net::TcpStream::connect("127.0.0.1:7001").await?;
                // The person is told where to go.
                client.log.wait_for(r"https://access\.example\.test/\.access/cli\S*").await?;
                // Whoever opens browsers has had its time.
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                client.kill().await
            })
            .await?;
        }

        // A browser with arguments, which no shell reads.
        let opened = lab.path("opened");
        let browser = lab.write("browser", &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\n", opened.display()))?;
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755))?;
        let inside =
            ["--new-window", "$(/usr/bin/touch", "X)", "`touch", "Y`", ";touch", "Z", "&&", "%%", "|tee", ">W"];
        trap.untouched_by(async {
            let mut command = here(&["login", APP])?;
            command.env("BROWSER", format!("{} {}", browser.display(), inside.join(" ")));
            let client = Process::start("access login", command)?;
            let url = client.log.wait_for(r"https://access\.example\.test/\.access/cli\S*").await?.remove(0);
            let said = async {
                loop {
                    match fs::read_to_string(&opened) {
                        Ok(said) if said.contains("https://") => return said,
                        _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                    }
                }
            };
            let said = tokio::time::timeout(tunnel_tests::PATIENCE, said).await?;
            let said: Vec<_> = said.lines().collect();
            let mut wanted = inside.map(|word| word.replace("%%", "%")).to_vec();
            wanted.push(url);
            assert_eq!(said, wanted, "each word as it is, and the address once");
            client.kill().await
        })
        .await?;

        // A credential goes to the curl of the system, if there is one there, and to no other.
        let secret = "s3cret-of-a-machine";
        for path in [format!(".:{path}"), format!(":{path}"), ".:".to_owned()] {
            trap.untouched_by(async {
                let mut command = here(&["curl", &format!("https://{APP}/")])?;
                command.env("TUNNEL_SERVICE_TOKEN_ID", "robot").env("TUNNEL_SERVICE_TOKEN_SECRET", secret);
                let command = lab.privately(&command, "export PATH=\"$0\"", Path::new(&path));
                let done = finish(command).await?;
                let found = path != ".:";
                assert_eq!(done.stderr.contains("there is no curl"), !found, "{}", done.said());
                Ok(())
            })
            .await?;
        }

        // Addresses and names that would be something else to a shell, or to the next program's command line.
        trap.untouched_by(async {
            for word in [
                "--help=x",
                "-oProxyCommand=touch X",
                "$(touch X).example.test",
                "`touch X`",
                "app.example.test;touch X",
                "app.example.test\n  ProxyCommand touch X",
                "app.example.test -x",
                "../../etc/passwd",
                "file:///etc/passwd",
                "javascript:alert(1)",
                "https://user@app.example.test",
                "https://app.example.test@evil.test",
                "%h",
            ] {
                let named = format!("--hostname={word}");
                for args in [
                    &["login", word][..],
                    &["tcp", &named],
                    &["ssh-config", &named],
                    &["token", "--app", word],
                    &["logout", word],
                ] {
                    let refused = finish(here(args)?).await?;
                    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{args:?}: {}", refused.said());
                }
            }
            Ok(())
        })
        .await?;
        assert!(home.opened().is_empty(), "{:?}", home.opened());
        assert!(program("access")?.is_absolute());
        Ok(())
    });
}
