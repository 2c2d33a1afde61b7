//! First contact with an edge, before this machine has a certificate: over verified HTTPS, or over the socket of an edge
//! on the same machine.

use tunnel_proto::{
    dial::{EdgeAddress, JsonClient},
    enrol::{ENROL_PATH, EnrolAnswer, EnrolRequest},
};

pub use tunnel_proto::dial::{
    ASK_TIMEOUT as ENROL_TIMEOUT, AskError as EnrolError, LocalEdge, Pin, PinError, Trust, TrustError,
};

/// Asks the enrolment endpoint of an edge over verified HTTPS.
#[derive(Clone)]
pub struct EnrolClient(JsonClient);

impl EnrolClient {
    /// A client of `edge`, which must prove who it is by `trust`.
    pub fn new(edge: EdgeAddress, trust: &Trust) -> Result<Self, EnrolError> {
        JsonClient::new(edge, trust).map(Self)
    }

    /// Asks one question.
    pub async fn ask(&self, request: &EnrolRequest) -> Result<EnrolAnswer, EnrolError> {
        self.0.post(ENROL_PATH, request).await
    }
}
