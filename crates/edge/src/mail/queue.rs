//! The queue: sealed in the store, worked off by one task.

use std::{collections::HashSet, net::IpAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tunnel_auth::pin::LIFE_FROM_HANDED_OVER;
use tunnel_proto::{EmailAddress, Hostname, UnixTime};

use super::{
    Delivery, Desk, PURPOSE, Sender, console,
    notice::{self, Notice},
    pin::{Letter, PinMail},
    smtp::{Attempt, CONNECTIONS},
};
use crate::{
    random,
    store::{MailOutcome, MailRecord, SecretHash, StoreError},
    task,
};

/// How often the queue is looked at while something in it waits for its time.
const GLANCE: Duration = Duration::from_secs(1);
/// Pauses before the second, third, … try, in seconds; the last one repeats. Greylisting servers want a minute or more,
/// and a PIN is worth nothing after thirty minutes.
const PAUSES: [u64; 6] = [2, 5, 15, 30, 60, 120];

/// How long handing over a mail takes at least, where it is only pretended; up to a quarter of a second more.
const WITHHELD_MIN: Duration = Duration::from_millis(30);

/// A PIN was handed over.
#[derive(Clone, Debug)]
pub struct PinSent {
    /// To whom.
    pub to: EmailAddress,
    /// What it opens.
    pub host: Hostname,
    /// Where it was asked for.
    pub source: IpAddr,
    /// The reference of the request.
    pub reference: String,
    /// When it was handed over.
    pub at: UnixTime,
}

/// Why a mail was not queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// This edge has no way to send mail.
    #[error("this edge cannot send mail; add `[smtp]` to its configuration")]
    NoDelivery,
    /// The mail cannot be written down.
    #[error("a mail cannot be written down: {0}")]
    Encode(#[from] serde_json::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn queue(desk: &Desk, mail: PinMail) -> Result<(), QueueError> {
    if matches!(desk.sender, Sender::None) {
        return Err(QueueError::NoDelivery);
    }
    let letter = Letter::new(&mail, &desk.config, random());
    let recipient = letter.recipient(&desk.hash);
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&letter)?);
    put(desk, &mail.to, recipient, &plain, letter.expires()).await
}

/// Seals what a mail is made of, and puts it into the queue.
pub(super) async fn put(
    desk: &Desk,
    to: &EmailAddress,
    recipient: SecretHash,
    plain: &[u8],
    expires: UnixTime,
) -> Result<(), QueueError> {
    let now = desk.clock.now();
    let record = MailRecord {
        id: 0,
        sealed: desk.seal.seal(PURPOSE, &recipient, plain, random()),
        recipient,
        domain: to.domain().to_owned(),
        queued: now,
        due: now,
        expires,
        tries: 0,
    };
    desk.store.queue_mail(&record).await?;
    desk.queued.notify_one();
    Ok(())
}

/// Works the queue off until the task is stopped, or `rests` and nothing is under way any more. Up to [`CONNECTIONS`] mails are
/// under way at once, so that one slow recipient's server does not keep everybody waiting.
pub(super) async fn work(desk: Arc<Desk>, rests: CancellationToken) {
    crate::faults::at("mail");
    let mut under_way = HashSet::new();
    let mut tasks = JoinSet::new();
    loop {
        if rests.is_cancelled() {
            while tasks.join_next().await.is_some() {}
            return;
        }
        let waiting = match fill(&desk, &mut under_way, &mut tasks).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "the mail queue cannot be read");
                true
            }
        };
        let glance = async {
            if waiting {
                tokio::time::sleep(GLANCE).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = desk.queued.notified() => {}
            () = rests.cancelled() => {}
            Some(done) = tasks.join_next() => match done {
                Ok(id) => drop(under_way.remove(&id)),
                // A task that broke leaves its mail in the queue; forget that it was under way.
                Err(error) => {
                    tracing::error!(%error, "handing a mail over broke");
                    tasks.shutdown().await;
                    under_way.clear();
                }
            },
            () = glance => {}
        }
    }
}

/// Starts what is due; says whether anything waits for its time.
async fn fill(desk: &Arc<Desk>, under_way: &mut HashSet<i64>, tasks: &mut JoinSet<i64>) -> Result<bool, StoreError> {
    let now = desk.clock.now();
    let files = match &desk.config.delivery {
        Delivery::Console { folder, .. } => console::remove_expired(folder, now).unwrap_or_else(|error| {
            tracing::warn!(%error, "expired mail files cannot be removed");
            true
        }),
        _ => false,
    };
    let free = CONNECTIONS.saturating_sub(under_way.len());
    if free > 0 {
        // Those under way are still in the queue and may come first.
        let most = u32::try_from(CONNECTIONS.saturating_mul(2)).unwrap_or(u32::MAX);
        for mail in desk.store.due_mails(now, most).await? {
            if under_way.len() < CONNECTIONS && under_way.insert(mail.id) {
                let desk = desk.clone();
                tasks.spawn(async move {
                    let id = mail.id;
                    // What breaks is the one, and not what else is under way.
                    let attempted = task::contain("mail", attempt(&desk, mail)).await;
                    if let Some(Err(error)) = &attempted {
                        tracing::error!(%error, "the outcome of a mail cannot be noted");
                    }
                    if !matches!(attempted, Some(Ok(()))) {
                        // Not at once again: what was handed over but not noted would be sent twice a second.
                        tokio::time::sleep(Duration::from_secs(5)).await;
                    }
                    id
                });
            }
        }
    }
    // Whatever is queued at all, due or not.
    let queued = desk.store.due_mails(UnixTime(i64::MAX.unsigned_abs()), 1).await?;
    Ok(files || (!queued.is_empty() && under_way.len() < CONNECTIONS))
}

