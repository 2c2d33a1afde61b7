//! A request on its way to a service: on which stream, how often, and addressed how.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use hyper::body::{Body as _, Incoming};

use super::{Head, RequestBody, body::Progress, informational};
use crate::{
    State, Visit,
    gate::Permit,
    listen::Place,
    pages::Failure,
    registry::Candidate,
    upstream::{self, Lease, Whose},
};

/// What is to be sent, and how.
pub(super) struct Sending<'a> {
    pub(super) visit: &'a Visit,
    pub(super) permit: &'a Permit,
    pub(super) candidates: &'a [Candidate],
    /// Whether its service may authenticate the connection by it.
    pub(super) personal: bool,
    /// The visitor's connection.
    pub(super) place: Option<&'a Arc<Place>>,
    /// Whether it has no body, so that it can be made once more.
    pub(super) bodiless: bool,
    /// Whether it is a call of gRPC, whose answer may begin at any time.
    pub(super) grpc: bool,
}

impl Sending<'_> {
    /// Sends a request on a stream that can be used again, else on a fresh one. It is sent again only when it was certainly not
    /// served, or when serving it twice does no harm and a stream that was used before had died.
    pub(super) async fn send(
        &self,
        state: &Arc<State>,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<(http::Response<Incoming>, Lease), Failure> {
        let owner = self.permit.holder().owner();
        let repeated = self.bodiless && request.method().is_safe();
        let taken = state.pool.take(self.candidates, owner, self.personal, repeated, self.place);
        if let Some(mut lease) = taken {
            let again = self.bodiless.then(|| repeat(&request)).flatten();
            let again_at_will = again.as_ref().is_some_and(|again| again.method().is_safe());
            match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
                Ok(response) => return Ok((response, lease)),
                Err(Unanswered::NotSent(back)) => request = *back,
                Err(Unanswered::NotServed) => request = again.ok_or(Failure::BadAnswer)?,
                Err(Unanswered::Lost) => request = again.filter(|_| again_at_will).ok_or(Failure::BadAnswer)?,
                Err(Unanswered::Bad) => return Err(Failure::BadAnswer),
                Err(Unanswered::Slow) => return Err(Failure::Slow),
            }
        }
        let whose = if self.personal { Whose::tied_to(owner) } else { Whose::Everybodys };
        let mut lease = upstream::connect(&state.pool, self.candidates, self.visit, whose).await?;
        match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
            Ok(response) => Ok((response, lease)),
            Err(Unanswered::Slow) => Err(Failure::Slow),
            Err(Unanswered::NotSent(_) | Unanswered::NotServed | Unanswered::Lost | Unanswered::Bad) => {
                Err(Failure::BadAnswer)
            }
        }
    }

    /// How long the service at the end of `lease` may take to begin its answer.
    fn limit(&self, state: &State, lease: &Lease) -> Option<Duration> {
        (!self.grpc || !lease.is_http2()).then_some(state.config.response_timeout)
    }
}

/// The same request once more, without a body.
fn repeat(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let head =
        Head { method: request.method().clone(), uri: request.uri().clone(), headers: request.headers().clone() };
    Some(head.into_request(RequestBody::empty()))
}

enum Unanswered {
    NotSent(Box<Request<RequestBody>>),
    /// It was sent, and the service says that it did nothing about it.
    NotServed,
    Lost,
    /// What came is no answer, or what was to be sent no request; neither gets better by being repeated.
    Bad,
    Slow,
}

/// One request and the head of its answer. The time limit counts from the last of the body that went on, and not while the
/// visitor is waited for, which has a limit of its own.
async fn exchange(
    limit: Option<Duration>,
    lease: &mut Lease,
    mut request: Request<RequestBody>,
    progress: &Progress,
) -> Result<http::Response<Incoming>, Unanswered> {
    address(&mut request, lease).map_err(|_| Unanswered::Bad)?;
    let too_many = informational::too_many(&mut request);
    let sending = lease.send(request);
    tokio::pin!(sending, too_many);
    let mut seen = progress.steps();
    loop {
        let limited = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let answered = tokio::select! {
            biased;
            () = &mut too_many => return Err(Unanswered::Bad),
            answered = &mut sending => Some(answered),
            () = limited => None,
        };
        match answered {
            Some(Ok(response)) => return Ok(response),
            Some(Err(mut error)) => {
                return Err(match error.take_message() {
                    Some(back) => Unanswered::NotSent(Box::new(back)),
                    None if was_not_served(error.error()) => Unanswered::NotServed,
                    None => Unanswered::Lost,
                });
            }
            None => {
                let now = progress.steps();
                if now == seen && !progress.is_awaited() {
                    return Err(Unanswered::Slow);
                }
                seen = now;
            }
        }
    }
}

/// Whether a service says of a request that it has not begun with it: `REFUSED_STREAM`, or a `GOAWAY` that leaves it out (RFC
/// 9113 §8.7).
fn was_not_served(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    let left_out = |error: &h2::Error| error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
    source.is_some_and(|error| error.is_remote() && left_out(error))
}

/// Says whom a request is for in the way of this very stream: the host as its service wants to be called (as the visitor
/// called it, if it does not say), and what each version of HTTP needs beside.
pub(super) fn address(request: &mut Request<RequestBody>, lease: &Lease) -> Result<(), http::Error> {
    // Checked when it was announced.
    let wanted = lease.host_header().and_then(|host| HeaderValue::from_str(host).ok());
    let Some(host) = wanted.or_else(|| request.headers().get("x-forwarded-host").cloned()) else { return Ok(()) };
    let target = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let unframed = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    if lease.is_http2() {
        // RFC 9113 §8.3.1; the others may be of a try on another stream.
        for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let uri = Uri::builder().scheme(lease.scheme()).authority(host.as_bytes()).path_and_query(target).build()?;
        *request.uri_mut() = uri;
        return Ok(());
    }
    headers.insert(header::HOST, host);
    if headers.contains_key(header::TE) && !headers.contains_key(header::CONNECTION) {
        // RFC 9110 §10.1.4
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    *request.uri_mut() = Uri::from(target);
    // Of these methods a body without a length would be left out.
    if unframed && matches!(*request.method(), Method::GET | Method::HEAD) {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}
