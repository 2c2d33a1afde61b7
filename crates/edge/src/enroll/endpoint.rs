//! `POST /.access/enroll` with JSON: the machine's side. It carries no cookie and gets none.

use axum::body::Body;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tunnel_proto::enrol::{EnrolProblem, EnrolRequest};

use crate::{Response, Visit, tunnels::Desk};

use super::{Ask, EnrolError, begin, poll};

/// The longest polling secret that is looked at; ours have 43 characters.
const SECRET_MAX: usize = 64;

/// Answers the body of a request.
pub async fn answer(desk: &Desk<'_>, visit: &Visit, body: &[u8]) -> Response {
    crate::faults::at("enrolment");
    let answered = match serde_json::from_slice(body) {
        Ok(EnrolRequest::Login { machine, software, hostnames, csr }) => {
            begin(desk, Ask { machine, software, hostnames, csr }, visit.source).await
        }
        Ok(EnrolRequest::Poll { secret }) if secret.len() <= SECRET_MAX => poll(desk, &secret).await,
        Ok(EnrolRequest::Poll { .. }) => Err(EnrolError::Gone),
        Err(error) => {
            let message = format!("the request was not understood: {error}");
            return json(StatusCode::BAD_REQUEST, &EnrolProblem { code: "malformed".to_owned(), message });
        }
    };
    match answered {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(error) => json(status(&error), &problem(error)),
    }
}

fn status(error: &EnrolError) -> StatusCode {
    use crate::tunnels::Problem;
    match error {
        EnrolError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        EnrolError::Gone => StatusCode::GONE,
        EnrolError::Problem(Problem::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
        EnrolError::Problem(_) => StatusCode::BAD_REQUEST,
    }
}

/// The wire form of an error.
pub(super) fn problem(error: EnrolError) -> EnrolProblem {
    let code = match &error {
        EnrolError::TooMany => "too_many",
        EnrolError::Gone => "gone",
        EnrolError::Problem(problem) => problem.code(),
    };
    EnrolProblem { code: code.to_owned(), message: error.to_string() }
}

/// A JSON answer that nobody keeps.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_vec(body).unwrap_or_default()));
    *response.status_mut() = status;
    let fixed = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
