//! The records of TLS 1.3 after a handshake (RFC 8446 §5): sealing and opening them, and the few messages that still come.
//! No byte is moved here.

use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
    client::ClientConnectionData,
    crypto::cipher::{
        AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
    },
    kernel::KernelConnection,
    server::ServerConnectionData,
};

use super::outgoing::Outgoing;

/// Bytes before the sealed part of a record.
pub(super) const RECORD_HEADER: usize = 5;
/// Bytes that a record carries at most (RFC 8446 §5.1).
pub(super) const PAYLOAD_MAX: usize = 16 * 1024;
/// Bytes of a whole record at most (RFC 8446 §5.2).
pub(super) const RECORD_MAX: usize = RECORD_HEADER + PAYLOAD_MAX + 256;
/// Bytes of a handshake message after the handshake: the longest is a ticket, and ours has a few hundred.
const MESSAGE_MAX: usize = 16 * 1024;
/// New keys that a peer may use without sending anything by them, as in rustls: each costs us more than it.
const KEY_UPDATES_MAX: u8 = 32;
/// Records without anything in them that may come between two with something, as in rustls: each costs us more than the peer.
const EMPTIES_MAX: u8 = 32;
/// Alerts that mean nothing, as in rustls.
const WARNINGS_MAX: u8 = 4;
/// The message that announces new keys, and asks for none in return (RFC 8446 §4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// What a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// So many bytes for the program, behind the header.
    Data(usize),
    /// Nothing for the program.
    Nothing,
    /// The last one.
    Closed,
}

/// Both directions of a connection.
pub(super) struct Records {
    keys: Keys,
    sealing: Sealing,
    opening: Opening,
    /// The beginning of a handshake message whose end is in a later record.
    message: Vec<u8>,
    /// The peer wants us to use new keys.
    update_asked: bool,
    updates_left: u8,
    empties_left: u8,
    warnings_left: u8,
}

/// What rustls keeps of a connection whose records are ours.
pub(super) enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// The secrets of a direction, and the number of its next record.
pub(super) type Secrets = (u64, ConnectionTrafficSecrets);

impl Keys {
    fn suite(&self) -> Result<&'static Tls13CipherSuite, Error> {
        let suite = match self {
            Self::Client(keys) => keys.negotiated_cipher_suite(),
            Self::Server(keys) => keys.negotiated_cipher_suite(),
        };
        match suite {
            SupportedCipherSuite::Tls13(suite) => Ok(suite),
            _ => Err(Error::General("the handshake did not agree on TLS 1.3".to_owned())),
        }
    }

    fn next_for_sending(&mut self) -> Result<Secrets, Error> {
        match self {
            Self::Client(keys) => keys.update_tx_secret(),
            Self::Server(keys) => keys.update_tx_secret(),
        }
    }

    fn next_for_receiving(&mut self) -> Result<Secrets, Error> {
        match self {
            Self::Client(keys) => keys.update_rx_secret(),
            Self::Server(keys) => keys.update_rx_secret(),
        }
    }

    fn ticket(&mut self, ticket: &[u8]) -> Result<(), Error> {
        match self {
            Self::Client(keys) => keys.handle_new_session_ticket(ticket),
            Self::Server(_) => Err(InvalidMessage::UnexpectedMessage("a ticket from a client").into()),
        }
    }
}

impl Records {
    pub(super) fn new(keys: Keys, sending: Secrets, receiving: Secrets) -> Result<Self, Error> {
        let suite = keys.suite()?;
        Ok(Self {
            keys,
            sealing: Sealing::new(suite, sending)?,
            opening: Opening::new(suite, receiving)?,
            message: Vec::new(),
            update_asked: false,
            updates_left: KEY_UPDATES_MAX,
            empties_left: EMPTIES_MAX,
            warnings_left: WARNINGS_MAX,
        })
    }

