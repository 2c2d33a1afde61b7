//! Real services that are no web pages, on a machine of the lab: iPerf3, OpenSSH, Samba, PostgreSQL, Redis, desktops by VNC
//! and RDP.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{
    Lab, Process,
    edge::listens_in,
    process::{Finished, finish},
};

fn here(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// An iPerf3 server.
///
/// # Errors
/// It did not start.
pub async fn iperf3(lab: &Lab, port: u16) -> Result<Process> {
    let mut command = lab.command("iperf3");
    command.args(["-s", "-B", "127.0.0.1", "-p", &port.to_string()]);
    let mut server = Process::start("iperf3 server", command)?;
    listens_in(lab.net(), &mut server, here(port)).await?;
    Ok(server)
}

/// An OpenSSH server that lets in a key of its own making, for root.
#[derive(Debug)]
pub struct Sshd {
    /// The program.
    pub process: Process,
    /// The private key that it lets in.
    pub key: PathBuf,
}

impl Sshd {
    /// Starts it on `address`, with root's home at `home`.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(lab: &Lab, address: SocketAddr, home: &Path) -> Result<Self> {
        let dir = lab.path("sshd");
        fs::create_dir_all(&dir)?;
        fs::create_dir_all(home)?;
        fs::create_dir_all("/run/sshd")?;
        let (host, key) = (dir.join("host"), dir.join("user"));
        for path in [&host, &key].into_iter().filter(|path| !path.exists()) {
            let mut make = lab.command("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
            finish(make).await?.ok()?;
        }
        let keys = dir.join("authorized_keys");
        fs::copy(key.with_extension("pub"), &keys)?;
        let mut command = lab.command("/usr/sbin/sshd");
        command.args(["-f", "/dev/null", "-D", "-e", "-p", &address.port().to_string(), "-h"]).arg(&host);
        for option in [
            format!("ListenAddress={}", address.ip()),
            "StrictModes=no".to_owned(),
            "PermitRootLogin=prohibit-password".to_owned(),
            "UsePAM=no".to_owned(),
            "PidFile=none".to_owned(),
            "MaxStartups=100".to_owned(),
            "Subsystem=sftp internal-sftp".to_owned(),
            format!("AuthorizedKeysFile={}", keys.display()),
        ] {
            command.arg("-o").arg(option);
        }
        let command = lab.privately(&command, "mount --bind \"$0\" /root", home);
        let mut process = Process::start("sshd", command)?;
        listens_in(lab.net(), &mut process, address).await?;
        Ok(Self { process, key })
    }
}

/// A Samba server with one share, `nas`, for everybody.
#[derive(Debug)]
pub struct Samba {
    /// The program.
    pub process: Process,
    /// What is shared.
    pub folder: PathBuf,
}

impl Samba {
    /// Starts it on `address`.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(lab: &Lab, address: SocketAddr) -> Result<Self> {
        let dir = lab.path("samba");
        let folder = dir.join("nas");
        for sub in ["nas", "private", "lock", "state", "cache", "pid", "ncalrpc"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        // The lab's directory is the owner's; the share is used as root, who owns it.
        let (at, ip, port) = (dir.display(), address.ip(), address.port());
        let config = format!(
            "[global]\n  interfaces = {ip}\n  bind interfaces only = yes\n  smb ports = {port}\n  server role = standalone\n  \
             map to guest = Bad User\n  guest account = root\n  log level = 0\n  disable netbios = yes\n  \
             private dir = {at}/private\n  lock directory = {at}/lock\n  state directory = {at}/state\n  \
             cache directory = {at}/cache\n  pid directory = {at}/pid\n  ncalrpc dir = {at}/ncalrpc\n  \
             load printers = no\n  printing = bsd\n  printcap name = /dev/null\n\
             [nas]\n  path = {at}/nas\n  guest ok = yes\n  read only = no\n"
        );
        let file = lab.write("samba/smb.conf", &config)?;
        let mut command = lab.command("/usr/sbin/smbd");
        command.args(["-F", "--debug-stdout", "-s"]).arg(file);
        let mut process = Process::start("smbd", command)?;
        listens_in(lab.net(), &mut process, address).await?;
        Ok(Self { process, folder })
    }
}

/// A PostgreSQL server for the user `app`, without a password.
#[derive(Debug)]
pub struct Postgres {
    /// The program.
    pub process: Process,
    /// Where its client programs are.
    pub programs: PathBuf,
    /// Its certificate, for the name `db.internal`.
    pub certificate: PathBuf,
}

impl Postgres {
    /// Starts it on 127.0.0.1:`port`.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(lab: &Lab, port: u16) -> Result<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is missing: `tests/run --tools`")?;
        let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max().context("no PostgreSQL")?;
        let programs = newest.join("bin");
        // The server refuses to be root's, and the lab's directory is closed to others.
        let dir = tempfile::Builder::new().prefix("tunnel-postgres-").tempdir()?.keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        let data = dir.join("data");
        let as_postgres = |program: &Path| {
            let mut command = lab.command("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
                .arg(program)
                .current_dir("/");
            command
        };
        let mut init = as_postgres(&programs.join("initdb"));
        init.arg("-D").arg(&data).args(["-A", "trust", "-U", "app", "--no-sync"]);
        finish(init).await?.ok()?;
        let (key, certificate) = (data.join("server.key"), data.join("server.crt"));
        let mut make = as_postgres("openssl".as_ref());
        make.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=db.internal",
            "-addext",
        ]);
        make.args(["subjectAltName=DNS:db.internal", "-keyout"]).arg(&key).arg("-out").arg(&certificate);
        finish(make).await?.ok()?;
        let mut command = as_postgres(&programs.join("postgres"));
        command.arg("-D").arg(&data).args([
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "ssl=on",
            "-p",
        ]);
        command.arg(port.to_string()).arg("-k").arg(&dir);
        let mut process = Process::start("postgres", command)?;
        listens_in(lab.net(), &mut process, here(port)).await?;
        Ok(Self { process, programs, certificate })
    }
}

