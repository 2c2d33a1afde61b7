//! One attempt to bring up a link: dial, TLS, greeting.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tunnel_proto::{
    dial::{EdgeAddress, dial_edge},
    identity::speaks_link,
    link::{self, Connected, FEATURE_PACED, LinkSocket, Settings},
    message::Hello,
    tls::{self, TlsStream},
};

use crate::{
    credentials::{Credentials, CredentialsError},
    error::Error,
};

/// Time to connect and to finish the TLS handshake.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Brings up a link to `edge`.
pub(crate) async fn establish(
    edge: &EdgeAddress,
    credentials: &Credentials,
    mut hello: Hello,
) -> Result<Connected, Error> {
    let secure = timeout(CONNECT_LIMIT, secure(edge, credentials)).await;
    let stream = secure.map_err(|_| Error::Late { edge: edge.to_string(), limit: CONNECT_LIMIT })??;
    if stream.io().is_paced() {
        hello.features.push(FEATURE_PACED.to_owned());
    }
    link::connect(stream, hello, Settings::default()).await.map_err(|error| Error::greeting(edge, error))
}

async fn secure(edge: &EdgeAddress, credentials: &Credentials) -> Result<TlsStream<LinkSocket>, Error> {
    let config = credentials.client_config().map_err(CredentialsError::from)?;
    let name = ServerName::try_from(edge.name().as_str().to_owned())
        .map_err(|error| Error::Internal { reason: error.to_string() })?;
    let tcp = dial_edge(edge.target()).await.map_err(|error| Error::dial(edge, error))?;
    let stream = tls::connect(Arc::new(config), name, tcp).await.map_err(|error| Error::handshake(edge, &error))?;
    if !speaks_link(stream.agreed().alpn.as_deref()) {
        return Err(Error::NotAnEdge { edge: edge.to_string(), reason: "it does not speak `tunnel/1`".to_owned() });
    }
    Ok(stream)
}
