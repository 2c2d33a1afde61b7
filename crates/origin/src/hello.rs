//! Web services inside this process: the page of `edge demo`, and fixed answers.

use std::{
    convert::Infallible,
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{Either, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tunnel_proto::{link::Stream, message::ServiceKind};

use crate::service::{Opening, Service};

/// How often `/sse` says something.
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// A page that greets the visitor by the e-mail address the edge passes on, in English or Japanese. Beside it, `/_health`
/// says `ok`, `/uptime` for how long the service has been there, and `/sse` counts the seconds in events.
pub fn service() -> Service {
    let begun = Instant::now();
    web(move |request| page(request.method(), request.uri().path(), request.headers(), begun.elapsed()))
}

/// An empty answer with this status, whatever is asked.
pub fn status(code: StatusCode) -> Service {
    web(move |_| {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = code;
        response
    })
}

/// A whole body, or one that goes on.
type Body = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>;

fn web(answer: impl Fn(&Request<Incoming>) -> Response<Body> + Send + Sync + 'static) -> Service {
    let answer = Arc::new(answer);
    Service::handler(ServiceKind::Http, move |stream: Stream, _: Opening| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| ready(Ok::<_, Infallible>(answer(&request))));
            let mut server = http1::Builder::new();
            // The edge keeps connections for later requests; it, not we, decides how long.
            server.timer(TokioTimer::new()).header_read_timeout(None).half_close(true);
            server.serve_connection(TokioIo::new(stream), service).await.map_err(std::io::Error::other)
        }
    })
}

fn page(method: &Method, path: &str, headers: &HeaderMap, up: Duration) -> Response<Body> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let whole = |text: String| Either::Left(Full::new(Bytes::from(text)));
    let (status, kind, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, "text/html; charset=utf-8", whole(greeting(headers))),
        (&Method::GET | &Method::HEAD, "/_health") => (StatusCode::OK, TEXT, whole("ok\n".to_owned())),
        (&Method::GET | &Method::HEAD, "/uptime") => {
            (StatusCode::OK, "application/json", whole(format!("{{\"uptime\":\"{}s\"}}\n", up.as_secs())))
        }
        (&Method::GET, "/sse") => (StatusCode::OK, "text/event-stream", Either::Right(events())),
        (&Method::HEAD, "/sse") => (StatusCode::OK, "text/event-stream", whole(String::new())),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, TEXT, whole("Not found. / ありません。\n".to_owned()))
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, TEXT, whole("Only GET. / GET のみです。\n".to_owned())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let head = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ] {
        head.insert(name, http::HeaderValue::from_static(value));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert(header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Numbers from 0 on, the first at once.
fn events() -> StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>> {
    let counting = stream::unfold(0_u64, |count| async move {
        if count > 0 {
            tokio::time::sleep(EVENT_EVERY).await;
        }
        Some((Ok(Frame::data(Bytes::from(format!("data: {count}\n\n")))), count.saturating_add(1)))
    });
    StreamBody::new(counting.boxed())
}

fn greeting(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let email = text("access-user-email");
    let host = escape(text("host"));
    let japanese = prefers_japanese(text("accept-language"));
    let who = match (email.is_empty(), japanese) {
        (true, false) => "nobody has logged in".to_owned(),
        (true, true) => "サインインしていません".to_owned(),
        (false, false) => format!("you are logged in as <strong>{}</strong>", escape(email)),
        (false, true) => format!("<strong>{}</strong> としてサインインしています", escape(email)),
    };
    let (lang, title, first, second, logout) = if japanese {
        (
            "ja",
            "こんにちは",
            format!("これは <code>{host}</code> です。{who}。"),
            "このページのサービスはどこでも待ち受けていません。コネクターがエッジへ外向きに接続し、エッジはサインインした人の要求だけをここへ届けます。",
            "ログアウト",
        )
    } else {
        (
            "en",
            "Hello",
            format!("This is <code>{host}</code>, and {who}."),
            "The service behind this page listens nowhere. Its connector dialled out to the edge, and the edge carries here only the requests of people who have logged in.",
            "Log out",
        )
    };
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:38rem;\
         margin:12vh auto;padding:0 1.5rem}}h1{{font-size:2.4rem;margin:0}}</style>\n</head>\n<body>\n\
         <h1>{title}</h1>\n<p>{first}</p>\n<p>{second}</p>\n\
         <p><a href=\"/.access/logout\">{logout}</a></p>\n</body>\n</html>\n"
    )
}

/// Whether Japanese comes before English in the browser's list, by weight and then by order.
fn prefers_japanese(accept_language: &str) -> bool {
    let weight = |wanted: &str| {
        let weights = accept_language.split(',').zip((0_u32..64).rev()).filter_map(|(item, place)| {
            let mut parts = item.split(';');
            let tag = parts.next()?.trim().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let matches = tag.split('-').next() == Some(wanted) && quality > 0.0;
            matches.then_some((quality.clamp(0.0, 1.0).to_bits(), place))
        });
        weights.max()
    };
    weight("ja") > weight("en")
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_page_says_who_is_logged_in_and_nothing_the_visitor_could_inject() {
        let page = greeting(&headers(&[("access-user-email", "a@example.com"), ("host", "<b>&\"'")]));
        assert!(page.contains("logged in as <strong>a@example.com</strong>"), "{page}");
        assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;") && !page.contains("<b>"), "{page}");
        let page = greeting(&headers(&[("access-user-email", "a@example.com"), ("accept-language", "ja,en;q=0.8")]));
        assert!(page.contains("lang=\"ja\"") && page.contains("a@example.com"), "{page}");
        assert!(greeting(&HeaderMap::new()).contains("nobody has logged in"));
    }

    #[test]
    fn the_language_follows_the_browsers_order_and_weights() {
        for (list, japanese) in [
            ("", false),
            ("fr", false),
            ("ja", true),
            ("ja-JP,ja;q=0.9,en;q=0.8", true),
            ("en-US,en;q=0.9,ja;q=0.8", false),
            ("en;q=0.5,ja;q=0.7", true),
            ("ja;q=0", false),
            ("ja;q=x", true),
            (",,;q=,", false),
        ] {
            assert_eq!(prefers_japanese(list), japanese, "{list}");
        }
    }

    #[test]
    fn there_are_a_page_and_what_programs_ask_for_and_nothing_else() {
        let none = HeaderMap::new();
        let asked = |method: Method, path: &str| page(&method, path, &none, Duration::from_secs(61));
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/_health", "text/plain; charset=utf-8"),
            ("/uptime", "application/json"),
            ("/sse", "text/event-stream"),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let answer = asked(method, path);
                assert_eq!(
                    (answer.status(), &answer.headers()["content-type"]),
                    (StatusCode::OK, &kind.parse().unwrap())
                );
            }
        }
        assert_eq!(asked(Method::GET, "/x").status(), StatusCode::NOT_FOUND);
        assert_eq!(asked(Method::POST, "/").status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test(start_paused = true)]
    async fn what_programs_ask_for_is_as_they_expect() {
        let body = |path: &str| page(&Method::GET, path, &HeaderMap::new(), Duration::from_secs(61)).into_body();
        assert_eq!(body("/_health").collect().await.unwrap().to_bytes(), "ok\n");
        assert_eq!(body("/uptime").collect().await.unwrap().to_bytes(), "{\"uptime\":\"61s\"}\n");
        let mut events = body("/sse");
        for n in 0..3 {
            let event = events.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(event, format!("data: {n}\n\n"));
        }
    }
}
