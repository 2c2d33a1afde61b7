//! One order: from the wish to the certificate.

use std::{sync::Arc, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tunnel_proto::{Hostname, UnixTime};

use super::{
    Acme, SEALED,
    answers::Laid,
    assemble,
    dns::{Deed, Records},
    plan::{Cause, Wish},
};
use crate::{clock::ClockStatus, config::ChallengeKind, keys::Keys, store::HeldCertificate};

/// How long an authority may take to make sure of names and give a certificate: seconds, with some of them minutes. Records
/// have a time of their own.
const PATIENCE: Duration = Duration::from_secs(300);
/// By how much the authority's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(300);
/// How often it is asked how far an order is.
const ASKING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(120));
/// The longest complaint that is kept, in characters.
const COMPLAINT_MAX: usize = 600;

/// Why there is no certificate.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) text: String,
}

impl Failure {
    /// What others wrote is in it, so it is one line, and not long.
    pub(super) fn new(cause: Cause, text: impl AsRef<str>) -> Self {
        let words: Vec<_> = text.as_ref().split(|c: char| c.is_whitespace() || c.is_control()).collect();
        Self { cause, text: words.join(" ").chars().take(COMPLAINT_MAX).collect() }
    }
}

/// What is laid out for an order; taken away when dropped.
struct Proof {
    laid: Vec<Laid>,
    records: Vec<(String, String)>,
    by: Option<Arc<Records>>,
    /// Whoever ends the edge waits for what is here.
    clearing: TaskTracker,
    /// That there may be something to take away yet.
    _pending: TaskTrackerToken,
}

impl Proof {
    fn new(by: Option<Arc<Records>>, clearing: &TaskTracker) -> Self {
        let (laid, records) = (Vec::new(), Vec::new());
        Self { laid, records, by, clearing: clearing.clone(), _pending: clearing.token() }
    }

    async fn take_away(&mut self) {
        while let Some((name, value)) = self.records.last() {
            if let Some(by) = &self.by {
                remove(by, name, value).await;
            }
            self.records.pop();
        }
    }
}

impl Drop for Proof {
    /// Of an order that was given up, records are still there.
    fn drop(&mut self) {
        let (records, by) = (std::mem::take(&mut self.records), self.by.take());
        let Some(by) = by.filter(|_| !records.is_empty()) else { return };
        match Handle::try_current() {
            Ok(runtime) => {
                let removing = async move {
                    for (name, value) in &records {
                        remove(&by, name, value).await;
                    }
                };
                self.clearing.spawn_on(removing, &runtime);
            }
            Err(_) => tracing::warn!(?records, "records of an order are left; remove them by hand"),
        }
    }
}

async fn remove(by: &Records, name: &str, value: &str) {
    if let Err(reason) = by.change(Deed::Remove, name, value).await {
        tracing::warn!(%name, reason, "a record of an order cannot be removed; remove it by hand");
    }
}

impl Acme {
    /// Orders a certificate by one kind of challenge. `replaced` names the one it follows, for authorities that want to know.
    pub(super) async fn obtain(
        &self,
        account: &Account,
        wish: &Wish,
        how: ChallengeKind,
        replaced: Option<CertificateIdentifier<'_>>,
        keys: &Keys,
    ) -> Result<HeldCertificate, Failure> {
        let mut proof = Proof::new(self.records.clone(), &self.clearing);
        let ordered = self.order(account, wish, how, replaced, &mut proof).await;
        proof.take_away().await;
        let (chain, key) = ordered?;
        let of_no_use = |reason: String| Failure::new(Cause::Refused, format!("what the authority gave: {reason}"));
        let (leaf, _) = assemble(&chain, PrivateKeyDer::Pkcs8(key.to_vec().into())).map_err(of_no_use)?;
        if let Some(missing) = wish.names.iter().find(|name| !leaf.names.iter().any(|one| one.as_str() == *name)) {
            return Err(of_no_use(format!("`{missing}` is not in it")));
        }
        let now = self.clock.now();
        if leaf.ends <= now || leaf.begins > now.plus(AHEAD) {
            return Err(of_no_use(not_good_now(&self.clock.status())));
        }
        let sealed = keys.seal(SEALED, wish.name.as_str().as_bytes(), &key);
        let directory = self.settings.directory.to_string();
        Ok(HeldCertificate { chain, sealed, directory, issued: leaf.begins, expires: leaf.ends })
    }

    async fn order(
        &self,
        account: &Account,
        wish: &Wish,
        how: ChallengeKind,
        replaced: Option<CertificateIdentifier<'_>>,
        proof: &mut Proof,
    ) -> Result<(String, zeroize::Zeroizing<Vec<u8>>), Failure> {
        let identifiers: Vec<_> = wish.names.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(replaced) = replaced {
            new = new.replaces(replaced);
        }
        // Each step up to the wait is bounded on its own.
        let mut order = account.new_order(&new).await.map_err(|error| self.accounts.failure(error))?;
        self.lay_out(&mut order, wish, how, proof).await?;
        if let (Some(records), false) = (&self.records, proof.records.is_empty()) {
            tokio::time::sleep(records.wait).await;
        }
        let finished = tokio::time::timeout(PATIENCE, self.finish(order, wish, how)).await;
        finished.unwrap_or_else(|_| Err(Failure::new(Cause::Unreachable, "the authority did not finish in time")))
    }

