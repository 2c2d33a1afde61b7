//! The master key's file.

use std::{io, path::Path};

use tunnel_auth::SecretBytes;
use zeroize::Zeroizing;

use super::KeysError;
use crate::platform;

/// The file: 64 hexadecimal digits and a line end, so that it survives being printed and typed.
const LENGTH: u64 = 65;

/// Reads the file. When there is none it is made, unless one was in use (`begun`).
pub(super) fn read_or_create(path: &Path, begun: bool) -> Result<SecretBytes, KeysError> {
    let file = |source| KeysError::File { path: path.to_owned(), source };
    let create = || {
        let key = Zeroizing::new(crate::random::<32>());
        let text = Zeroizing::new(format!("{}\n", data_encoding::HEXLOWER.encode(key.as_slice())));
        platform::create_private(path, text.as_bytes()).map_err(file)?;
        Ok(SecretBytes::new(key.to_vec()))
    };
    match platform::read_private(path, LENGTH) {
        // An earlier start died between making the file and writing it.
        Ok(text) if text.is_empty() && !begun => {
            std::fs::remove_file(path).map_err(file)?;
            create()
        }
        Ok(text) => parse(&Zeroizing::new(text)).ok_or_else(|| KeysError::NotAKey { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && begun => {
            Err(KeysError::Missing { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(),
        Err(error) => Err(file(error)),
    }
}

fn parse(text: &[u8]) -> Option<SecretBytes> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let key = data_encoding::HEXLOWER.decode(digits).ok()?;
    (key.len() == 32).then(|| SecretBytes::new(key))
}
