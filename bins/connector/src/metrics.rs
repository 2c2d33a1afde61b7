//! `/ready` for health checks, and `/metrics` for Prometheus.

use std::{convert::Infallible, fmt::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tunnel_origin::{Connector, Counters, Status};
use tunnel_proto::InstanceId;

use crate::failure::Failure;

/// Connections at a time; health checks need few.
const CONNECTIONS_MAX: usize = 32;
/// Time for a request to arrive.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Takes the address, so that one in use is said before anything runs.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| {
        Failure::failed(format!("--metrics: cannot listen on {address}: {error}; give another address, or port 0"))
    })
}

/// Serves until what it returns is dropped.
pub(crate) fn serve(listener: TcpListener, connector: &Connector) -> JoinSet<()> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /ready and /metrics");
    }
    let page = Page { status: connector.status(), instance: connector.instance() };
    let counters = connector.counter_reader();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            while open.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) if open.len() < CONNECTIONS_MAX => {
                    let (page, counters) = (page.clone(), counters.clone());
                    open.spawn(answer(stream, move |method, path| page.respond(method, path, &counters())));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the metrics listener failed; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    tasks
}

async fn answer(stream: TcpStream, respond: impl Fn(&Method, &str) -> Response<Full<Bytes>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a metrics connection ended");
    }
}

#[derive(Clone)]
struct Page {
    status: watch::Receiver<Status>,
    instance: InstanceId,
}

impl Page {
    fn respond(&self, method: &Method, path: &str, counters: &Counters) -> Response<Full<Bytes>> {
        let status = self.status.borrow().clone();
        tunnel_proto::faults::at("metrics");
        let (code, kind, body) = match (method, path) {
            (&Method::GET | &Method::HEAD, "/ready") => {
                let code = if status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let links = status.links();
                let id = self.instance.to_string();
                let body = json!({"status": code.as_u16(), "readyConnections": links, "connectorId": id});
                (code, "application/json", format!("{body}\n"))
            }
            (&Method::GET | &Method::HEAD, "/metrics") => {
                (StatusCode::OK, "text/plain; version=0.0.4", exposition(&status, counters))
            }
            _ => (StatusCode::NOT_FOUND, "text/plain", "use /ready or /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = code;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }
}

fn exposition(status: &Status, counters: &Counters) -> String {
    let links = u64::try_from(status.links()).unwrap_or(u64::MAX);
    let open = u64::try_from(counters.streams_open).unwrap_or(u64::MAX);
    let series = [
        ("links", "gauge", "Links to the edge that are up.", links),
        ("links_established_total", "counter", "Links that were established.", counters.links_established),
        ("links_failed_total", "counter", "Attempts to establish a link that failed.", counters.links_failed),
        ("streams", "gauge", "Streams being served.", open),
        ("streams_total", "counter", "Streams that were served.", counters.streams),
        ("streams_refused_total", "counter", "Streams that were refused.", counters.refused),
        ("to_service_bytes_total", "counter", "Bytes carried to services.", counters.bytes_to_services),
        ("from_service_bytes_total", "counter", "Bytes carried from services.", counters.bytes_from_services),
    ];
    series.iter().fold(String::new(), |mut text, (name, kind, help, value)| {
        let name = format!("tunnel_connector_{name}");
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        text
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn get(status: Status, path: &str) -> (u16, String) {
        let (_sender, status) = watch::channel(status);
        let page = Page { status, instance: InstanceId::from_random([1; 16]) };
        let response = page.respond(&Method::GET, path, &Counters::default());
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_tells_whether_the_edge_can_reach_the_services() {
        let (code, body) = get(Status::Connecting { problem: None }, "/ready").await;
        assert!(code == 503 && body.contains("\"readyConnections\":0"), "{code} {body}");
        let (code, body) = get(Status::Online { links: 4 }, "/ready").await;
        assert!(
            code == 200 && body.contains("\"readyConnections\":4") && body.contains("connectorId"),
            "{code} {body}"
        );
        assert_eq!(get(Status::Draining, "/ready").await.0, 503);
        assert_eq!(get(Status::Draining, "/debug").await.0, 404);
    }

    #[tokio::test]
    async fn every_series_has_a_help_a_type_and_a_value() {
        let (_, body) = get(Status::Online { links: 2 }, "/metrics").await;
        assert!(body.contains("tunnel_connector_links 2\n"), "{body}");
        assert_eq!(body.lines().count() % 3, 0);
    }
}
