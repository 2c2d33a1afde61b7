//! Pages and problems as HTTP responses, with the headers that each of ours carries.

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        REFERRER_POLICY, TE, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::PageContext;
use crate::{Reference, Response};

/// The content security policy of our pages. Chromium holds every redirect of a form's answer against `form-action`, also
/// those of whoever is redirected to: no form of ours is answered with a redirect to somebody else.
pub const CSP: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The same answer, of a page that has a script of ours: from this origin alone, and speaking with it alone.
pub(super) fn with_script(response: Response) -> Response {
    with_policy(response, "default-src 'none'", "default-src 'none'; script-src 'self'; connect-src 'self'")
}

/// The same answer, of a page with a form of an application's, sent to that application in the place of a page of its own:
/// it may redirect to whom it likes, and sees where the form comes from, which many ask of forms.
pub(super) fn with_form_of_application(response: Response) -> Response {
    let mut response = with_policy(response, "form-action 'self'", "form-action 'self' https: http:");
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn with_policy(mut response: Response, part: &str, other: &str) -> Response {
    if let Ok(policy) = HeaderValue::from_str(&CSP.replacen(part, other, 1)) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Whether the request is a program's or a script's rather than a person's navigation, by `Sec-Fetch-Mode`,
/// `X-Requested-With`, `Accept`, and by what only preflights have. It then gets JSON and never a redirect to another origin.
pub fn wants_json(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return true;
    }
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
    ours(headers);
    response
}

/// A page.
pub(super) fn page(context: &PageContext, status: StatusCode, html: Result<String, askama::Error>) -> Response {
    let html = match html {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            ours(response.headers_mut());
            return response;
        }
    };
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(context.lang.tag()));
    headers.insert(VARY, HeaderValue::from_static("Accept-Language, Accept, Sec-Fetch-Mode, X-Requested-With, Cookie"));
    ours(headers);
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
    /// The address at which a person logs in, to be opened in a window of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<&'a str>,
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
    write(context, status, &Problem { error, message, reference, link: None, link_text: None, login: None })
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
    ours(headers);
    response
}

/// What every answer of our own carries: kept by no cache, read as nothing but what it is, framed by nobody.
fn ours(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