    /// From the answers that are laid out to the certificate.
    async fn finish(
        &self,
        mut order: Order,
        wish: &Wish,
        how: ChallengeKind,
    ) -> Result<(String, zeroize::Zeroizing<Vec<u8>>), Failure> {
        let failed = |error| self.accounts.failure(error);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status == AuthorizationStatus::Pending
                && let Some(mut challenge) = authorization.challenge(kind(how))
            {
                challenge.set_ready().await.map_err(failed)?;
            }
        }
        let polled = order.poll_ready(&ASKING).await;
        match polled {
            Ok(OrderStatus::Ready) => {}
            Err(error) if order.state().status != OrderStatus::Invalid => return Err(failed(error)),
            // It is over.
            _ => {
                let reason = why(&mut order).await.unwrap_or_else(|| "the authority does not say why".to_owned());
                return Err(Failure::new(Cause::Refused, format!("{}: {reason}", how.as_str())));
            }
        }
        let ours = |error: rcgen::Error| Failure::new(Cause::Refused, error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(ours)?;
        let mut params = CertificateParams::new(wish.names.clone()).map_err(ours)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(ours)?;
        order.finalize_csr(request.der()).await.map_err(failed)?;
        let chain = order.poll_certificate(&ASKING).await.map_err(failed)?;
        Ok((chain, key.serialize_der().into()))
    }

    /// Lays out an answer for each name that is still to be proven.
    async fn lay_out(
        &self,
        order: &mut Order,
        wish: &Wish,
        how: ChallengeKind,
        proof: &mut Proof,
    ) -> Result<(), Failure> {
        let refused = |text: String| Failure::new(Cause::Refused, text);
        // One for each name (RFC 8555 §7.1.3): otherwise it could have us make records without end.
        if order.state().authorizations.len() > wish.names.len() {
            return Err(refused("the authority asks about more names than were ordered".to_owned()));
        }
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.accounts.failure(error))?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                other => return Err(refused(format!("an authorization is {other:?}"))),
            }
            let challenge = authorization.challenge(kind(how));
            let challenge =
                challenge.ok_or_else(|| refused(format!("the authority does not offer {} here", how.as_str())))?;
            let Identifier::Dns(name) = challenge.identifier().identifier else {
                return Err(refused("the authority asks about something that is no name".to_owned()));
            };
            let host = Hostname::parse(name).map_err(|error| refused(format!("`{name}`: {error}")))?;
            // Nothing is laid out in the name of whatever an authority says.
            if !wish.is_about(&host) {
                return Err(refused(format!("the authority asks about `{host}`, which was not ordered")));
            }
            let answer = challenge.key_authorization();
            match how {
                ChallengeKind::Http01 => {
                    proof.laid.push(self.answers.lay_file(host, &challenge.token, answer.as_str()));
                }
                ChallengeKind::TlsAlpn01 => {
                    let digest = answer.digest();
                    let digest = digest.as_ref().try_into().map_err(|_| refused("a digest is 32 bytes".to_owned()))?;
                    let laid = self.answers.lay_certificate(host, digest);
                    proof.laid.push(laid.map_err(|error| refused(error.to_string()))?);
                }
                ChallengeKind::Dns01 => {
                    let records = self.records.as_ref().ok_or_else(|| refused("no records can be made".to_owned()))?;
                    let record = (format!("_acme-challenge.{host}"), answer.dns_value());
                    // Also when it is not known whether it was made.
                    proof.records.push(record.clone());
                    records.change(Deed::Add, &record.0, &record.1).await.map_err(refused)?;
                }
            }
        }
        Ok(())
    }

    /// From when until when the authority would have a certificate renewed, and when to ask it again (RFC 9773).
    pub(super) async fn suggested(account: &Account, chain: &str) -> Option<(UnixTime, UnixTime, Duration)> {
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
        let id = CertificateIdentifier::try_from(&leaf).ok()?;
        let (info, again) = account.renewal_info(&id).await.ok()?;
        let second = |at: time::OffsetDateTime| u64::try_from(at.unix_timestamp()).ok();
        let (start, end) = (second(info.suggested_window.start)?, second(info.suggested_window.end)?);
        (start <= end).then_some((UnixTime(start), UnixTime(end), again))
    }
}

const fn kind(how: ChallengeKind) -> ChallengeType {
    match how {
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

/// What to do where a certificate that was given just now is not good now: a clock is wrong, or was, here or there.
fn not_good_now(clock: &ClockStatus) -> String {
    let mend = if let Some(behind) = clock.behind() {
        format!(
            "the edge goes by a time {} s ahead of what the clock of this machine shows. Set the clock right; if it is right now, \
             and was wrong before, run `edge admin clock accept`",
            behind.as_secs()
        )
    } else if let Some(ahead) = clock.ahead() {
        format!("the clock of this machine has leapt forward by {} s. Set it right", ahead.as_secs())
    } else {
        "set the clock of this machine right if it is wrong; else the authority's is".to_owned()
    };
    format!("it is not good now: {mend}")
}

/// What the authority found where it looked.
async fn why(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return Some(problem.to_string());
        }
    }
    order.state().error.as_ref().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_not_long() {
        let failure = Failure::new(Cause::Refused, format!("a\nb\u{1b}[2J {}", "x".repeat(5000)));
        assert!(failure.text.starts_with("a b [2J xxx"), "{}", failure.text);
        assert_eq!(failure.text.chars().count(), COMPLAINT_MAX);
    }
}
