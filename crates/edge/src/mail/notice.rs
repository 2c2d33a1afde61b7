//! The mail that says that a passkey was added: whoever it was, the person learns of it.

use std::{net::IpAddr, sync::atomic::Ordering, time::Duration};

use askama::Template;
use lettre::{
    Message,
    message::{
        MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use serde::{Deserialize, Serialize};
use tunnel_auth::HashKey;
use tunnel_proto::{EmailAddress, UnixTime};

use super::{
    Delivery, Desk, MailConfig, Sender, address,
    pin::MessageError,
    queue::{QueueError, probe, put},
    smtp::Attempt,
    software,
};
use crate::{
    Lang,
    pages::{Moment, words::plain},
    random,
    store::{MailOutcome, MailRecord, SecretHash, StoreError},
};

/// How long it is tried to hand the mail over: it is worth something later, too.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Pauses before the second, third, … try, in seconds; the last one repeats. Nobody waits for it.
const PAUSES: [u64; 5] = [10, 60, 300, 900, 3600];

fn pause(tries: u32) -> Duration {
    let at = usize::try_from(tries).unwrap_or(usize::MAX);
    Duration::from_secs(PAUSES.get(at).or(PAUSES.last()).copied().unwrap_or(3600))
}

/// A passkey that was added, for its person to be told.
#[derive(Clone, Debug)]
pub struct PasskeyMail {
    /// To whom.
    pub to: EmailAddress,
    /// What the passkey was called by whoever added it.
    pub label: String,
    /// When it was added.
    pub added: UnixTime,
    /// Where from.
    pub source: IpAddr,
    /// What the browser calls itself.
    pub user_agent: String,
    /// The language of the page.
    pub lang: Lang,
}

/// A [`PasskeyMail`] as it waits, sealed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notice {
    message_id: String,
    to: EmailAddress,
    label: String,
    added: UnixTime,
    source: IpAddr,
    software: String,
    ja: bool,
}

impl Notice {
    fn new(mail: &PasskeyMail, config: &MailConfig, random: [u8; 16]) -> Self {
        Self {
            message_id: format!("<{}@{}>", data_encoding::HEXLOWER.encode(&random), config.login_host),
            to: mail.to.clone(),
            label: mail.label.clone(),
            added: mail.added,
            source: mail.source,
            software: software::summary(&mail.user_agent, mail.lang),
            ja: mail.lang == Lang::Ja,
        }
    }

    fn recipient(&self, key: &HashKey) -> SecretHash {
        tunnel_auth::secret::keyed_hash(key, "mail recipient", &[self.to.as_str().as_bytes()])
    }

    fn words(&self, config: &MailConfig) -> Words {
        let lang = if self.ja { Lang::Ja } else { Lang::En };
        let say = |key, args: &[(&'static str, &str)]| plain(lang, key, args);
        let (name, login) = (config.heading(), config.login_host.as_str());
        Words {
            lang,
            heading: name.to_owned(),
            subject: say("mail-passkey-subject", &[("name", name)]),
            what: say("mail-passkey-what", &[("to", self.to.as_str())]),
            label: say("mail-passkey-label", &[("label", &self.label)]),
            when: say("mail-when", &[("when", &Moment::new(self.added, lang).minute())]),
            source: say("mail-source", &[("source", &self.source.to_string())]),
            software: say("mail-software", &[("software", &self.software)]),
            you: say("mail-passkey-you", &[]),
            not_you: say("mail-passkey-not-you", &[("login", login)]),
            contact: config
                .contact
                .as_ref()
                .map(|contact| say("mail-passkey-contact", &[("contact", contact.as_str())])),
            sent_by: say("mail-sent-by", &[("login", login), ("to", self.to.as_str())]),
        }
    }

    fn message(&self, config: &MailConfig, from: &address::MailFrom, now: UnixTime) -> Result<Message, MessageError> {
        let words = self.words(config);
        let to = address::recipient(&self.to).ok_or(MessageError::Recipient)?;
        let text = TextPart { m: &words }.render()?;
        let html = HtmlPart { m: &words }.render()?;
        let date = std::time::UNIX_EPOCH + Duration::from_secs(now.0);
        let ours = |name, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        let message = Message::builder()
            .from(from.0.clone())
            .to(to.into())
            .subject(words.subject.clone())
            .date(date)
            .message_id(Some(self.message_id.clone()))
            .raw_header(ours("Auto-Submitted", "auto-generated"))
            .raw_header(ours("X-Auto-Response-Suppress", "All"))
            .raw_header(ours("Content-Language", words.lang.tag()))
            .multipart(MultiPart::alternative_plain_html(text, html))?;
        Ok(message)
    }
}

/// Everything the mail says, as plain text.
struct Words {
    lang: Lang,
    heading: String,
    subject: String,
    what: String,
    label: String,
    when: String,
    source: String,
    software: String,
    you: String,
    not_you: String,
    contact: Option<String>,
    sent_by: String,
}

#[derive(Template)]
#[template(path = "passkey_mail.txt", escape = "none")]
struct TextPart<'a> {
    m: &'a Words,
}

#[derive(Template)]
#[template(path = "passkey_mail.html")]
struct HtmlPart<'a> {
    m: &'a Words,
}

/// Queues the mail where there is a mail server; where codes appear in a terminal nobody's mailbox is known to be theirs.
pub(super) async fn queue(desk: &Desk, mail: &PasskeyMail) -> Result<(), QueueError> {
    if !matches!(desk.sender, Sender::Smtp(_)) {
        return Ok(());
    }
    let notice = Notice::new(mail, &desk.config, random());
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&notice)?);
    put(desk, &mail.to, notice.recipient(&desk.hash), &plain, mail.added.plus(LIFE)).await
}

/// One try to hand the mail over, and its outcome noted.
pub(super) async fn attempt(desk: &Desk, mail: &MailRecord, notice: &Notice) -> Result<(), StoreError> {
    let there = probe(desk).await;
    desk.delayed.store(there.is_err(), Ordering::Relaxed);
    let attempt = match there {
        Err(detail) => Attempt::Later(detail),
        Ok(()) => deliver(desk, notice).await,
    };
    let noted = desk.clock.now();
    let outcome = match attempt {
        Attempt::Taken => MailOutcome::Sent,
        Attempt::Later(detail) => {
            tracing::warn!(mail = mail.id, tries = mail.tries, %detail, "a mail has to wait");
            MailOutcome::Deferred(noted.plus(pause(mail.tries)), detail)
        }
        Attempt::Never(detail) => {
            tracing::warn!(mail = mail.id, %detail, "a mail was refused");
            MailOutcome::Bounced(detail)
        }
    };
    desk.store.mail_outcome(mail.id, &outcome, noted).await
}

async fn deliver(desk: &Desk, notice: &Notice) -> Attempt {
    let (Sender::Smtp(smtp), Delivery::Smtp { from, .. }) = (&desk.sender, &desk.config.delivery) else {
        return Attempt::Never("this edge has no mail server any more".to_owned());
    };
    match notice.message(&desk.config, from, desk.clock.now()) {
        Ok(message) => smtp.send(message).await,
        Err(error) => Attempt::Never(error.to_string()),
    }
}
