#![doc = include_str!("../README.md")]

mod edge;
mod form;
mod screen;
mod visitor;

pub use edge::Edge;
pub use visitor::{Answer, Visitor};

use tunnel_proto::enrol::EnrolProblem;

/// Why something in a test's edge did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The edge did not start.
    #[error("the edge did not start: {0}")]
    Start(#[from] tunnel_edge::edge::StartError),
    /// The edge did not do what was asked.
    #[error("the edge refused: {}", .0.message)]
    Refused(EnrolProblem),
    /// The edge did not answer on its socket.
    #[error("the edge does not answer on its socket: {0}")]
    Socket(String),
    /// A request had no answer.
    #[error("no answer from {url}: {reason}")]
    NoAnswer {
        /// What was opened.
        url: String,
        /// What happened.
        reason: String,
    },
    /// A page was not as expected.
    #[error("{url} is not {expected}, but status {status}:\n{body}")]
    Page {
        /// What was opened.
        url: String,
        /// What should have been there.
        expected: &'static str,
        /// The status of what was there.
        status: u16,
        /// What was there.
        body: String,
    },
    /// No code arrived.
    #[error("no code for `{email}` arrived: it is not admitted, or was refused for asking too often")]
    NoCode {
        /// Whom it was for.
        email: String,
    },
    /// Something that it runs on failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
