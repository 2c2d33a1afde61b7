//! Pages and problems as HTTP responses, with the headers that each of ours carries.

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, TE, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::PageContext;
use crate::{Reference, Response};

/// The content security policy of our pages. `form_targets` are the further origins that a form's answer may redirect to
/// (Chromium checks redirects of forms against `form-action`).
pub fn csp<'a>(form_targets: impl IntoIterator<Item = &'a str>) -> String {
    let targets = form_targets.into_iter().filter(|origin| is_origin(origin)).map(|origin| format!(" {origin}"));
    let targets: String = targets.collect();
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'{targets}; frame-ancestors 'none'; base-uri 'none'"
    )
}

/// The same answer, of a page that has a script of ours: from this origin alone, and speaking with it alone.
pub(super) fn with_script(mut response: Response) -> Response {
    let policy = response.headers().get(CONTENT_SECURITY_POLICY).and_then(|policy| policy.to_str().ok());
    let policy = policy.unwrap_or_default().replacen("default-src 'none'", SCRIPTED, 1);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

const SCRIPTED: &str = "default-src 'none'; script-src 'self'; connect-src 'self'";

/// Whether `text` is `scheme://host[:port]` and nothing that could add to the policy.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// Whether the request is a program's or a script's rather than a person's navigation, by `Sec-Fetch-Mode`,
/// `X-Requested-With` and `Accept`. It then gets JSON and never a redirect to another origin.
pub fn wants_json(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(mode) = value("sec-fetch-mode") {
        return mode != "navigate";
    }
    if value("x-requested-with").is_some_and(|with| with.eq_ignore_ascii_case("XMLHttpRequest")) {
        return true;
    }
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return true };
    !accept.split(',').any(|item| {
        let kind = item.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
    })
}

/// Whether the request is a call of gRPC, by what each of them says: its kind of content, and that it takes trailers.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rest = kind.get(..GRPC.len()).filter(|kind| kind.eq_ignore_ascii_case(GRPC)).and(kind.get(GRPC.len()..));
    let trailers = headers.get(TE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    trailers && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

const GRPC: &str = "application/grpc";
/// What `grpc-message` says in percent-encoding, beside everything outside of ASCII.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// A failure as a client of gRPC reads it: trailers only, with the status that stands for this one of HTTP (as clients
/// themselves take it, but for what they have no word of).
fn grpc(status: StatusCode, problem: &Problem<'_>) -> Response {
    let code = match status.as_u16() {
        400 | 500 | 508 => 13,
        401 => 16,
        403 => 7,
        404 | 426 => 12,
        429 | 502 | 503 | 504 | 530 => 14,
        _ => 2,
    };
    let reference = problem.reference.as_ref().map(|reference| format!(", {reference}")).unwrap_or_default();
    let message = format!("{} ({}{reference})", problem.message, problem.error);
    let message = utf8_percent_encode(&message, GRPC_MESSAGE).to_string();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    ours(headers, None);
    response
}

/// A page.
pub(super) fn page<'a>(
    context: &PageContext,
    status: StatusCode,
    html: Result<String, askama::Error>,
    form_targets: impl IntoIterator<Item = &'a str>,
) -> Response {
    let html = match html {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            ours(response.headers_mut(), None);
            return response;
        }
    };
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(context.lang.tag()));
    headers.insert(VARY, HeaderValue::from_static("Accept-Language, Accept, Sec-Fetch-Mode, X-Requested-With, Cookie"));
    ours(headers, form_targets);
    response
}

/// A failure as a program reads it.
#[derive(Serialize)]
pub(super) struct Problem<'a> {
    /// A stable code.
    pub(super) error: &'a str,
    /// One sentence for a person.
    pub(super) message: String,
    /// What to quote to the administrator.
    pub(super) reference: Option<String>,
    /// Where to go on, for scripts of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link: Option<&'a str>,
    /// What the link says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) link_text: Option<String>,
}

/// A failure as JSON.
pub(super) fn problem(
    context: &PageContext,
    status: StatusCode,
    error: &str,
    message: String,
    reference: Option<&Reference>,
) -> Response {
    let reference = reference.map(ToString::to_string);
    write(context, status, &Problem { error, message, reference, link: None, link_text: None })
}

/// A failure as JSON, with all that it has.
pub(super) fn write(context: &PageContext, status: StatusCode, problem: &Problem<'_>) -> Response {
    if context.grpc {
        return grpc(status, problem);
    }
    // Strings always serialise.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(context.lang.tag()));
    headers.insert(VARY, HeaderValue::from_static("Accept-Language, Accept, Sec-Fetch-Mode, X-Requested-With, Cookie"));
    ours(headers, None);
    response
}

/// What every answer of our own carries: kept by no cache, read as nothing but what it is, framed by nobody.
fn ours<'a>(headers: &mut HeaderMap, form_targets: impl IntoIterator<Item = &'a str>) {
    if let Ok(policy) = HeaderValue::from_str(&csp(form_targets)) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