/// One try to hand a mail over, and its outcome noted.
async fn attempt(desk: &Desk, mail: MailRecord) -> Result<(), StoreError> {
    crate::faults::at("letter");
    let now = desk.clock.now();
    if mail.expires <= now {
        return desk.store.mail_outcome(mail.id, &MailOutcome::Lapsed, now).await;
    }
    let opened = desk.seal.open(PURPOSE, &mail.recipient, &mail.sealed).ok();
    let notice = opened.as_ref().and_then(|plain| serde_json::from_slice::<Notice>(plain.expose()).ok());
    if let Some(notice) = notice {
        return notice::attempt(desk, &mail, &notice).await;
    }
    let letter = opened.and_then(|plain| serde_json::from_slice::<Letter>(plain.expose()).ok());
    let Some(letter) = letter else {
        let outcome = MailOutcome::Bounced("the queued mail cannot be opened".to_owned());
        return desk.store.mail_outcome(mail.id, &outcome, now).await;
    };
    if !desk.store.pin_waits(&letter.challenge, now).await? {
        // Used, void or superseded by a newer code: it would only confuse.
        return desk.store.mail_outcome(mail.id, &MailOutcome::Lapsed, now).await;
    }
    // The code lives ten minutes from here, and never longer than the request's thirty.
    let until = now.plus(LIFE_FROM_HANDED_OVER).min(letter.expires());
    // Whether mail is delayed is a matter of the server alone, and is found out for every address: a recipient's own
    // trouble must not show on the next stranger's page.
    let there = probe(desk).await;
    desk.delayed.store(there.is_err(), Ordering::Relaxed);
    let attempt = match there {
        Err(detail) => Attempt::Later(detail),
        Ok(()) if letter.withheld => {
            let [random] = random::<1>();
            tokio::time::sleep(WITHHELD_MIN.saturating_add(Duration::from_millis(u64::from(random)))).await;
            desk.store.pin_sent(&letter.challenge, until).await?;
            return desk.store.mail_outcome(mail.id, &MailOutcome::Withheld, desk.clock.now()).await;
        }
        Ok(()) => deliver(desk, &letter, now, until).await,
    };
    let noted = desk.clock.now();
    match attempt {
        Attempt::Taken => {
            desk.store.pin_sent(&letter.challenge, until).await?;
            desk.store.mail_outcome(mail.id, &MailOutcome::Sent, noted).await?;
            let sent = PinSent {
                to: letter.to.clone(),
                host: letter.host.clone(),
                source: letter.source,
                reference: letter.reference.clone(),
                at: noted,
            };
            (desk.observer)(&sent);
            Ok(())
        }
        Attempt::Later(detail) => {
            tracing::warn!(mail = mail.id, tries = mail.tries, %detail, "a mail has to wait");
            let due = noted.plus(pause(mail.tries));
            desk.store.mail_outcome(mail.id, &MailOutcome::Deferred(due, detail), noted).await
        }
        Attempt::Never(detail) => {
            tracing::warn!(mail = mail.id, %detail, "a mail was refused");
            desk.store.pin_sent(&letter.challenge, until).await?;
            desk.store.mail_outcome(mail.id, &MailOutcome::Bounced(detail), noted).await
        }
    }
}

/// Whether mail could leave now.
pub(super) async fn probe(desk: &Desk) -> Result<(), String> {
    match &desk.sender {
        Sender::Smtp(smtp) => smtp.probe().await,
        Sender::Console => Ok(()),
        Sender::None => Err("this edge cannot send mail any more".to_owned()),
    }
}

async fn deliver(desk: &Desk, letter: &Letter, now: UnixTime, until: UnixTime) -> Attempt {
    let console_from;
    let from = match &desk.config.delivery {
        Delivery::Smtp { from, .. } => from,
        _ => {
            let Ok(from) = format!("Access <no-reply@{}>", desk.config.zone).parse() else {
                return Attempt::Never("the zone makes no sender".to_owned());
            };
            console_from = from;
            &console_from
        }
    };
    let message = match letter.message(&desk.config, from, now, until) {
        Ok(message) => message,
        Err(error) => return Attempt::Never(error.to_string()),
    };
    match (&desk.sender, &desk.config.delivery) {
        (Sender::Smtp(smtp), _) => smtp.send(message).await,
        (Sender::Console, Delivery::Console { terminal, folder }) => {
            let words = letter.words(&desk.config, until);
            // A small file for the person who waits at this terminal; not worth a thread.
            match console::deliver(terminal, folder, letter, &words, &message.formatted(), until) {
                Ok(()) => Attempt::Taken,
                Err(error) => Attempt::Later(error.to_string()),
            }
        }
        _ => Attempt::Later("this edge cannot send mail any more".to_owned()),
    }
}

/// How long to wait after a mail failed that had been tried `tries` times before.
fn pause(tries: u32) -> Duration {
    let at = usize::try_from(tries).unwrap_or(usize::MAX);
    let last = PAUSES.last().copied().unwrap_or(120);
    Duration::from_secs(PAUSES.get(at).copied().unwrap_or(last))
}
