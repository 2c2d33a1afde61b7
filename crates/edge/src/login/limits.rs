//! How often whoever comes along may begin what the edge keeps for a while.
//!
//! Three steps: a source network, a network so wide that one holder has many of those, and everybody together. The last one
//! is what bounds what strangers can fill: logins at providers, at some 8 KiB each, stay below 100 MiB; questions for
//! passkeys are smaller and gone after minutes, so that only minutes of them are bounded.

use std::time::Duration;

use crate::store::RateLimit;

use super::{Answer, Ask, Desk, pin};

/// Generous, since an office or a carrier's NAT shares one source network.
const PER_SOURCE: [RateLimit; 2] = [limit(60, 60), limit(600, 3600)];
const PER_WIDE_NETWORK: [RateLimit; 2] = [limit(300, 60), limit(3000, 3600)];
/// Logins begun at providers, by everybody together.
pub(super) const STARTS_IN_ALL: &[RateLimit] = &[limit(600, 60), limit(12_000, 3600)];
/// Questions for passkeys. For some people they are the only way in.
pub(super) const QUESTIONS_IN_ALL: &[RateLimit] = &[limit(3000, 60)];

pub(super) const fn limit(events: u32, seconds: u64) -> RateLimit {
    RateLimit { events, window: Duration::from_secs(seconds) }
}

/// Counts one beginning of what `what` names, in all three steps; the page to answer with when there were too many.
pub(super) async fn begin(desk: &Desk<'_>, ask: &Ask<'_>, what: &str, in_all: &[RateLimit]) -> Answer<()> {
    of_source(desk, ask, what).await?;
    let wide = pin::wide_network(ask.visit.source);
    pin::within(desk, ask, &format!("{what} from a wide network"), &wide, &PER_WIDE_NETWORK).await?;
    pin::within(desk, ask, &format!("{what} in all"), &[], in_all).await
}

/// Counts one beginning for its source network alone, of somebody who is known: what strangers do elsewhere uses up nothing
/// of it.
pub(super) async fn of_source(desk: &Desk<'_>, ask: &Ask<'_>, what: &str) -> Answer<()> {
    let network = pin::network(ask.visit.source);
    pin::within(desk, ask, &format!("{what} from a source"), &network, &PER_SOURCE).await
}
