//! Network namespaces: a private loopback per test, and the access networks that connectors live behind.

use std::{
    fs, io,
    os::fd::AsFd,
    path::PathBuf,
    process::Command as Blocking,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Command;

/// One network namespace with loopback up, deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new namespace; `label` is for people who look at `ip netns`. Needs root.
    ///
    /// # Errors
    /// The system refused.
    pub fn new(label: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let label: String = label.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let name = format!("tt-{}-{}-{label}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]).context("network namespaces need root")?;
        let ns = Self { name };
        ns.ip(&["link", "set", "lo", "up"])?;
        // No second of waiting for each address to be found unique.
        ns.sysctl("net.ipv6.conf.default.accept_dad=0")?;
        fs::create_dir_all(ns.etc())?;
        fs::write(ns.etc().join("resolv.conf"), "# nothing resolves here but the hosts file\n")?;
        Ok(ns)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the hosts file that programs started by [`Netns::command`] see: address and names, one per entry.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn hosts(&self, entries: &[(&str, &str)]) -> Result<()> {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for (address, names) in entries {
            text += &format!("{address} {names}\n");
        }
        Ok(fs::write(self.etc().join("hosts"), text)?)
    }

    /// A command that will run in here and die with the test, whatever happens to the test.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Moves the calling thread (and every thread it will start) in here.
    ///
    /// # Errors
    /// The system refused.
    pub fn enter(&self) -> Result<()> {
        let file = fs::File::open(PathBuf::from("/run/netns").join(&self.name))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(io::Error::from)?;
        Ok(())
    }

    /// Runs a future on a thread and runtime of their own in here: its sockets are this namespace's.
    pub fn inside<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter().expect("entering the namespace");
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(work)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip` in here.
    ///
    /// # Errors
    /// `ip` failed; the message has what it said.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], args].concat())
    }

    /// Sets a kernel parameter in here.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn sysctl(&self, setting: &str) -> Result<()> {
        blocking("ip", &["netns", "exec", &self.name, "sysctl", "-qw", setting])
    }

    /// Loads nftables rules in here.
    ///
    /// # Errors
    /// `nft` refused them.
    pub fn nft(&self, rules: &str) -> Result<()> {
        blocking("ip", &["netns", "exec", &self.name, "nft", rules])
    }

    /// Lets it forward packets.
    ///
    /// # Errors
    /// The system refused.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net.ipv4.ip_forward=1")?;
        self.sysctl("net.ipv6.conf.all.forwarding=1")
    }

    fn etc(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
        let _ = fs::remove_dir_all(self.etc());
    }
}

/// Joins two namespaces by a cable; the ends are named and addressed as given (`name`, `address/prefix` or nothing).
///
/// # Errors
/// The system refused.
pub fn cable(a: (&Netns, &str, &str), b: (&Netns, &str, &str)) -> Result<()> {
    ip(&["link", "add", a.1, "netns", a.0.name(), "type", "veth", "peer", "name", b.1, "netns", b.0.name()])?;
    for (ns, device, address) in [a, b] {
        let mut add = vec!["addr", "add", address, "dev", device];
        if address.contains(':') {
            add.push("nodad");
        }
        if !address.is_empty() {
            ns.ip(&add)?;
        }
        // Checksums are otherwise left to hardware that is not there, which NAT and tunnels in software stumble over.
        blocking("ip", &["netns", "exec", ns.name(), "ethtool", "-K", device, "tx", "off", "rx", "off"])?;
        ns.ip(&["link", "set", device, "up"])?;
    }
    Ok(())
}

/// Deletes namespaces that a killed run left behind.
///
/// # Errors
/// The list could not be read.
pub fn sweep() -> Result<()> {
    for folder in ["/run/netns", "/etc/netns"] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix("tt-").and_then(|rest| rest.split('-').next()) else { continue };
            if !PathBuf::from("/proc").join(pid).exists() {
                let _ = ip(&["netns", "del", &name]);
                let _ = fs::remove_dir_all(PathBuf::from("/etc/netns").join(&name));
            }
        }
    }
    Ok(())
}

fn ip(args: &[&str]) -> Result<()> {
    blocking("ip", args)
}

fn blocking(program: &str, args: &[&str]) -> Result<()> {
    let output = Blocking::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