    /// Seals a record for the program, of at most [`PAYLOAD_MAX`] bytes; with new keys where it is time for them.
    pub(super) fn seal(&mut self, payload: OutboundChunks<'_>, outgoing: &mut Outgoing) -> Result<(), Error> {
        if self.update_asked || self.sealing.number >= self.sealing.limit {
            outgoing.push(self.sealing.seal(ContentType::Handshake, OutboundChunks::Single(&KEY_UPDATE))?);
            self.sealing = Sealing::new(self.keys.suite()?, self.keys.next_for_sending()?)?;
            self.update_asked = false;
        }
        outgoing.push(self.sealing.seal(ContentType::ApplicationData, payload)?);
        Ok(())
    }

    /// Seals the last record of this direction.
    pub(super) fn close(&mut self, outgoing: &mut Outgoing) -> Result<(), Error> {
        self.alert(1, AlertDescription::CloseNotify, outgoing)
    }

    /// Seals what the peer is told of its mistake, if there is anything to say.
    pub(super) fn complain(&mut self, of: &Error, outgoing: &mut Outgoing) -> Result<(), Error> {
        match complaint(of) {
            Some(description) => self.alert(2, description, outgoing),
            None => Ok(()),
        }
    }

    fn alert(&mut self, level: u8, description: AlertDescription, outgoing: &mut Outgoing) -> Result<(), Error> {
        let alert = [level, u8::from(description)];
        outgoing.push(self.sealing.seal(ContentType::Alert, OutboundChunks::Single(&alert))?);
        Ok(())
    }

