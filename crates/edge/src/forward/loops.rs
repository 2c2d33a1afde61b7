//! Requests that come back to the edge that sent them on, because a service leads there again (RFC 8586).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::keys::Keys;

/// The field by which whoever forwards requests knows them again. What others wrote into it goes on, for them.
pub(super) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// What this edge is called there: nobody guesses it, it says nothing about the edge, and services that are told it can do no
/// more with it than have a request of theirs refused.
#[derive(Debug)]
pub(crate) struct LoopName(HeaderValue);

impl LoopName {
    /// The name of the edge that has these keys.
    pub(crate) fn of(keys: &Keys) -> Self {
        let hash = keys.keyed_hash("loop", &[]);
        let short = hash.get(..8).unwrap_or_default();
        let name = format!("tunnel-{}", data_encoding::HEXLOWER.encode(short));
        Self(HeaderValue::try_from(name).expect("letters, digits and a hyphen may stand in a field"))
    }

    /// As it is written into the field.
    pub(super) const fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// Whether a request goes round and round through this edge.
    pub(crate) fn goes_round(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(CDN_LOOP) && passes(headers, self.0.as_bytes()) >= PASSES_MAX
    }
}

/// How often a request may come by: an application that copies what it was sent may ask another one through the same edge, and
/// that one yet another; a circle goes on beyond that.
const PASSES_MAX: usize = 3;

/// How often a request has passed the edge of this name.
fn passes(headers: &HeaderMap, ours: &[u8]) -> usize {
    let is_ours = |one: &[u8]| {
        let id = one.split(|b| *b == b';').next().unwrap_or_default();
        id.trim_ascii().eq_ignore_ascii_case(ours)
    };
    let ids = headers.get_all(CDN_LOOP).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    ids.filter(|id| is_ours(id)).count()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_edge_knows_its_own_name_among_others_and_no_other() {
        // T10
        let ours = "tunnel-0123456789abcdef";
        let came = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CDN_LOOP, HeaderValue::try_from(*line).unwrap());
            }
            passes(&headers, ours.as_bytes())
        };
        for none in ["", "tunnel-0000000000000000, fastly; v=1", &format!("{ours}x")] {
            assert_eq!(came(&[none]), 0, "{none}");
        }
        assert_eq!(came(&[]), 0);
        assert_eq!(came(&["other", &format!("a;b=c , {ours} ; v=1"), &format!("{ours},{}", ours.to_uppercase())]), 3);
    }
}
