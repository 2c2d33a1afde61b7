//! Visitors who ask without pause while an edge is replaced, and are always answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tunnel_tests::{PATIENCE, Raw, Visitor, origin::block, stage::WWW};

use super::Site;

/// Visitors who open one connection after the other, and who keep theirs, by HTTP/1.1 and by HTTP/2: none of them pauses.
const LANES: [(Way, usize); 3] = [(Way::New, 4), (Way::Kept, 12), (Way::Http2, 4)];
/// Requests that have to be answered after each restart.
const AFTER: u64 = 200;

/// How a visitor connects.
#[derive(Clone, Copy, Debug)]
enum Way {
    New,
    Kept,
    Http2,
}

/// Visitors who go on asking until they are told to stop. Each request has to be answered, and right.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    pub(super) asked: Arc<AtomicU64>,
    visitors: JoinSet<Result<u64>>,
}

impl Load {
    pub(super) fn begin(site: &Site) -> Result<Self> {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut visitors = JoinSet::new();
        for way in LANES.into_iter().flat_map(|(way, count)| std::iter::repeat_n(way, count)) {
            let (visitor, request) = (site.visitor.clone(), site.request("/bytes/5000")?);
            let (stop, asked) = (stop.clone(), asked.clone());
            visitors.spawn(async move {
                let mut count = 0;
                let mut kept = None;
                let mut second = None;
                while !stop.load(Relaxed) {
                    let answered = match way {
                        Way::New => anew(&visitor).await,
                        Way::Kept => again(&visitor, &request, &mut kept).await,
                        Way::Http2 => by_http2(&visitor, &mut second).await,
                    };
                    answered.with_context(|| format!("request {count} of a visitor ({way:?})"))?;
                    count += 1;
                    asked.fetch_add(1, Relaxed);
                }
                Ok(count)
            });
        }
        Ok(Self { stop, asked, visitors })
    }

    /// Waits until some more requests were answered.
    pub(super) async fn goes_on(&mut self) -> Result<()> {
        let wanted = self.asked.load(Relaxed) + AFTER;
        let more = async {
            while self.asked.load(Relaxed) < wanted {
                if let Some(ended) = self.visitors.try_join_next() {
                    ended??;
                    bail!("a visitor gave up");
                }
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, more).await.context("requests are not answered any more")?
    }

    pub(super) async fn end(mut self) -> Result<u64> {
        self.stop.store(true, Relaxed);
        let mut all = 0;
        while let Some(count) = self.visitors.join_next().await {
            let count = count??;
            ensure!(count > 0, "one of the visitors never got an answer");
            all += count;
        }
        Ok(all)
    }
}

/// Whoever opens a connection for each request.
pub(super) async fn anew(visitor: &Visitor) -> Result<()> {
    let reply = visitor.clone().get(&format!("https://{WWW}/bytes/5000")).await?;
    ensure!(reply.status() == 200 && reply.answer.body == block()[..5000], "{}: {}", reply.status(), reply.text());
    Ok(())
}

/// As a browser does: on the same connection, until the edge says that it is the last answer there.
async fn again(visitor: &Visitor, request: &[u8], kept: &mut Option<Raw>) -> Result<()> {
    let mut raw = match kept.take() {
        Some(raw) => raw,
        None => visitor.door("https", WWW)?.open().await?,
    };
    raw.send(request).await?;
    let answer = raw.answer(true).await?;
    ensure!(answer.status == 200 && answer.body == block()[..5000], "{}: {}", answer.status, answer.text());
    if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *kept = Some(raw);
    }
    Ok(())
}

type Sender = http2::SendRequest<http_body_util::Empty<Bytes>>;

/// The same by HTTP/2: what was certainly not sent, because the edge takes no more there, is sent on a new connection.
async fn by_http2(visitor: &Visitor, kept: &mut Option<Sender>) -> Result<()> {
    for _ in 0..3 {
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => {
                let io = TokioIo::new(visitor.door("https", WWW)?.offering(&["h2"]).secured().await?);
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                sender
            }
        };
        if sender.ready().await.is_err() {
            continue;
        }
        let request = Request::get(format!("https://{WWW}/bytes/5000")).header("cookie", visitor.session(WWW)?);
        let answer = match sender.try_send_request(request.body(http_body_util::Empty::new())?).await {
            Ok(answer) => answer,
            Err(mut error) => match error.take_message() {
                Some(_) => continue,
                None if unsent(error.error()) => continue,
                None => return Err(error.into_error().into()),
            },
        };
        ensure!(answer.status() == 200, "{}", answer.status());
        let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
        ensure!(body == block()[..5000], "{} bytes", body.len());
        *kept = Some(sender);
        return Ok(());
    }
    bail!("three connections in a row take no request")
}

/// Whether the edge said with its farewell that it never looked at the request (RFC 9113 §6.8): it is sent again elsewhere, as
/// browsers do.
fn unsent(error: &hyper::Error) -> bool {
    let farewell =
        |error: &h2::Error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    std::error::Error::source(error).and_then(|source| source.downcast_ref()).is_some_and(farewell)
}
