//! `GET /.access/app`: what is at this hostname, signed.

use http::StatusCode;
use tunnel_auth::{Algorithm, assertion::KeyError};
use tunnel_proto::{
    UnixTime,
    access::{APP_LIFE, AppClaims, SignedApp},
    enrol::EnrolProblem,
};

use crate::{
    Response,
    enroll::endpoint::json,
    login::{Ask, Desk},
};

use super::application_at;

/// Answers it: 404 when no application is here.
pub(crate) fn answer(desk: &Desk<'_>, ask: &Ask<'_>) -> Response {
    crate::faults::at("descriptor");
    let (visit, problem) = (ask.visit, |code: &str, message: String| EnrolProblem { code: code.to_owned(), message });
    let Some(app) = application_at(desk.snapshot, &visit.host) else {
        let message = format!("no application has the hostname `{}`; check that it is written correctly", visit.host);
        return json(StatusCode::NOT_FOUND, &problem("unknown_hostname", message));
    };
    let claims = AppClaims {
        iss: desk.issuer.to_owned(),
        aud: app.id,
        hostname: visit.host.clone(),
        name: app.name.clone(),
        iat: visit.now,
        exp: UnixTime(visit.now.0.saturating_add(APP_LIFE)),
    };
    // Always by the same algorithm: no access client has to know others.
    let key = desk.keys.signing(Algorithm::Es256, visit.now).ok_or(KeyError::NotAKey);
    match key.and_then(|key| key.sign_app(&claims)) {
        Ok(descriptor) => json(StatusCode::OK, &SignedApp { descriptor }),
        Err(error) => {
            tracing::error!(%error, "a descriptor cannot be signed");
            let message = "the edge could not sign its answer; see its log".to_owned();
            json(StatusCode::INTERNAL_SERVER_ERROR, &problem("internal", message))
        }
    }
}
