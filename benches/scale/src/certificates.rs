//! Certificates of tunnels, made on the data of an edge that does not run: over its socket each would be a change of its own.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tunnel_edge::{
    Clock,
    keys::Keys,
    store::{CertificateHolder, CertificateRecord, DATABASE_NAME, Store, sqlite::SqliteStore},
};
use tunnel_proto::{
    Hostname, TunnelId,
    identity::{CertRole, KeyAndCsr},
};

use crate::edge::ZONE;

/// What a connector of one tunnel needs.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Paper {
    pub(crate) hostnames: Vec<String>,
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate for each tunnel, as the edge itself makes and records them, with the hostnames that are routed there.
pub(crate) async fn issue(data_dir: &Path) -> Result<Vec<Paper>> {
    let (store, now) = (SqliteStore::open(data_dir.join(DATABASE_NAME)).await?, Clock::System.now());
    let keys = Keys::load(data_dir, &store, now).await?;
    let ca = keys.authority(&store, &Hostname::parse(ZONE)?, now).await?;
    let (_, declared) = store.declared().await?;
    let mut routed: HashMap<TunnelId, Vec<String>> = HashMap::new();
    for route in &declared.routes {
        routed.entry(route.tunnel).or_default().push(route.hostname.to_string());
    }
    let mut papers = Vec::with_capacity(declared.tunnels.len());
    for tunnel in &declared.tunnels {
        let key = KeyAndCsr::generate()?;
        let issued = ca.issue(&key.csr_pem, CertRole::Connector(tunnel.id), now)?;
        let holder = CertificateHolder::Tunnel(tunnel.id);
        let record = CertificateRecord { serial: issued.serial_hex, holder, issued: now, expires: issued.expires };
        store.put_certificate(&record).await?;
        papers.push(Paper {
            hostnames: routed.remove(&tunnel.id).unwrap_or_default(),
            ca: ca.certificate_pem().to_owned(),
            certificate: issued.certificate_pem,
            key: key.key_pem.to_string(),
        });
    }
    store.close().await;
    Ok(papers)
}

/// Writes them where [`read`] finds them, a line for each.
pub(crate) fn write(path: &Path, papers: &[Paper]) -> Result<()> {
    let lines = papers.iter().map(|paper| Ok(serde_json::to_string(paper)? + "\n")).collect::<Result<String>>()?;
    std::fs::write(path, lines).context("certificates")
}

pub(crate) fn read(path: &Path) -> Result<Vec<Paper>> {
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| serde_json::from_str(line).context("a certificate")).collect()
}
