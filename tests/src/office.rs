//! An office behind a NAT, an edge on the internet, and somebody at home who opens what is in the office.
//!
//! The lab's own machine is the one at home. In the office there are the machine with the connector and another one, which
//! nothing else than the office can reach.

use anyhow::{Result, ensure};

use crate::{
    Connector, Edge, EdgeConfig, Lab, Netns, Process, Smtp, Visitor,
    access::{Home, approve},
    edge::LOGIN_HOST,
    netns::cable,
    stage::STAFF,
};

/// The edge's address.
pub const EDGE: &str = "203.0.113.10";
/// The first address at home, and its router.
pub const HOME: (&str, &str) = ("198.51.100.20", "198.51.100.1");
/// Another network at home, as after a change from one Wi-Fi to another.
pub const OTHER_HOME: (&str, &str) = ("198.51.101.30", "198.51.101.1");
/// The device of the machine at home.
pub const HOME_DEVICE: &str = "h0";
/// What the other machine of the office is reached at: a desktop, a NAS, a server.
pub const DESKS: [&str; 3] = ["192.168.1.29", "192.168.1.5", "192.168.1.11"];

/// The networks, the edge, and a person.
#[derive(Debug)]
pub struct Office {
    /// The machine with the connector, at 192.168.1.10.
    pub machine: Lab,
    /// The other machine, at [`DESKS`].
    pub desk: Lab,
    /// Everything between the three networks.
    pub internet: Netns,
    /// The edge.
    pub edge: Edge,
    /// The access client at home.
    pub home: Home,
    /// The person's browser.
    pub visitor: Visitor,
    smtp: Smtp,
    _others: [Netns; 2],
}

/// Lets nothing in that nobody inside asked for, and hides the inside.
const NAT: &str = "table ip t {
  chain post { type nat hook postrouting priority 100; policy accept; oifname \"g1\" masquerade; }
  chain forw { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname \"b0\" accept; }
}
";

impl Office {
    /// Everything, with `names` (below the edge's zone) in all hosts files, and `access` applied.
    ///
    /// # Errors
    /// A part did not come up.
    pub async fn open(lab: &Lab, names: &[&str], access: &str) -> Result<Self> {
        let (machine, desk) = (lab.beside(Netns::new("machine")?), lab.beside(Netns::new("desk")?));
        let (gate, internet, server) = (Netns::new("gate")?, Netns::new("internet")?, Netns::new("edge")?);
        cable((machine.net(), "m0", "192.168.1.10/24"), (&gate, "p0", ""))?;
        cable((desk.net(), "d0", "192.168.1.29/24"), (&gate, "p1", ""))?;
        gate.ip(&["link", "add", "b0", "type", "bridge"])?;
        gate.ip(&["addr", "add", "192.168.1.1/24", "dev", "b0"])?;
        gate.ip(&["link", "set", "b0", "up"])?;
        for port in ["p0", "p1"] {
            gate.ip(&["link", "set", port, "master", "b0"])?;
        }
        for address in &DESKS[1..] {
            desk.net().ip(&["addr", "add", &format!("{address}/24"), "dev", "d0"])?;
        }
        machine.net().ip(&["route", "add", "default", "via", "192.168.1.1"])?;
        cable((&gate, "g1", "192.0.2.2/30"), (&internet, "i0", "192.0.2.1/30"))?;
        gate.ip(&["route", "add", "default", "via", "192.0.2.1"])?;
        gate.nft(NAT)?;
        cable((&server, "e0", "203.0.113.10/24"), (&internet, "i1", "203.0.113.1/24"))?;
        server.ip(&["route", "add", "default", "via", "203.0.113.1"])?;
        let at_home = format!("{}/24", HOME.0);
        cable((lab.net(), HOME_DEVICE, &at_home), (&internet, "i2", &format!("{}/24", HOME.1)))?;
        internet.ip(&["addr", "add", &format!("{}/24", OTHER_HOME.1), "dev", "i2"])?;
        lab.net().ip(&["route", "add", "default", "via", HOME.1])?;
        for router in [&gate, &internet] {
            router.forward()?;
        }
        let names = names.iter().fold(LOGIN_HOST.to_owned(), |all, name| format!("{all} {name}"));
        for net in [lab.net(), machine.net(), &server] {
            net.hosts(&[(EDGE, &names)])?;
        }

        let smtp = Smtp::start_in(lab, &server).await?;
        let config = EdgeConfig {
            listen: vec![format!("{EDGE}:443")],
            http_listen: vec![format!("{EDGE}:80")],
            ..EdgeConfig::with_mail(&smtp)
        };
        let edge = Edge::start_in(lab, &server, config).await?;
        edge.apply(access).await?;
        let ca = edge.ca().await?;
        let visitor = Visitor::at(&ca, format!("{EDGE}:443").parse()?, format!("{EDGE}:80").parse()?)?;
        let home = Home::new(lab, "laptop", &ca)?;
        Ok(Self { machine, desk, internet, edge, home, visitor, smtp, _others: [gate, server] })
    }

    /// Starts a connector on the machine for it, with these words, and waits until it is up.
    ///
    /// # Errors
    /// It ended or did not come up in time.
    pub async fn publish(&self, words: &[&str]) -> Result<Connector> {
        let mut command = Connector::command(&self.machine)?;
        command.args(words);
        Connector::start(&format!("connector {}", words.join(" ")), command).await
    }

    /// Lets the client in that has opened the browser for the `count`th time.
    ///
    /// # Errors
    /// The browser was not opened, or a page was not as expected.
    pub async fn let_in(&mut self, count: usize) -> Result<()> {
        let url = self.home.sent_to(count).await?;
        let page = approve(&mut self.visitor, &self.smtp, &url, STAFF, None).await?;
        ensure!(page.status() == 200, "{} at {}:\n{}", page.status(), page.url, page.text());
        Ok(())
    }

    /// Logs in at a host by the command for it.
    ///
    /// # Errors
    /// The login failed.
    pub async fn log_in(&mut self, host: &str) -> Result<()> {
        let login = self.home.command(&["login", &format!("https://{host}")])?;
        self.log_in_by(login).await
    }

    /// Logs in by a command, which has nothing to ask where there is a login already.
    ///
    /// # Errors
    /// The login failed.
    pub async fn log_in_by(&mut self, command: tokio::process::Command) -> Result<()> {
        let before = self.home.opened().len();
        let mut login = Process::start("access login", command)?;
        let asked = tokio::select! {
            status = login.wait() => {
                status?;
                false
            }
            sent = self.home.sent_to(before + 1) => sent.map(|_| true)?,
        };
        if asked {
            self.let_in(before + 1).await?;
        }
        ensure!(login.wait().await?.success(), "{}", login.log.text());
        Ok(())
    }
}
