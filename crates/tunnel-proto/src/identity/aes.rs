//! AES-GCM of *ring* for the records of TLS 1.3, with everything else of a cipher suite as aws-lc-rs has it.
//!
//! rustls has suites of *ring* as well, behind a feature. Switched on here it would be on in every program that these
//! libraries are built into, and rustls would no longer know which provider such a program means by its defaults.

use std::sync::LazyLock;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite,
    crypto::{
        aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384},
        cipher::{
            self, AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
            OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
            UnsupportedOperationError,
        },
    },
};

static ALGORITHM_128: AesGcm = AesGcm { algorithm: &AES_128_GCM, size: Size::Aes128 };
static ALGORITHM_256: AesGcm = AesGcm { algorithm: &AES_256_GCM, size: Size::Aes256 };

/// TLS_AES_128_GCM_SHA256; `None` if the provider had no such suite to take the rest from.
pub(super) fn aes_128() -> Option<SupportedCipherSuite> {
    static SUITE: LazyLock<Option<Tls13CipherSuite>> =
        LazyLock::new(|| suite(TLS13_AES_128_GCM_SHA256, &ALGORITHM_128));
    SUITE.as_ref().map(SupportedCipherSuite::Tls13)
}

/// TLS_AES_256_GCM_SHA384, likewise.
pub(super) fn aes_256() -> Option<SupportedCipherSuite> {
    static SUITE: LazyLock<Option<Tls13CipherSuite>> =
        LazyLock::new(|| suite(TLS13_AES_256_GCM_SHA384, &ALGORITHM_256));
    SUITE.as_ref().map(SupportedCipherSuite::Tls13)
}

fn suite(base: SupportedCipherSuite, aead_alg: &'static AesGcm) -> Option<Tls13CipherSuite> {
    let base = base.tls13()?;
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = base.common;
    let common = CipherSuiteCommon { suite, hash_provider, confidentiality_limit };
    Some(Tls13CipherSuite { common, hkdf_provider: base.hkdf_provider, aead_alg, quic: None })
}

/// AES in Galois/counter mode, with keys of one size.
struct AesGcm {
    algorithm: &'static Algorithm,
    size: Size,
}

#[derive(Clone, Copy)]
enum Size {
    Aes128,
    Aes256,
}

impl AesGcm {
    fn key(&self, key: &AeadKey) -> LessSafeKey {
        let key = UnboundKey::new(self.algorithm, key.as_ref()).expect("rustls makes keys of `key_len` bytes");
        LessSafeKey::new(key)
    }
}

impl Tls13AeadAlgorithm for AesGcm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Records { key: self.key(&key), iv })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Records { key: self.key(&key), iv })
    }

    fn key_len(&self) -> usize {
        self.algorithm.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(match self.size {
            Size::Aes128 => ConnectionTrafficSecrets::Aes128Gcm { key, iv },
            Size::Aes256 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        })
    }
}

/// One direction of a connection. The nonce is unique as long as no number comes twice, which is rustls' promise.
struct Records {
    key: LessSafeKey,
    iv: Iv,
}

impl Records {
    fn nonce(&self, number: u64) -> Nonce {
        Nonce::assume_unique_for_key(cipher::Nonce::new(&self.iv, number).0)
    }
}

impl MessageEncrypter for Records {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, number: u64) -> Result<OutboundOpaqueMessage, Error> {
        let total = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&[u8::from(message.typ)]);
        let additional = Aad::from(cipher::make_tls13_aad(total));
        let sealed = self.key.seal_in_place_append_tag(self.nonce(number), additional, &mut payload);
        sealed.map_err(|_| Error::EncryptError)?;
        Ok(OutboundOpaqueMessage::new(
            rustls::ContentType::ApplicationData,
            // What a record says of its version since TLS 1.3 (RFC 8446 §5.1).
            rustls::ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    /// With the type of what is inside, and the tag.
    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len.saturating_add(1).saturating_add(self.key.algorithm().tag_len())
    }
}

impl MessageDecrypter for Records {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let additional = Aad::from(cipher::make_tls13_aad(message.payload.len()));
        let opened = self.key.open_in_place(self.nonce(number), additional, &mut message.payload);
        let length = opened.map_err(|_| Error::DecryptError)?.len();
        message.payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ContentType, ProtocolVersion, crypto::cipher::OutboundChunks};

    use super::*;

    /// Both ends of a direction, by this suite or by that of aws-lc-rs.
    fn pair(
        suite: SupportedCipherSuite,
        other: SupportedCipherSuite,
    ) -> (Box<dyn MessageEncrypter>, Box<dyn MessageDecrypter>) {
        // `AeadKey` is made with 32 bytes from outside: the size of AES-256.
        let parts =
            |suite: SupportedCipherSuite| (suite.tls13().unwrap().aead_alg, AeadKey::from([7; 32]), Iv::from([9; 12]));
        let (aead, key, iv) = parts(suite);
        let encrypter = aead.encrypter(key, iv);
        let (aead, key, iv) = parts(other);
        (encrypter, aead.decrypter(key, iv))
    }

    fn seal(encrypter: &mut dyn MessageEncrypter, text: &[u8], number: u64) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(text),
        };
        encrypter.encrypt(message, number).unwrap().encode()
    }

    fn open(decrypter: &mut dyn MessageDecrypter, record: &mut [u8], number: u64) -> Result<Vec<u8>, Error> {
        let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, record);
        decrypter.decrypt(message, number).map(|plain| plain.payload.to_vec())
    }

    #[test]
    fn what_one_implementation_seals_the_other_opens() {
        let (ours, theirs) = (aes_256().unwrap(), TLS13_AES_256_GCM_SHA384);
        for (sealing, opening) in [(ours, ours), (ours, theirs), (theirs, ours)] {
            let (mut encrypter, mut decrypter) = pair(sealing, opening);
            for (number, text) in [(0, &b""[..]), (1, b"hello"), (2, &[5; 16_384])] {
                let mut record = seal(&mut *encrypter, text, number);
                assert_eq!(record.len(), 5 + text.len() + 1 + 16);
                assert_eq!(open(&mut *decrypter, &mut record[5..], number).unwrap(), text);
            }
        }
    }

    #[test]
    fn a_damaged_a_short_and_a_repeated_record_are_refused() {
        let (mut encrypter, mut decrypter) = pair(aes_256().unwrap(), aes_256().unwrap());
        let record = seal(&mut *encrypter, b"hello", 3);
        for bit in 0..(record.len() - 5) * 8 {
            let mut damaged = record[5..].to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut *decrypter, &mut damaged, 3).is_err(), "bit {bit}");
        }
        for length in 0..record.len() - 5 {
            assert!(open(&mut *decrypter, &mut record.clone()[5..5 + length], 3).is_err(), "{length} bytes");
        }
        assert!(open(&mut *decrypter, &mut record.clone()[5..], 4).is_err(), "the number is another one");
        assert!(open(&mut *decrypter, &mut record.clone()[5..], 3).is_ok());
    }

    #[test]
    fn a_suite_is_what_it_says_but_for_who_computes() {
        for (ours, theirs) in
            [(aes_128().unwrap(), TLS13_AES_128_GCM_SHA256), (aes_256().unwrap(), TLS13_AES_256_GCM_SHA384)]
        {
            assert_eq!(ours.suite(), theirs.suite());
            let (ours, theirs) = (ours.tls13().unwrap(), theirs.tls13().unwrap());
            assert_eq!(ours.common.confidentiality_limit, theirs.common.confidentiality_limit);
            assert_eq!(ours.aead_alg.key_len(), theirs.aead_alg.key_len());
        }
    }
}
