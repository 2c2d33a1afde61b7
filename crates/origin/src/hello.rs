//! Web services inside this process: the page of `edge demo`, and fixed answers.

use std::{convert::Infallible, future::ready, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tunnel_proto::{link::Stream, message::ServiceKind};

use crate::service::{Opening, Service};

/// A page that greets the visitor by the e-mail address the edge passes on, in English or Japanese.
pub fn service() -> Service {
    web(|request| page(request.method(), request.uri().path(), request.headers()))
}

/// An empty answer with this status, whatever is asked.
pub fn status(code: StatusCode) -> Service {
    web(move |_| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = code;
        response
    })
}

fn web(answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Service {
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

fn page(method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, greeting(headers)),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "Not found. / ありません。\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "Only GET. / GET のみです。\n".to_owned()),
    };
    let kind = if status == StatusCode::OK { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::new(Bytes::from(body)));
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

fn greeting(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let email = text("access-user-email");
    let host = escape(text("host"));
    let japanese = prefers_japanese(text("accept-language"));
    let who = match (email.is_empty(), japanese) {
        (true, false) => "nobody has logged in".to_owned(),
        (true, true) => "ログインしていません".to_owned(),
        (false, false) => format!("you are logged in as <strong>{}</strong>", escape(email)),
        (false, true) => format!("<strong>{}</strong> としてログインしています", escape(email)),
    };
    let (lang, title, first, second, logout) = if japanese {
        (
            "ja",
            "こんにちは",
            format!("これは <code>{host}</code> です。{who}。"),
            "このページのサービスはどこでも待ち受けていません。コネクターがエッジへ外向きに接続し、エッジはログインした人の要求だけをここへ届けます。",
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
    fn only_the_one_page_is_there() {
        let none = HeaderMap::new();
        assert_eq!(page(&Method::GET, "/", &none).status(), StatusCode::OK);
        assert_eq!(page(&Method::GET, "/x", &none).status(), StatusCode::NOT_FOUND);
        assert_eq!(page(&Method::POST, "/", &none).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
