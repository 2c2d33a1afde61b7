//! TLS 1.3 between our own programs, made for much data.
//!
//! rustls does the handshake ([`connect`], [`accept`], [`Arrival`]) and owns the keys from then on. The records after it are
//! sealed and opened here, by the cipher of rustls' provider, and by the interface that rustls has for this (`rustls::kernel`):
//! received records are opened where they lie and can be read there ([`AsyncBufRead`]), and those to be sent go to the socket
//! many at a time as they come from the cipher. rustls' own connections copy every byte twice more on its way in, and read
//! 4 KiB at a time.
//!
//! Nothing in here depends on which programs these are. The configurations must allow for it by `enable_secret_extraction`,
//! and for TLS 1.3 alone.
//!
//! [`AsyncBufRead`]: tokio::io::AsyncBufRead

mod handshake;
mod incoming;
mod outgoing;
mod pool;
mod records;
mod stream;

#[cfg(test)]
mod tests;

pub use handshake::{Agreed, Arrival, HANDSHAKE_MAX, accept, connect};
pub use stream::TlsStream;

/// Bytes that are read at a time at most, which is what a connection holds while much arrives: eight records.
pub const READ_MAX: usize = 128 * 1024;
/// Bytes that wait to be sent at most, as they are before they are sealed: eight records.
pub const WRITE_MAX: usize = 8 * records::PAYLOAD_MAX;
