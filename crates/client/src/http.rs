//! Connections for HTTP clients.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tower::Service;

use crate::{client::Client, error::Error, stream::Stream};

/// Opens the host of a URI as an application: a connector for the HTTP client of `hyper-util`.
#[derive(Clone, Debug)]
pub struct HttpConnector {
    client: Client,
    /// The edge of the first host; shared by the clones.
    issuer: Arc<OnceLock<String>>,
}

impl HttpConnector {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, issuer: Arc::default() }
    }
}

impl Service<Uri> for HttpConnector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (client, issuer) = (self.client.clone(), self.issuer.clone());
        Box::pin(async move {
            let authority = uri.authority().map(ToString::to_string);
            let host = authority.ok_or_else(|| Error::Usage { what: format!("`{uri}` names no host") })?;
            let found = client.settle(&host.parse()?).await?.issuer;
            let known = issuer.get_or_init(|| found.clone());
            if *known != found {
                return Err(Error::ForeignEdge { host, known: known.clone(), found });
            }
            client.tcp(&host).connect().await.map(TokioIo::new)
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