/// A Redis server.
///
/// # Errors
/// It did not start.
pub async fn redis(lab: &Lab, port: u16) -> Result<Process> {
    let mut command = lab.command("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    let mut server = Process::start("redis", command)?;
    listens_in(lab.net(), &mut server, here(port)).await?;
    Ok(server)
}

/// The colour of a desktop's screen.
pub const DESKTOP_COLOUR: &str = "#d2691e";

/// A desktop by VNC, whose screen has one colour: the X server `display` on 127.0.0.1:`port`, for everybody.
///
/// # Errors
/// It did not start.
pub async fn vnc(lab: &Lab, display: u16, port: u16) -> Result<Process> {
    unlock(display);
    let mut command = lab.command("Xvnc");
    command.arg(format!(":{display}")).args(["-geometry", "640x480", "-depth", "24", "-SecurityTypes", "None"]);
    command.args(["-localhost", "-rfbport", &port.to_string(), "-nolisten", "unix", "-listen", "tcp", "-ac"]);
    let mut screen = Process::start("Xvnc", command)?;
    listens_in(lab.net(), &mut screen, here(port)).await?;
    let mut paint = lab.command("xsetroot");
    paint.args(["-display", &format!("127.0.0.1:{display}"), "-solid", DESKTOP_COLOUR]);
    finish(paint).await?.ok()?;
    Ok(screen)
}

/// Forgets that an X server had this display, which each test has its own ones of: one that was killed leaves a file with its number
/// behind, and once another process has that number the next server takes it for the old one.
fn unlock(display: u16) {
    // Mostly there is none.
    let _ = fs::remove_file(format!("/tmp/.X{display}-lock"));
}

/// A desktop by RDP: xrdp before a VNC server.
#[derive(Debug)]
pub struct Desktop {
    /// The RDP server.
    pub rdp: Process,
    _screen: Process,
}

impl Desktop {
    /// Starts it on `address`, in the lab.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(lab: &Lab, address: SocketAddr, display: u16) -> Result<Self> {
        let dir = lab.path("desktop");
        fs::create_dir_all(&dir)?;
        let port = 5900 + display;
        let screen = vnc(lab, display, port).await?;
        let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
        let mut make = lab.command("openssl");
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=desktop", "-keyout"]);
        make.arg(&key).arg("-out").arg(&certificate);
        finish(make).await?.ok()?;
        let config = format!(
            "[Globals]\nini_version=1\nfork=true\nport=tcp://{address}\ntcp_nodelay=true\nsecurity_layer=tls\n\
             crypt_level=high\ncertificate={}\nkey_file={}\nssl_protocols=TLSv1.2, TLSv1.3\nautorun=screen\n\
             allow_channels=true\nmax_bpp=24\n\
             [Logging]\nLogFile={}\nLogLevel=INFO\nEnableSyslog=false\n\
             [Channels]\n\
             [screen]\nname=screen\nlib=libvnc.so\nip=127.0.0.1\nport={port}\nusername=na\npassword=\n",
            certificate.display(),
            key.display(),
            dir.join("xrdp.log").display(),
        );
        let file = lab.write("desktop/xrdp.ini", &config)?;
        let mut command = lab.command("/usr/sbin/xrdp");
        command.args(["-n", "-c"]).arg(file);
        let mut rdp = Process::start("xrdp", command)?;
        listens_in(lab.net(), &mut rdp, address).await?;
        Ok(Self { rdp, _screen: screen })
    }
}

