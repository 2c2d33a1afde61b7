//! The mail with the code: text and HTML, saying the same.

use std::net::IpAddr;

use askama::Template;
use lettre::{
    Message,
    message::{
        MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use serde::{Deserialize, Serialize};
use tunnel_auth::{HashKey, Pin, pin::LIFE_FROM_REQUEST};
use tunnel_proto::{EmailAddress, Hostname, UnixTime};

use super::{MailConfig, address, software};
use crate::{
    Lang, Reference,
    pages::{Moment, words::plain},
    store::SecretHash,
};

/// A code to be mailed.
#[derive(Clone)]
pub struct PinMail {
    /// To whom.
    pub to: EmailAddress,
    /// What the code opens: the application's host, or the login host during set-up.
    pub host: Hostname,
    /// The code.
    pub pin: Pin,
    /// The stored id of the challenge, whose time begins when the mail is handed over.
    pub challenge: SecretHash,
    /// When it was asked for.
    pub asked: UnixTime,
    /// Where from.
    pub source: IpAddr,
    /// What the browser calls itself.
    pub user_agent: String,
    /// The language of the page that asked.
    pub lang: Lang,
    /// The reference of the request, for the audit record.
    pub reference: Reference,
    /// Whether it is to be treated like any other, and not sent: nobody could be admitted by this address.
    pub withheld: bool,
}

/// A [`PinMail`] as it waits, sealed. The mail's own number makes a repetition recognisable.
#[derive(Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) message_id: String,
    pub(super) to: EmailAddress,
    pub(super) host: Hostname,
    code: String,
    pub(super) challenge: SecretHash,
    pub(super) asked: UnixTime,
    pub(super) source: IpAddr,
    software: String,
    ja: bool,
    pub(super) reference: String,
    #[serde(default)]
    pub(super) withheld: bool,
}

impl Letter {
    pub(super) fn new(mail: &PinMail, config: &MailConfig, random: [u8; 16]) -> Self {
        Self {
            message_id: format!("<{}@{}>", data_encoding::HEXLOWER.encode(&random), config.login_host),
            to: mail.to.clone(),
            host: mail.host.clone(),
            code: mail.pin.grouped().to_string(),
            challenge: mail.challenge,
            asked: mail.asked,
            source: mail.source,
            software: software::summary(&mail.user_agent, mail.lang),
            ja: mail.lang == Lang::Ja,
            reference: mail.reference.to_string(),
            withheld: mail.withheld,
        }
    }

    pub(super) fn lang(&self) -> Lang {
        if self.ja { Lang::Ja } else { Lang::En }
    }

    /// When the mail is worthless.
    pub(super) fn expires(&self) -> UnixTime {
        self.asked.plus(LIFE_FROM_REQUEST)
    }

    /// What is logged in the recipient's place.
    pub(super) fn recipient(&self, key: &HashKey) -> SecretHash {
        tunnel_auth::secret::keyed_hash(key, "mail recipient", &[self.to.as_str().as_bytes()])
    }

    /// The code in two halves.
    pub(super) fn halves(&self) -> (&str, &str) {
        self.code.split_once(' ').unwrap_or((&self.code, ""))
    }

    /// The words of the mail, whose code lives until `until`.
    pub(super) fn words(&self, config: &MailConfig, until: UnixTime) -> Words<'_> {
        let lang = self.lang();
        let say = |key, args: &[(&'static str, &str)]| plain(lang, key, args);
        let until = Moment::new(until, lang).time();
        let contact = config.contact.as_ref().map(|contact| {
            let sentence = say("mail-keeps-happening", &[("contact", contact.as_str())]);
            // English sentences are set apart by a space, Japanese ones are not.
            if self.ja { sentence } else { format!(" {sentence}") }
        });
        Words {
            lang,
            heading: config.heading().to_owned(),
            subject: say("mail-subject", &[("host", self.host.as_str())]),
            code: &self.code,
            halves: self.halves(),
            type_it: say("mail-type-it", &[]),
            preview: say("mail-preview", &[("until", &until)]),
            works_once: say("mail-works-once", &[("until", &until)]),
            never: say("mail-never", &[("name", config.heading())]),
            who: say("mail-who", &[]),
            when: say("mail-when", &[("when", &Moment::new(self.asked, lang).minute())]),
            source: say("mail-source", &[("source", &self.source.to_string())]),
            software: say("mail-software", &[("software", &self.software)]),
            not_you: say("mail-not-you", &[]) + &contact.unwrap_or_default(),
            sent_by: say("mail-sent-by", &[("login", config.login_host.as_str()), ("to", self.to.as_str())]),
        }
    }

    /// The whole message, dated `now`.
    pub(super) fn message(
        &self,
        config: &MailConfig,
        from: &address::MailFrom,
        now: UnixTime,
        until: UnixTime,
    ) -> Result<Message, MessageError> {
        let words = self.words(config, until);
        let to = address::recipient(&self.to).ok_or(MessageError::Recipient)?;
        let text = TextPart { m: &words }.render()?;
        let html = HtmlPart { m: &words }.render()?;
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.0);
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
pub(super) struct Words<'a> {
    lang: Lang,
    heading: String,
    pub(super) subject: String,
    code: &'a str,
    halves: (&'a str, &'a str),
    type_it: String,
    preview: String,
    pub(super) works_once: String,
    never: String,
    who: String,
    when: String,
    source: String,
    software: String,
    not_you: String,
    sent_by: String,
}

#[derive(Template)]
#[template(path = "pin_mail.txt", escape = "none")]
struct TextPart<'a> {
    m: &'a Words<'a>,
}

#[derive(Template)]
#[template(path = "pin_mail.html")]
struct HtmlPart<'a> {
    m: &'a Words<'a>,
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the address cannot be written to")]
    Recipient,
    #[error("template: {0}")]
    Template(#[from] askama::Error),
    #[error("message: {0}")]
    Message(#[from] lettre::error::Error),
}
