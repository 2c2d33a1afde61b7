//! The access networks that connectors live behind: NAT, IPv6 only, DS-Lite, MAP-E, and a path that swallows big packets.
//!
//! The edge's side is one namespace (`wan`) at 203.0.113.10 and 2001:db8:ff::10; the machine with the service is another
//! (`lan`), which nothing can reach from outside.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};

use crate::{Lab, Netns, PATIENCE, Process, netns::cable, process::signal, raw::find};

/// The edge's IPv4 address.
pub const EDGE_V4: &str = "203.0.113.10";
/// The edge's IPv6 address.
pub const EDGE_V6: &str = "2001:db8:ff::10";
/// The host names that both sides resolve by their hosts files.
const NAMES: &str = "access.example.test www.example.test app.example.test";

/// An access network: the private machine, the public side, and what is between.
#[derive(Debug)]
pub struct AccessNetwork {
    /// Where the connector and the service are.
    pub lan: Netns,
    /// Where the edge and the visitors are.
    pub wan: Netns,
    /// Routers in between, nearest to the private machine first.
    pub routers: Vec<Netns>,
    /// The device of `wan` through which everything comes.
    pub wan_device: &'static str,
}

/// Drops what nobody inside asked for, and hides the inside behind the outgoing device's address.
fn masquerade(inside: &str, outside: &str, ports: &str) -> String {
    format!(
        "table ip t {{
  chain post {{ type nat hook postrouting priority 100; policy accept; oifname \"{outside}\" meta l4proto {{ tcp, udp }} masquerade {ports}; oifname \"{outside}\" masquerade; }}
  chain forw {{ type filter hook forward priority 0; policy drop; ct state established,related accept; iifname \"{inside}\" accept; tcp flags syn tcp option maxseg size set rt mtu; }}
}}
"
    )
}

impl AccessNetwork {
    /// One NAT; whatever comes in uninvited is dropped.
    ///
    /// # Errors
    /// The system refused.
    pub fn behind_nat() -> Result<Self> {
        let (lan, nat, wan) = (Netns::new("lan")?, Netns::new("nat")?, Netns::new("wan")?);
        cable((&lan, "l0", "192.168.1.10/24"), (&nat, "n0", "192.168.1.1/24"))?;
        cable((&nat, "n1", "203.0.113.1/24"), (&wan, "w0", "203.0.113.10/24"))?;
        lan.ip(&["route", "add", "default", "via", "192.168.1.1"])?;
        nat.forward()?;
        nat.nft(&masquerade("n0", "n1", "random"))?;
        Self::named(Self { lan, wan, routers: vec![nat], wan_device: "w0" }, EDGE_V4)
    }

    /// IPv6 is all there is; whatever comes in uninvited is dropped.
    ///
    /// # Errors
    /// The system refused.
    pub fn ipv6_only() -> Result<Self> {
        let (lan, router, wan) = (Netns::new("lan")?, Netns::new("router")?, Netns::new("wan")?);
        cable((&lan, "l0", "2001:db8:1::10/64"), (&router, "n0", "2001:db8:1::1/64"))?;
        cable((&router, "n1", "2001:db8:ff::1/64"), (&wan, "w0", "2001:db8:ff::10/64"))?;
        lan.ip(&["-6", "route", "add", "default", "via", "2001:db8:1::1"])?;
        wan.ip(&["-6", "route", "add", "default", "via", "2001:db8:ff::1"])?;
        router.forward()?;
        router.nft(
            "table ip6 t {
  chain forw { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname \"n0\" accept; }
}
",
        )?;
        Self::named(Self { lan, wan, routers: vec![router], wan_device: "w0" }, EDGE_V6)
    }

    /// DS-Lite: the uplink is IPv6 only; IPv4 goes through a softwire (MTU 1450) to the carrier's NAT with 256 ports.
    ///
    /// # Errors
    /// The system refused.
    pub fn ds_lite() -> Result<Self> {
        let (lan, b4, aftr, wan) = (Netns::new("lan")?, Netns::new("b4")?, Netns::new("aftr")?, Netns::new("wan")?);
        cable((&lan, "l0", "192.168.1.10/24"), (&b4, "b0", "192.168.1.1/24"))?;
        cable((&b4, "b1", "2001:db8:1::2/64"), (&aftr, "a0", "2001:db8:1::1/64"))?;
        cable((&aftr, "a1", "203.0.113.1/24"), (&wan, "w0", "203.0.113.10/24"))?;
        // The kernels at hand have no ip6_tunnel; VXLAN over IPv6 does the same to packets.
        for (ns, device, local, remote, address) in [
            (&b4, "b1", "2001:db8:1::2", "2001:db8:1::1", "192.0.0.2/29"),
            (&aftr, "a0", "2001:db8:1::1", "2001:db8:1::2", "192.0.0.1/29"),
        ] {
            ns.ip(&[
                "link", "add", "sw0", "mtu", "1450", "type", "vxlan", "id", "4", "local", local, "remote", remote,
                "dstport", "4789", "dev", device,
            ])?;
            ns.ip(&["addr", "add", address, "dev", "sw0"])?;
            ns.ip(&["link", "set", "sw0", "up"])?;
            ns.forward()?;
        }
        lan.ip(&["route", "add", "default", "via", "192.168.1.1"])?;
        b4.ip(&["route", "add", "default", "via", "192.0.0.1"])?;
        aftr.ip(&["route", "add", "192.168.1.0/24", "via", "192.0.0.2"])?;
        aftr.nft(&masquerade("sw0", "a1", "to :2048-2303"))?;
        Self::named(Self { lan, wan, routers: vec![b4, aftr], wan_device: "w0" }, EDGE_V4)
    }

    /// Doubly NATed, the outer one with 240 ports for everybody (as MAP-E gives a household).
    ///
    /// # Errors
    /// The system refused.
    pub fn map_e() -> Result<Self> {
        let (lan, nat, cgn, wan) = (Netns::new("lan")?, Netns::new("nat")?, Netns::new("cgn")?, Netns::new("wan")?);
        cable((&lan, "l0", "192.168.1.10/24"), (&nat, "n0", "192.168.1.1/24"))?;
        cable((&nat, "n1", "100.64.0.2/24"), (&cgn, "c0", "100.64.0.1/24"))?;
        cable((&cgn, "c1", "203.0.113.1/24"), (&wan, "w0", "203.0.113.10/24"))?;
        lan.ip(&["route", "add", "default", "via", "192.168.1.1"])?;
        nat.ip(&["route", "add", "default", "via", "100.64.0.1"])?;
        nat.forward()?;
        cgn.forward()?;
        nat.nft(&masquerade("n0", "n1", "random"))?;
        cgn.nft(&masquerade("c0", "c1", "to :1024-1263"))?;
        Self::named(Self { lan, wan, routers: vec![nat, cgn], wan_device: "w0" }, EDGE_V4)
    }

    /// A NAT behind which the path takes packets of at most `mtu` bytes and drops bigger ones without a word.
    ///
    /// # Errors
    /// The system refused.
    pub fn black_hole(mtu: u32) -> Result<Self> {
        let net = Self::behind_nat()?;
        net.routers[0].nft(&format!(
            "table ip hole {{
  chain forw {{ type filter hook forward priority -10; policy accept; ip length > {mtu} drop; }}
  chain quiet {{ type filter hook output priority 0; policy accept; icmp type destination-unreachable drop; }}
}}
"
        ))?;
        Ok(net)
    }

    fn named(self, edge: &str) -> Result<Self> {
        self.lan.hosts(&[(edge, NAMES)])?;
        self.wan.hosts(&[(edge, NAMES)])?;
        Ok(self)
    }

    /// Captures every packet that passes the edge's side, until [`Capture::stop`].
    ///
    /// # Errors
    /// tcpdump did not start.
    pub async fn capture(&self, lab: &Lab) -> Result<Capture<'_>> {
        let file = lab.path("capture.pcap");
        let mut command = self.wan.command("tcpdump");
        command
            .args(["-i", self.wan_device, "-s", "0", "-B", "65536", "-U", "--immediate-mode", "-Z", "root", "-w"])
            .arg(&file);
        let process = Process::start("tcpdump", command)?;
        process.log.wait_for("listening on").await?;
        Ok(Capture { process, file, net: self })
    }
}

/// A running capture.
#[derive(Debug)]
pub struct Capture<'a> {
    process: Process,
    file: std::path::PathBuf,
    net: &'a AccessNetwork,
}

/// The last packet of every capture: once it is in the file, so is all that came before it.
const LAST: &[u8] = b"the last packet of this capture";

impl Capture<'_> {
    /// Ends it and gives the bytes of all packets.
    ///
    /// # Errors
    /// The last packet never came, or the file could not be read.
    pub async fn stop(mut self) -> Result<Vec<u8>> {
        let device = self.net.wan_device;
        self.net.wan.inside(async move {
            let socket = UdpSocket::bind("0.0.0.0:0").await?;
            socket.set_broadcast(true)?;
            socket.bind_device(Some(device.as_bytes()))?;
            socket.send_to(LAST, "255.255.255.255:9").await
        })?;
        let complete = async {
            while find(&std::fs::read(&self.file)?, LAST).is_none() {
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, complete).await.context("the last packet in the capture")??;
        signal(self.process.pid(), "INT").await?;
        self.process.wait().await?;
        Ok(std::fs::read(self.file)?)
    }
}
