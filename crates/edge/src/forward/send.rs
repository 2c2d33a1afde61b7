//! A request on its way to a service: on which stream, how often, and addressed how.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures::FutureExt;
use http::{HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use hyper::body::{Body as _, Incoming};
use tunnel_proto::{
    InstanceId,
    link::{Link, LinkEnd},
};

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
    /// served, or when serving it twice does no harm: if a stream that was used before had died, and once more, by another
    /// connector, if a fresh one did.
    pub(super) async fn send(
        &self,
        state: &Arc<State>,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<(http::Response<Incoming>, Lease), Failure> {
        let owner = self.permit.holder().owner();
        let repeated = self.bodiless && request.method().is_safe();
        let mut ways = Cow::Borrowed(self.candidates);
        let taken = state.pool.take(self.candidates, owner, self.personal, repeated, self.place);
        if let Some(mut lease) = taken {
            let again = self.bodiless.then(|| repeat(&request)).flatten();
            match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
                Ok(response) => return Ok((response, lease)),
                Err(Unanswered::NotSent(back)) => request = *back,
                Err(Unanswered::NotServed) => request = again.ok_or(Failure::BadAnswer)?,
                Err(Unanswered::Lost | Unanswered::Garbled) => {
                    request = again.filter(|_| repeated).ok_or(Failure::BadAnswer)?;
                }
                Err(Unanswered::Bad) => return Err(Failure::BadAnswer),
                Err(Unanswered::Slow) => return Err(Failure::Slow),
            }
            ways = Cow::Owned(self.others_first(lease.link()));
        }
        let whose = if self.personal { Whose::tied_to(owner) } else { Whose::Everybodys };
        let mut lease = Box::pin(upstream::connect(&state.pool, &ways, self.visit, whose)).await?;
        let again = if repeated { repeat(&request) } else { None };
        request = match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
            Ok(response) => return Ok((response, lease)),
            Err(Unanswered::NotSent(back)) => *back,
            Err(Unanswered::Lost) => again.ok_or(Failure::BadAnswer)?,
            Err(Unanswered::Slow) => return Err(Failure::Slow),
            Err(Unanswered::NotServed | Unanswered::Garbled | Unanswered::Bad) => return Err(Failure::BadAnswer),
        };
        let elsewhere = self.elsewhere(lease.link());
        if elsewhere.is_empty() {
            return Err(Failure::BadAnswer);
        }
        let mut lease = Box::pin(upstream::connect(&state.pool, &elsewhere, self.visit, whose)).await?;
        match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
            Ok(response) => Ok((response, lease)),
            Err(Unanswered::Slow) => Err(Failure::Slow),
            // The second link that was lost for its silence: it is no service that is in the way.
            Err(_) if was_silent(lease.link()) => Err(Failure::NoTunnel),
            Err(_) => Err(Failure::BadAnswer),
        }
    }

    /// The connector at the other end of `link`.
    fn connector(&self, link: &Link) -> Option<InstanceId> {
        let of_link = |candidate: &&Candidate| candidate.uplink.link.id() == link.id();
        self.candidates.iter().find(of_link).map(|candidate| candidate.uplink.instance)
    }

    /// Every candidate, those of the connector at the other end of `link` last: its links die together, and it may not be known
    /// yet that they did.
    fn others_first(&self, link: &Link) -> Vec<Candidate> {
        let (connector, mut all) = (self.connector(link), self.candidates.to_vec());
        all.sort_by_key(|candidate| Some(candidate.uplink.instance) == connector);
        all
    }

    /// The candidates where a service may be that is not the one behind `link`: those of other connectors, and if that link is
    /// over, also its connector's others.
    fn elsewhere(&self, link: &Link) -> Vec<Candidate> {
        let (connector, over) = (self.connector(link), link.closed().now_or_never().is_some());
        let mut elsewhere = self.others_first(link);
        elsewhere
            .retain(|other| Some(other.uplink.instance) != connector || (over && other.uplink.link.id() != link.id()));
        elsewhere
    }

    /// How long the service at the end of `lease` may take to begin its answer.
    fn limit(&self, state: &State, lease: &Lease) -> Option<Duration> {
        (!self.grpc || !lease.is_http2()).then_some(state.config.response_timeout)
    }
}

/// Whether a link is over because its connector gave no sign of life.
fn was_silent(link: &Link) -> bool {
    matches!(link.closed().now_or_never(), Some(LinkEnd::PeerSilent | LinkEnd::Late(_)))
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
    /// The stream ended, or broke.
    Lost,
    /// What came on it is not the beginning of an answer.
    Garbled,
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
                    None if error.error().is_parse() => Unanswered::Garbled,
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
