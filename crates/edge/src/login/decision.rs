//! Whether a mail is sent: decided in the background, so that neither words nor time tell a stranger.
//!
//! The page that takes an address does the same for every address: it opens a challenge that no code fits, and puts a job
//! here. Only the job looks at the policies; when they could admit the address, the challenge gets a code and the code a
//! mail. For any other address everything but the mail is done, too, down to the question whether the mail server is there,
//! so that neither how long the next request waits for the store nor when a challenge ends tells the two apart.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use tokio::{sync::mpsc, task::JoinHandle};
use tunnel_auth::Pin;
use tunnel_policy::Circumstances;
use tunnel_proto::{AppId, EmailAddress, Hostname, Name, UnixTime};

use crate::{
    Lang, Reference,
    keys::Keys,
    mail::{PasskeyMail, PinMail, QueueError},
    snapshot::Snapshot,
    store::{SecretHash, Store, StoreError},
    task,
};

use super::destination::Destination;

/// How many codes may wait to be decided. When it is full, whoever asks is told to wait, whatever the address.
const QUEUE: usize = 1024;
/// How many mails about new passkeys may wait to be written down. When it is full, one is dropped, and said to be.
const NEWS: usize = 256;

/// A code that was asked for.
pub struct PinJob {
    /// The challenge's stored id.
    pub(crate) challenge: SecretHash,
    /// Hash of the login cookie it is bound to.
    pub(crate) login: SecretHash,
    /// What it opens.
    pub(crate) opens: Opens,
    /// The host that the mail names.
    pub(crate) host: Hostname,
    /// The address that was typed.
    pub(crate) email: EmailAddress,
    /// The login method.
    pub(crate) method: Name,
    /// The circumstances by which policies are judged.
    pub(crate) judged: Circumstances,
    /// Where it was asked for, as the mail says.
    pub(crate) source: IpAddr,
    /// When.
    pub(crate) asked: UnixTime,
    /// What the browser calls itself.
    pub(crate) user_agent: String,
    /// The language of the page.
    pub(crate) lang: Lang,
    /// The reference of the request.
    pub(crate) reference: Reference,
}

/// What a code opens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opens {
    /// A destination; the address must be eligible for it.
    Destination(AppId),
    /// The set-up, for whoever has its link; the link was judged before.
    Setup,
}

/// Where codes wait to be decided, and mails about new passkeys to be written down.
#[derive(Clone, Debug)]
pub struct PinQueue(mpsc::Sender<PinJob>, mpsc::Sender<PasskeyMail>);

/// The other end of a [`PinQueue`].
pub struct PinJobs(mpsc::Receiver<PinJob>, mpsc::Receiver<PasskeyMail>);

/// A queue and its other end.
pub fn queue() -> (PinQueue, PinJobs) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (news, told) = mpsc::channel(NEWS);
    (PinQueue(sender, news), PinJobs(receiver, told))
}

impl PinQueue {
    /// A place in the queue; `None` when it is full.
    pub(crate) fn place(&self) -> Option<mpsc::Permit<'_, PinJob>> {
        self.0.try_reserve().ok()
    }

    /// Has somebody told of a new passkey. Nobody waits for it.
    pub(crate) fn tell(&self, mail: PasskeyMail) {
        if self.1.try_send(mail).is_err() {
            tracing::warn!("a person is not told of a new passkey: too many wait");
        }
    }
}

/// What deciding needs of the edge.
#[async_trait]
pub trait PinOffice: Send + Sync + 'static {
    /// Who may go where, now.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// Where challenges are kept.
    fn store(&self) -> &dyn Store;
    /// What hashes codes.
    fn keys(&self) -> &Keys;
    /// Where people log in.
    fn login_host(&self) -> &Hostname;
    /// Queues a mail.
    async fn post(&self, mail: PinMail) -> Result<(), QueueError>;
    /// Queues a mail about a new passkey, where there is a mail server.
    async fn tell(&self, mail: PasskeyMail) -> Result<(), QueueError>;
}

/// The handle of the task that decides. Dropping it stops the task; codes that wait are then never sent.
#[derive(Debug)]
pub struct PinWorker(JoinHandle<()>);

impl PinWorker {
    /// Starts the task, which also ends when `office` or every queue is gone. Needs a tokio runtime.
    pub fn start(mut jobs: PinJobs, office: Weak<impl PinOffice>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(job) = jobs.0.recv() => {
                        let Some(office) = office.upgrade() else { return };
                        if let Some(Err(error)) = task::contain("pins", decide(&*office, job)).await {
                            tracing::error!(%error, "a code cannot be sent");
                        }
                    }
                    Some(mail) = jobs.1.recv() => {
                        let Some(office) = office.upgrade() else { return };
                        if let Some(Err(error)) = task::contain("pins", office.tell(mail)).await {
                            tracing::error!(%error, "a person cannot be told of a new passkey");
                        }
                    }
                    else => return,
                }
            }
        }))
    }
}

impl Drop for PinWorker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Arms the challenge and queues its mail, if the address is eligible.
async fn decide(office: &impl PinOffice, job: PinJob) -> Result<(), DecideError> {
    crate::faults::at("pins");
    let snapshot = office.snapshot();
    let eligible = match job.opens {
        Opens::Setup => true,
        Opens::Destination(id) => Destination::find(&snapshot, office.login_host(), &id)
            .is_some_and(|destination| destination.is_eligible(&snapshot, &job.email, job.judged, &job.method)),
    };
    if !eligible {
        tracing::debug!(reference = %job.reference, "no code: no policy could admit the address");
    }
    // Whether or not there will be a mail, the same is stored, and the same is seen of the time that storing takes. What
    // arms the challenge of an address that cannot be admitted is the hash of no code.
    let pin = Pin::from_random(crate::random());
    let code = match eligible {
        true => pin.hash(office.keys().hash_key(), &job.challenge, &job.login),
        false => crate::random(),
    };
    if !office.store().arm_pin(&job.challenge, &code).await? {
        // A newer challenge voided it meanwhile.
        return Ok(());
    }
    let mail = PinMail {
        to: job.email,
        host: job.host,
        pin,
        challenge: job.challenge,
        asked: job.asked,
        source: job.source,
        user_agent: job.user_agent,
        lang: job.lang,
        reference: job.reference,
        withheld: !eligible,
    };
    Ok(office.post(mail).await?)
}

#[derive(Debug, thiserror::Error)]
enum DecideError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}