    /// Opens a whole record, of which [`length`] told the length, where it lies.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<Opened, Error> {
        let (_, sealed) = record.split_at_mut_checked(RECORD_HEADER).ok_or(InvalidMessage::MessageTooShort)?;
        let message = self.opening.open(sealed)?;
        if message.typ != ContentType::Handshake && !self.message.is_empty() {
            return Err(InvalidMessage::UnexpectedMessage("something between the parts of a message").into());
        }
        match message.typ {
            ContentType::ApplicationData if message.payload.is_empty() => {
                let left = self.empties_left.checked_sub(1);
                self.empties_left = left.ok_or(PeerMisbehaved::TooManyEmptyFragments)?;
                Ok(Opened::Nothing)
            }
            ContentType::ApplicationData => {
                (self.updates_left, self.empties_left) = (KEY_UPDATES_MAX, EMPTIES_MAX);
                // In TLS 1.3 nothing is before the payload, and all that follows it was cut off.
                Ok(Opened::Data(message.payload.len()))
            }
            ContentType::Alert => self.alerted(message.payload),
            ContentType::Handshake if message.payload.is_empty() => Err(InvalidMessage::InvalidEmptyPayload.into()),
            ContentType::Handshake => self.messages(message.payload).map(|()| Opened::Nothing),
            _ => Err(InvalidMessage::InvalidContentType.into()),
        }
    }

    fn alerted(&mut self, alert: &[u8]) -> Result<Opened, Error> {
        let &[_, description] = alert else {
            let empty = alert.is_empty();
            return Err(
                if empty { InvalidMessage::InvalidEmptyPayload } else { InvalidMessage::MessageTooShort }.into()
            );
        };
        // The level says nothing in TLS 1.3 (RFC 8446 §6).
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => Ok(Opened::Closed),
            AlertDescription::UserCanceled => {
                let left = self.warnings_left.checked_sub(1);
                self.warnings_left = left.ok_or(PeerMisbehaved::TooManyWarningAlertsReceived)?;
                Ok(Opened::Nothing)
            }
            other => Err(Error::AlertReceived(other)),
        }
    }

    /// Handshake messages, several of which may be in a record, and one in several records.
    fn messages(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut messages = std::mem::take(&mut self.message);
        messages.extend_from_slice(payload);
        let mut rest = messages.as_slice();
        while let &[kind, a, b, c, ref after @ ..] = rest {
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            if length > MESSAGE_MAX {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let Some((body, after)) = after.split_at_checked(length) else { break };
            match HandshakeType::from(kind) {
                HandshakeType::KeyUpdate if after.is_empty() => self.key_update(body)?,
                HandshakeType::KeyUpdate => return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into()),
                HandshakeType::NewSessionTicket => self.keys.ticket(body)?,
                _ => return Err(InvalidMessage::UnexpectedMessage("a handshake message after the handshake").into()),
            }
            rest = after;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    fn key_update(&mut self, body: &[u8]) -> Result<(), Error> {
        let left = self.updates_left.checked_sub(1);
        self.updates_left = left.ok_or(PeerMisbehaved::TooManyKeyUpdateRequests)?;
        match body {
            [0] => {}
            [1] => self.update_asked = true,
            _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
        }
        self.opening = Opening::new(self.keys.suite()?, self.keys.next_for_receiving()?)?;
        Ok(())
    }

    /// Has new keys used after so many records, which is 2^24 else.
    #[cfg(test)]
    pub(super) fn limit(&mut self, records: u64) {
        self.sealing.limit = records;
    }

    /// A record of any type.
    #[cfg(test)]
    pub(super) fn seal_any(&mut self, kind: u8, payload: &[u8]) -> Vec<u8> {
        self.sealing.seal(ContentType::from(kind), OutboundChunks::Single(payload)).unwrap()
    }
}

/// How long the record with this header is, header included; an error if it is none that may come here.
pub(super) fn length(header: [u8; RECORD_HEADER]) -> Result<usize, Error> {
    // The version that a record says it has is to be ignored (RFC 8446 §5.1).
    let [kind, _, _, high, low] = header;
    if ContentType::from(kind) != ContentType::ApplicationData {
        return Err(InvalidMessage::UnexpectedMessage("a record that is not sealed").into());
    }
    let length = RECORD_HEADER.saturating_add(usize::from(u16::from_be_bytes([high, low])));
    if length > RECORD_MAX { Err(Error::PeerSentOversizedRecord) } else { Ok(length) }
}

/// The direction from us.
struct Sealing {
    cipher: Box<dyn MessageEncrypter>,
    /// The next record's.
    number: u64,
    /// From which number on there must be new keys.
    limit: u64,
}

impl Sealing {
    fn new(suite: &Tls13CipherSuite, (number, secrets): Secrets) -> Result<Self, Error> {
        let (key, iv) = parts(secrets)?;
        let limit = suite.common.confidentiality_limit;
        Ok(Self { cipher: suite.aead_alg.encrypter(key, iv), number, limit })
    }

    fn seal(&mut self, typ: ContentType, payload: OutboundChunks<'_>) -> Result<Vec<u8>, Error> {
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let number = self.number;
        // No number may come twice.
        self.number = number.checked_add(1).ok_or(Error::EncryptError)?;
        Ok(self.cipher.encrypt(message, number)?.encode())
    }
}

/// The direction to us.
struct Opening {
    cipher: Box<dyn MessageDecrypter>,
    number: u64,
}

impl Opening {
    fn new(suite: &Tls13CipherSuite, (number, secrets): Secrets) -> Result<Self, Error> {
        let (key, iv) = parts(secrets)?;
        Ok(Self { cipher: suite.aead_alg.decrypter(key, iv), number })
    }

    fn open<'a>(&mut self, sealed: &'a mut [u8]) -> Result<rustls::crypto::cipher::InboundPlainMessage<'a>, Error> {
        let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, sealed);
        let number = self.number;
        self.number = number.checked_add(1).ok_or(Error::DecryptError)?;
        self.cipher.decrypt(message, number)
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher that is not known here".to_owned())),
    }
}

/// What a peer is told of such a mistake (RFC 8446 §6.2).
fn complaint(of: &Error) -> Option<AlertDescription> {
    use AlertDescription as Alert;
    match of {
        Error::AlertReceived(_) => None,
        Error::DecryptError => Some(Alert::BadRecordMac),
        Error::PeerSentOversizedRecord => Some(Alert::RecordOverflow),
        Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => Some(Alert::IllegalParameter),
        // Of handshakes and alerts, a record without anything in it may not come (RFC 8446 §5.4).
        Error::InvalidMessage(
            InvalidMessage::UnexpectedMessage(_)
            | InvalidMessage::InvalidContentType
            | InvalidMessage::InvalidEmptyPayload,
        )
        | Error::PeerMisbehaved(_) => Some(Alert::UnexpectedMessage),
        Error::InvalidMessage(_) => Some(Alert::DecodeError),
        _ => Some(Alert::InternalError),
    }
}
