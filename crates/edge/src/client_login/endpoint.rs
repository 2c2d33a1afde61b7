//! `POST /.access/cli/device` and `POST /.access/cli/token`: the program's side. It carries no cookie and gets none.

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tunnel_proto::{
    access::{ACCESS_BODY_MAX, TokenAnswer, TokenRequest},
    enrol::EnrolProblem,
};

use crate::{
    Response,
    enroll::endpoint::json,
    login::{Ask, Desk, form::BODY_PATIENCE},
};

use super::{
    ClientError,
    device::{self, Said, Standing},
    list::{self, KindAt},
    token,
};

/// Begins a login that is approved on another device. `base` is the origin at which people reach the login host.
pub(crate) async fn device(desk: &Desk<'_>, ask: &Ask<'_>, body: Body, base: &str) -> Response {
    crate::faults::at("device");
    let answered = async { device::begin(desk, ask, read(ask.headers, body).await?, base).await };
    respond(answered.await)
}

/// Turns codes and polling secrets into tokens, ends tokens, and says what their person may open.
pub(crate) async fn token(desk: &Desk<'_>, ask: &Ask<'_>, body: Body, kind_at: KindAt<'_>) -> Response {
    crate::faults::at("token");
    let answered = async {
        match read(ask.headers, body).await? {
            TokenRequest::Redeem { code, verifier, redirect_uri } => {
                token::redeem(desk, ask, &code, &verifier, &redirect_uri).await
            }
            TokenRequest::Poll { secret } => match device::poll(desk, &secret, ask.visit.now).await? {
                Standing::Waits => Ok(TokenAnswer::Pending),
                Standing::Answered(Said::Yes(consent)) => token::issue(desk, ask, *consent).await,
                Standing::Answered(Said::No(why)) => Ok(TokenAnswer::Refused { reason: why.reason().to_owned() }),
            },
            TokenRequest::End { token } => token::end(desk, ask, &token).await,
            TokenRequest::List { token } => list::list(desk, ask, &token, kind_at).await,
        }
    };
    respond(answered.await)
}

/// The request. Only JSON is read: a page of another site cannot send that without asking the browser first.
async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ClientError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ClientError::Malformed("send it as application/json".to_owned()));
    }
    let read = tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, ACCESS_BODY_MAX)).await;
    let Ok(Ok(bytes)) = read else {
        return Err(ClientError::Malformed(format!("it was cut off, or has more than {ACCESS_BODY_MAX} bytes")));
    };
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed(error.to_string()))
}

fn respond(answered: Result<impl Serialize, ClientError>) -> Response {
    let error = match answered {
        Ok(answer) => return json(StatusCode::OK, &answer),
        Err(error) => error,
    };
    let (status, code) = match error {
        ClientError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
        ClientError::Gone(_) => (StatusCode::GONE, "gone"),
        ClientError::Refused(_) => (StatusCode::FORBIDDEN, "refused"),
        ClientError::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
        ClientError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    json(status, &EnrolProblem { code: code.to_owned(), message: error.to_string() })
}
