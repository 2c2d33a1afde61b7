//! A request on its way to a service: on which stream, how often, and addressed how.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures::FutureExt;
use http::{HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use hyper::body::{Body as _, Incoming};
use tunnel_proto::{
    InstanceId,
    link::{Link, LinkEnd},
};

use super::{RequestBody, X_FORWARDED_HOST, body::Progress, informational};
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
    /// Whether it does no harm to serve it twice.
    pub(super) repeatable: bool,
    /// Makes it once more, if it has no body.
    pub(super) again: &'a (dyn Fn() -> Option<Request<RequestBody>> + Sync),
    /// Whether it is a call of gRPC, whose answer may begin at any time.
    pub(super) grpc: bool,
}

impl Sending<'_> {
    /// Sends a request on a stream that can be used again, else on a fresh one. It is sent again only when it was certainly not
    /// served, or when serving it twice does no harm: if a stream that was used before had died, and once more, by another
    /// connector, if a fresh one did. Whether its link was silent changes nothing about that: what was sent may have arrived, and
    /// only its answer not.
    pub(super) async fn send(
        &self,
        state: &Arc<State>,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<(http::Response<Incoming>, Lease), Failure> {
        let owner = self.permit.holder().owner();
        let (repeated, again) = (self.repeatable, self.again);
        let mut ways = Cow::Borrowed(self.candidates);
        let taken = state.pool.take(self.candidates, owner, self.personal, repeated, self.place);
        if let Some(mut lease) = taken {
            match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
                Ok(response) => return Ok((response, lease)),
                Err(unanswered) => request = unanswered.resend(again, repeated)?,
            }
            ways = Cow::Owned(self.others_first(lease.link()));
        }
        let whose = if self.personal { Whose::tied_to(owner) } else { Whose::Everybodys };
        let mut lease = Box::pin(upstream::connect(&state.pool, &ways, self.visit, whose)).await?;
        let unanswered = match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
            Ok(response) => return Ok((response, lease)),
            // What a fresh stream begins with is what its service says.
            Err(Unanswered::Garbled) => return Err(Failure::BadAnswer),
            Err(unanswered) => unanswered,
        };
        let elsewhere = self.elsewhere(lease.link());
        if elsewhere.is_empty() {
            return Err(unanswered.failure(repeated, was_silent(lease.link())));
        }
        request = unanswered.resend(again, repeated)?;
        let mut lease = Box::pin(upstream::connect(&state.pool, &elsewhere, self.visit, whose)).await?;
        match exchange(self.limit(state, &lease), &mut lease, request, progress).await {
            Ok(response) => Ok((response, lease)),
            Err(unanswered) => Err(unanswered.failure(repeated, was_silent(lease.link()))),
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

/// Whether it does no harm to serve a request twice, and whether it can be made once more at all.
pub(super) fn is_repeatable(bodiless: bool, method: &Method) -> bool {
    bodiless && method.is_safe()
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

impl Unanswered {
    /// The request to be sent once more, if it may be: what certainly was not served, and what is `repeatable`. `again` makes
    /// the same once more, of what has no body.
    fn resend(
        self,
        again: impl Fn() -> Option<Request<RequestBody>>,
        repeatable: bool,
    ) -> Result<Request<RequestBody>, Failure> {
        match self {
            Self::NotSent(back) => Ok(*back),
            Self::Lost | Self::Garbled if !repeatable => Err(Failure::BadAnswer),
            Self::NotServed | Self::Lost | Self::Garbled => again().ok_or(Failure::BadAnswer),
            Self::Bad | Self::Slow => Err(self.failure(repeatable, false)),
        }
    }

    /// What is said when nobody else is asked. Where a link was lost for its silence, it is no service that is in the way; but
    /// what may have been served is not said to have come to nobody, or it would be sent once more by whoever reads that.
    fn failure(&self, repeatable: bool, silent: bool) -> Failure {
        match self {
            Self::Slow => Failure::Slow,
            Self::NotSent(_) if silent => Failure::NoTunnel,
            Self::Lost if silent && repeatable => Failure::NoTunnel,
            Self::NotSent(_) | Self::NotServed | Self::Lost | Self::Garbled | Self::Bad => Failure::BadAnswer,
        }
    }
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
    let Some(host) = wanted.or_else(|| request.headers().get(X_FORWARDED_HOST).cloned()) else { return Ok(()) };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &Method) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        request.method_mut().clone_from(method);
        request
    }

    /// What becomes of a request without a body: the method of what is sent once more, or what is said.
    fn resent(unanswered: Unanswered, method: &Method) -> Result<Method, Failure> {
        let resent = unanswered.resend(|| Some(request(method)), is_repeatable(true, method));
        resent.map(|request| request.method().clone())
    }

    // F4
    #[test]
    fn what_may_have_been_served_is_sent_again_only_where_that_does_no_harm() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(resent(Unanswered::Lost, &method), Ok(method.clone()));
            assert_eq!(resent(Unanswered::Garbled, &method), Ok(method.clone()));
            assert!(!is_repeatable(false, &method), "its body is gone");
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(resent(Unanswered::Lost, &method), Err(Failure::BadAnswer));
            assert_eq!(resent(Unanswered::Garbled, &method), Err(Failure::BadAnswer));
            // Nobody has done anything about these.
            let back = Unanswered::NotSent(Box::new(request(&method)));
            assert_eq!(resent(back, &method), Ok(method.clone()));
            assert_eq!(resent(Unanswered::NotServed, &method), Ok(method.clone()));
            assert_eq!(resent(Unanswered::Slow, &method), Err(Failure::Slow));
            assert_eq!(resent(Unanswered::Bad, &method), Err(Failure::BadAnswer));
        }
        // With a body that is gone it cannot be.
        assert_eq!(Unanswered::NotServed.resend(|| None, false).err(), Some(Failure::BadAnswer));
    }

    // F4
    #[test]
    fn what_may_have_been_served_is_not_said_to_have_come_to_nobody() {
        let back = || Unanswered::NotSent(Box::new(request(&Method::POST)));
        for repeatable in [false, true] {
            assert_eq!(back().failure(repeatable, true), Failure::NoTunnel);
            assert_eq!(back().failure(repeatable, false), Failure::BadAnswer);
            assert_eq!(Unanswered::Lost.failure(repeatable, false), Failure::BadAnswer);
            assert_eq!(Unanswered::Slow.failure(repeatable, true), Failure::Slow);
            assert_eq!(Unanswered::Garbled.failure(repeatable, true), Failure::BadAnswer);
        }
        assert_eq!(Unanswered::Lost.failure(true, true), Failure::NoTunnel);
        assert_eq!(Unanswered::Lost.failure(false, true), Failure::BadAnswer);
    }
}
