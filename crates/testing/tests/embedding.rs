//! Programs that publish what they have, against a real edge.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "embedding/answers.rs"]
mod answers;
#[path = "embedding/cross_site.rs"]
mod cross_site;
#[path = "embedding/examples.rs"]
mod examples;
#[path = "embedding/http2.rs"]
mod http2;
#[path = "embedding/identities.rs"]
mod identities;
#[path = "embedding/keys.rs"]
mod keys;
#[path = "embedding/publishing.rs"]
mod publishing;
#[path = "embedding/renewal.rs"]
mod renewal;
#[path = "embedding/replicas.rs"]
mod replicas;
#[path = "embedding/reqwest.rs"]
mod reqwest;
#[path = "embedding/runtimes.rs"]
mod runtimes;
#[path = "embedding/strangers.rs"]
mod strangers;
#[path = "embedding/verifying.rs"]
mod verifying;
