//! Mail that the edge sends: one-time PINs, and word of a passkey that was added.
//!
//! A mail is [queued](Mailer::queue_pin) sealed in the store, so that it survives a restart and tells nothing to who reads
//! the database. A worker hands it to the mail server, or to the terminal in the quick start; only then do the PIN's ten
//! minutes begin, and only then is the time written into the mail. What the server refuses for now is tried again with
//! growing pauses; a PIN that is older than thirty minutes is worthless and lapses, word of a passkey after a day.

mod address;
mod console;
#[cfg(test)]
mod fake;
mod notice;
mod pin;
mod queue;
mod smtp;
pub(crate) mod software;

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tunnel_auth::{HashKey, SealKey};
use tunnel_proto::{EmailAddress, Hostname};

use crate::{Clock, keys::Keys, store::Store, task};

pub use self::{
    address::{MailFrom, MailFromError},
    console::Terminal,
    notice::PasskeyMail,
    pin::PinMail,
    queue::{PinSent, QueueError},
    smtp::{SmtpConfig, SmtpConfigError},
};

/// What the edge needs to send mail.
pub struct MailConfig {
    /// The zone; its name stands at the head of each mail.
    pub zone: Hostname,
    /// What the organisation calls itself, in the place of the zone's name.
    pub name: Option<String>,
    /// The login host, which says who sent the mail.
    pub login_host: Hostname,
    /// Whom people may tell that codes arrive which they did not ask for.
    pub contact: Option<EmailAddress>,
    /// How mail leaves.
    pub delivery: Delivery,
}

impl MailConfig {
    /// What stands at the head of each mail.
    fn heading(&self) -> &str {
        self.name.as_deref().unwrap_or(self.zone.as_str())
    }
}

/// How mail leaves the edge.
pub enum Delivery {
    /// To a mail server.
    Smtp {
        /// The server.
        server: SmtpConfig,
        /// The sender.
        from: MailFrom,
    },
    /// To the terminal, and as files for the owner only: demo and quick start.
    Console {
        /// Where the code is printed. Never a log.
        terminal: Terminal,
        /// Where `*.eml` files are put until their code expires, `DATA-DIR/mail`.
        folder: PathBuf,
    },
    /// Nothing can be sent; a configured edge without `[smtp]` and without a PIN method.
    None,
}

/// Whom the mailer tells that a PIN was handed over (for the audit record).
pub type Observer = Arc<dyn Fn(&PinSent) + Send + Sync>;

/// The handle of outgoing mail. Its worker stops when it is dropped; what is still queued waits for the next start.
pub struct Mailer {
    desk: Arc<Desk>,
    worker: Mutex<Worker>,
}

/// The task that works the queue off, and the way to have it rest.
struct Worker {
    /// It is to rest.
    rests: CancellationToken,
    /// It does.
    rested: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    /// Begins once the one before rests, if there was one: two would hand over the same mail.
    fn start(desk: &Arc<Desk>, before: Option<CancellationToken>) -> Self {
        let (rests, rested) = (CancellationToken::new(), CancellationToken::new());
        let (own, resting, done) = (desk.clone(), rests.clone(), rested.clone());
        let task = task::keep("mail", move || {
            let (own, resting, done, before) = (own.clone(), resting.clone(), done.clone(), before.clone());
            async move {
                if let Some(before) = before {
                    before.cancelled().await;
                }
                queue::work(own, resting).await;
                done.cancel();
            }
        });
        Self { rests, rested, task }
    }
}

/// What the handle and its worker share.
struct Desk {
    config: MailConfig,
    sender: Sender,
    store: Arc<dyn Store>,
    seal: SealKey,
    hash: HashKey,
    clock: Clock,
    observer: Observer,
    queued: Notify,
    delayed: AtomicBool,
}

enum Sender {
    Smtp(smtp::Smtp),
    Console,
    None,
}

impl Mailer {
    /// Starts the worker, which takes up what an earlier run left in the queue. Needs a tokio runtime around it.
    pub fn start(
        config: MailConfig,
        store: Arc<dyn Store>,
        keys: &Keys,
        clock: Clock,
        observer: Observer,
    ) -> Result<Self, MailError> {
        Self::start_with(config, store, (keys.seal_key(PURPOSE), keys.hash_key().clone()), clock, observer)
    }

    fn start_with(
        config: MailConfig,
        store: Arc<dyn Store>,
        (seal, hash): (SealKey, HashKey),
        clock: Clock,
        observer: Observer,
    ) -> Result<Self, MailError> {
        let sender = match &config.delivery {
            Delivery::Smtp { server, .. } => Sender::Smtp(smtp::Smtp::new(server, &config.login_host)?),
            Delivery::Console { folder, .. } => {
                console::prepare(folder).map_err(|source| MailError::Folder { path: folder.clone(), source })?;
                Sender::Console
            }
            Delivery::None => Sender::None,
        };
        let (queued, delayed) = (Notify::new(), AtomicBool::new(false));
        let desk = Arc::new(Desk { config, sender, store, seal, hash, clock, observer, queued, delayed });
        let worker = Mutex::new(Worker::start(&desk, None));
        Ok(Self { desk, worker })
    }

    /// Takes up no more mails, and waits until those under way are handed over: another process goes on with the queue.
    /// Whether all are within `patience`.
    pub(crate) async fn rest(&self, patience: Duration) -> bool {
        let rested = {
            let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
            worker.rests.cancel();
            worker.rested.clone()
        };
        // Not aborted when it is late: a mail that is handed over and not noted would be sent again.
        tokio::time::timeout(patience, rested.cancelled()).await.is_ok()
    }

    /// Works the queue off again.
    pub(crate) fn work(&self) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.rests.is_cancelled() {
            *worker = Worker::start(&self.desk, Some(worker.rested.clone()));
        }
    }

    /// Queues a PIN's mail. Its challenge must be armed already: the mail may arrive before this returns.
    pub async fn queue_pin(&self, mail: PinMail) -> Result<(), QueueError> {
        queue::queue(&self.desk, mail).await
    }

    /// Queues the mail that tells somebody of a new passkey; does nothing where there is no mail server.
    pub async fn queue_passkey(&self, mail: &PasskeyMail) -> Result<(), QueueError> {
        notice::queue(&self.desk, mail).await
    }

    /// Whether the mail server was not to be reached the last time, so that codes arrive late. Says nothing about any address:
    /// it is asked for every one of them before its own mail is.
    pub fn is_delayed(&self) -> bool {
        self.desk.delayed.load(Ordering::Relaxed)
    }

    /// Whether codes appear in the terminal of the edge rather than in mailboxes.
    pub fn is_terminal(&self) -> bool {
        matches!(self.desk.sender, Sender::Console)
    }

    /// Looks at the queue now rather than when its next mail is due; for when a manual clock was moved.
    pub fn wake(&self) {
        self.desk.queued.notify_one();
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        let worker = self.worker.get_mut().unwrap_or_else(PoisonError::into_inner);
        worker.task.abort();
    }
}

/// What mails are sealed and hashed for.
const PURPOSE: &str = "mail";

/// Why mail cannot be sent at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// TLS to the mail server cannot be prepared.
    #[error("cannot prepare TLS to the mail server: {0}")]
    Tls(#[source] lettre::transport::smtp::Error),
    /// The folder for mail files cannot be used.
    #[error("mail folder `{path}`: {source}", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
