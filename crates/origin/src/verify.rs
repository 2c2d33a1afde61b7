//! For servers behind the edge that are not in the process of their connector (feature `tower`): a layer for axum, tonic and
//! whatever else takes layers of tower.
//!
//! Without a valid assertion a request gets 403 and the service never sees it; 503 when the edge's keys could not be had yet.
//! With one, its [`Sender`] is among the extensions of the request, and its [`Identity`] when it is a person. Handlers of
//! axum take either as an argument (feature `axum08`).
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use tower_layer::Layer as _;
//! use tunnel_origin::{Verifier, verify::AssertionLayer};
//!
//! # #[derive(Clone)]
//! # struct Service;
//! # impl tower_service::Service<Request<()>> for Service {
//! #     type Response = Response<Full<Bytes>>;
//! #     type Error = Infallible;
//! #     type Future = std::future::Ready<Result<Self::Response, Infallible>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
//! #         std::task::Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, _: Request<()>) -> Self::Future {
//! #         std::future::ready(Ok(Response::default()))
//! #     }
//! # }
//! # fn example(service: Service) -> Result<impl tower_service::Service<Request<()>>, Box<dyn std::error::Error>> {
//! let audience = "b8c1…"; // `edge admin application list` shows it.
//! # let audience = "ab".repeat(32);
//! let verifier = Verifier::of_issuer("https://access.example.com", [audience.parse()?])?;
//! let service = AssertionLayer::new(verifier).layer(service);
//! # Ok(service)
//! # }
//! # example(Service).unwrap();
//! ```

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    identity::{IdentityError, Sender, UNKNOWN},
    verifier::Verifier,
};

#[cfg(doc)]
use crate::identity::Identity;

/// Lets requests in that carry a valid assertion of the edge. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct AssertionLayer {
    verifier: Verifier,
    machines: bool,
}

impl AssertionLayer {
    /// Lets persons in, by what `verifier` finds.
    pub const fn new(verifier: Verifier) -> Self {
        Self { verifier, machines: false }
    }

    /// Lets machines in as well, which the edge admitted by their service tokens.
    #[must_use]
    pub fn with_machines(self) -> Self {
        Self { machines: true, ..self }
    }
}

impl<S> Layer<S> for AssertionLayer {
    type Service = AssertionService<S>;

    fn layer(&self, inner: S) -> AssertionService<S> {
        AssertionService { inner, layer: self.clone() }
    }
}

/// A service behind an [`AssertionLayer`].
#[derive(Clone, Debug)]
pub struct AssertionService<S> {
    inner: S,
    layer: AssertionLayer,
}

impl<S, B, R> Service<Request<B>> for AssertionService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<&'static str>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready is called; its clone need not be.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match layer.verifier.sender(&parts.headers).await {
                Ok(Sender::Machine(_)) if !layer.machines => Ok(refusal(&IdentityError::NoPerson)),
                Ok(sender) => {
                    if let Sender::Person(identity) = &sender {
                        parts.extensions.insert(identity.clone());
                    }
                    parts.extensions.insert(sender);
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(error) => Ok(refusal(&error)),
            }
        })
    }
}

fn refusal<R: From<&'static str>>(error: &IdentityError) -> Response<R> {
    tracing::warn!(%error, "a request was turned away");
    let mut response = Response::new(R::from(UNKNOWN));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
