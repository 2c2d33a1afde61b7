//! HTTP under load, by wrk: HTTP/1.1, connections that are kept.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::process::finish;

/// What wrk measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Answered requests.
    pub(crate) requests: f64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// The time that half of the requests did not exceed, in µs.
    pub p50: f64,
    /// The same for 99 of 100.
    pub p99: f64,
    /// Requests that failed, or were answered otherwise than with 2xx or 3xx.
    pub(crate) errors: f64,
}

/// Asks for `url` on so many connections for some whole seconds.
///
/// # Errors
/// wrk failed or says something else than it does.
pub(crate) fn load(url: &str, headers: &[String], connections: usize, time: Duration) -> Result<Load> {
    let mut wrk = Command::new("wrk");
    let seconds = (time.as_millis().div_ceil(1000)).max(1);
    wrk.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"]);
    for header in headers {
        wrk.args(["-H", header]);
    }
    wrk.arg(url);
    let said = finish(wrk)?;
    let load = parse(&said).with_context(|| format!("wrk said {said}"))?;
    ensure!(load.requests > 0.0, "nothing was answered: {said}");
    Ok(load)
}

fn parse(said: &str) -> Option<Load> {
    let line = |begin: &str| said.lines().map(str::trim).find(|line| line.starts_with(begin));
    let total = said.lines().map(str::trim).find(|line| line.contains(" requests in "))?;
    let (requests, rest) = total.split_once(" requests in ")?;
    let refused = line("Non-2xx or 3xx responses:").and_then(|line| line.rsplit(' ').next()?.parse().ok());
    let broken = line("Socket errors:").map(|line| {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<f64>().ok()).sum::<f64>()
    });
    Some(Load {
        requests: requests.parse().ok()?,
        seconds: micros(rest.split(',').next()?)? / 1e6,
        p50: micros(line("50%")?.rsplit(' ').next()?)?,
        p99: micros(line("99%")?.rsplit(' ').next()?)?,
        errors: refused.unwrap_or(0.0) + broken.unwrap_or(0.0),
    })
}

/// A time as wrk writes it, in µs.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let (number, unit) = units.iter().find_map(|(unit, micros)| Some((text.strip_suffix(unit)?, micros)))?;
    Some(number.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_understood() {
        let said = "Running 1s test @ https://localhost:1/small\n  Latency Distribution\n     50%    4.39ms\n     99%   \
                    39.26us\n  712 requests in 1.03s, 0.86MB read\n  Socket errors: connect 0, read 2, write 0, timeout 1\n  \
                    Non-2xx or 3xx responses: 4\nRequests/sec:    692.08\n";
        let load = Load { requests: 712.0, seconds: 1.03, p50: 4390.0, p99: 39.26, errors: 7.0 };
        assert_eq!(parse(said), Some(load));
        assert_eq!(parse("unable to connect"), None);
    }
}
