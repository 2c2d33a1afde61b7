//! The one cryptography provider of all our programs.

use std::sync::{Arc, OnceLock};

use rustls::{
    SupportedCipherSuite,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{
            self,
            cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
        },
    },
};

use super::aes;

/// The one cryptography provider of all our programs, passed explicitly: aws-lc-rs, key exchange hybrid post-quantum
/// (X25519MLKEM768) first, and AES-GCM from whichever implementation is faster on this processor.
///
/// AES-128 comes first: the fastest that both ends have, and as strong as the P-256 of the certificates. Where the
/// processor has no AES, ChaCha20 does.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let base = aws_lc_rs::default_provider();
            let cipher_suites = suites(Processor::this(), &base.cipher_suites);
            Arc::new(CryptoProvider { cipher_suites, ..base })
        })
        .clone()
}

/// What counts of a processor here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processor {
    /// Without instructions for AES.
    WithoutAes,
    /// With instructions for AES on 256 bits at a time, but not on 512: aws-lc takes 1.6 times as long for these as *ring*.
    Vaes256,
    /// Any other.
    Usual,
}

impl Processor {
    #[cfg(target_arch = "x86_64")]
    fn this() -> Self {
        use std::arch::is_x86_feature_detected as has;
        let vaes = has!("avx2") && has!("vaes") && has!("vpclmulqdq");
        if !(has!("aes") && has!("pclmulqdq")) {
            Self::WithoutAes
        } else if vaes && !(has!("avx512f") && has!("avx512bw") && has!("avx512vl")) {
            Self::Vaes256
        } else {
            Self::Usual
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn this() -> Self {
        if std::arch::is_aarch64_feature_detected!("aes") { Self::Usual } else { Self::WithoutAes }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn this() -> Self {
        Self::WithoutAes
    }
}

/// The suites of TLS 1.3 in the order of this processor, then those of TLS 1.2 as they come.
fn suites(processor: Processor, base: &[SupportedCipherSuite]) -> Vec<SupportedCipherSuite> {
    let ring = processor == Processor::Vaes256;
    let aes_128 = aes::aes_128().filter(|_| ring).unwrap_or(TLS13_AES_128_GCM_SHA256);
    let aes_256 = aes::aes_256().filter(|_| ring).unwrap_or(TLS13_AES_256_GCM_SHA384);
    let chacha = TLS13_CHACHA20_POLY1305_SHA256;
    let mut suites = match processor {
        Processor::WithoutAes => vec![chacha, aes_128, aes_256],
        Processor::Vaes256 | Processor::Usual => vec![aes_128, aes_256, chacha],
    };
    suites.extend(base.iter().filter(|suite| suite.tls13().is_none()));
    suites
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, NamedGroup};

    use super::*;

    #[test]
    fn key_exchange_is_hybrid_post_quantum_first() {
        let groups: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups.first(), Some(&NamedGroup::X25519MLKEM768), "{groups:?}");
        assert!(groups.contains(&NamedGroup::X25519), "old peers are served: {groups:?}");
    }

    #[test]
    fn every_processor_has_the_same_suites_in_the_order_that_suits_it() {
        let base = aws_lc_rs::default_provider().cipher_suites;
        let names = |processor| suites(processor, &base).iter().map(|suite| suite.suite()).collect::<Vec<_>>();
        let usual = names(Processor::Usual);
        let first = [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_AES_256_GCM_SHA384];
        assert!(usual.starts_with(&first), "{usual:?}");
        assert_eq!(names(Processor::Vaes256), usual);
        assert_eq!(names(Processor::WithoutAes).first(), Some(&CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
        let sorted = |mut names: Vec<CipherSuite>| {
            names.sort_by_key(|name| u16::from(*name));
            names
        };
        let all = sorted(base.iter().map(|suite| suite.suite()).collect());
        for processor in [Processor::Usual, Processor::Vaes256, Processor::WithoutAes] {
            assert_eq!(sorted(names(processor)), all, "{processor:?}: visitors with TLS 1.2 are served as ever");
        }
    }
}
