//! Connections for HTTP clients.

use std::{
    future::Future,
    pin::Pin,
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
}

impl HttpConnector {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
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
        let client = self.client.clone();
        Box::pin(async move {
            let authority = uri.authority().map(ToString::to_string);
            let host = authority.ok_or_else(|| Error::Usage { what: format!("`{uri}` names no host") })?;
            client.tcp(&host).connect().await.map(TokioIo::new)
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