/// FreeRDP at `port` of this machine.
pub fn freerdp(lab: &Lab, port: u16) -> Command {
    let mut client = lab.command("xfreerdp");
    client.arg(format!("/v:127.0.0.1:{port}"));
    client.args(["/cert:ignore", "/sec:tls", "/u:na", "/p:na", "/w:640", "/h:480", "/bpp:24", "-decorations"]);
    client.arg("/log-level:WARN");
    client
}

/// Looks at a desktop with a program for it, in a virtual screen, and takes a picture of what that shows.
///
/// # Errors
/// There is no desktop, or no picture of it.
pub async fn picture(lab: &Lab, mut viewer: Command, display: u16, file: &str) -> Result<PathBuf> {
    unlock(display);
    let mut command = lab.command("Xvfb");
    command.arg(format!(":{display}")).args([
        "-screen",
        "0",
        "640x480x24",
        "-nolisten",
        "unix",
        "-listen",
        "tcp",
        "-ac",
    ]);
    let mut screen = Process::start("Xvfb", command)?;
    listens_in(lab.net(), &mut screen, here(6000 + display)).await?;
    let name = format!("127.0.0.1:{display}");
    viewer.env("DISPLAY", &name);
    let mut client = Process::start("viewer", viewer)?;
    let path = lab.path(file);
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        if let Some(status) = client.ended()? {
            bail!("the viewer ended with {status}:\n{}", client.log.tail(20));
        }
        let mut shot = lab.command("import");
        shot.args(["-display", &name, "-window", "root"]).arg(&path);
        finish(shot).await?.ok()?;
        if has_colour(lab, &path).await? {
            return Ok(path);
        }
    }
    bail!("the desktop's colour did not appear:\n{}", client.log.tail(20))
}

/// Whether most of a picture has the desktop's colour.
async fn has_colour(lab: &Lab, picture: &Path) -> Result<bool> {
    let mut measure = lab.command("convert");
    measure.arg(picture).args([
        "-fuzz",
        "6%",
        "-fill",
        "white",
        "-opaque",
        DESKTOP_COLOUR,
        "-fill",
        "black",
        "+opaque",
        "white",
    ]);
    measure.args(["-format", "%[fx:mean]", "info:"]);
    let share: f64 = finish(measure).await?.ok()?.trim().parse()?;
    Ok(share > 0.5)
}

/// A program that uses a service, run to its end.
///
/// # Errors
/// It did not end in time.
pub async fn used(lab: &Lab, program: &str, args: &[&str]) -> Result<Finished> {
    let mut command = lab.command(program);
    command.args(args);
    finish(command).await
}
