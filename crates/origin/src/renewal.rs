//! Renewing the certificate over a link, at half its life.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tracing::{info, warn};
use tunnel_proto::{UnixTime, identity::KeyAndCsr};

use crate::{
    credentials::{CredentialStore, Credentials},
    live::Renewal,
    supervise::Fleet,
};

/// How often the clock is looked at: a machine that slept notices soon.
const LOOK: Duration = Duration::from_secs(15 * 60);
/// The pause after a renewal that failed. There are two weeks left.
const RETRY: Duration = Duration::from_secs(5 * 60);
/// Time for the edge to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Renews the certificate whenever it is due, for as long as it is polled.
pub(crate) async fn keep_renewed(fleet: Arc<Fleet>, store: Option<Arc<dyn CredentialStore>>) {
    tunnel_proto::faults::at("renewal");
    loop {
        let due = fleet.credentials.borrow().renewal_due_in(now());
        if due > Duration::ZERO {
            sleep(due.min(LOOK)).await;
            continue;
        }
        match renew(&fleet, store.clone()).await {
            Ok(expires) => info!(expires = expires.0, "certificate renewed"),
            Err(reason) => {
                warn!(reason, "the certificate was not renewed; trying again");
                sleep(RETRY).await;
            }
        }
    }
}

async fn renew(fleet: &Fleet, store: Option<Arc<dyn CredentialStore>>) -> Result<UnixTime, String> {
    let links = wait_for_link(fleet).await.ok_or("there is no link")?;
    let request = KeyAndCsr::generate().map_err(|error| error.to_string())?;
    let (reply, answer) = oneshot::channel();
    let renewal = Renewal { csr: request.csr_pem, reply };
    links.send(renewal).await.map_err(|_| "the link was lost")?;
    let renewed = timeout(ANSWER_LIMIT, answer).await.map_err(|_| "no answer")?.map_err(|_| "the link was lost")??;
    let current = fleet.credentials.borrow().clone();
    let next = Credentials::new(current.zone().clone(), &renewed.ca, &renewed.certificate, request.key_pem);
    let next = next.map_err(|error| error.to_string())?;
    if next.role() != current.role() || next.expires() <= current.expires() {
        return Err("the edge answered with another identity, or one that ends no later".to_owned());
    }
    if let Some(store) = store {
        let kept = next.clone();
        let stored =
            tokio::task::spawn_blocking(move || store.store(&kept)).await.map_err(|error| error.to_string())?;
        // Used all the same: it is good until this process ends, and the old one may outlive that.
        stored.unwrap_or_else(|error| warn!(%error, "the renewed certificate cannot be stored"));
    }
    let expires = next.expires();
    fleet.credentials.send_replace(next);
    Ok(expires)
}

async fn wait_for_link(fleet: &Fleet) -> Option<tokio::sync::mpsc::Sender<Renewal>> {
    let mut status = fleet.status.subscribe();
    loop {
        if let Some(renewals) = fleet.renewals() {
            return Some(renewals);
        }
        status.changed().await.ok()?;
    }
}

pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}
