//! Which edge is meant, whom to believe at first contact, and how its refusals end the program.

use tunnel_origin::{
    EdgeAddress, Error,
    enrol::{EnrolError, Trust},
};
use tunnel_proto::{
    Hostname,
    enrol::{EdgeInfo, EnrolProblem},
    message::{LinkRefusal, TableRefusal},
};

use crate::{cli::EdgeArgs, failure::Failure, files};

/// The edge of a zone: where `--edge` says, or else where it is known to be. Its name is that of the zone in any case.
pub(crate) fn address(flag: Option<&str>, known: &str, zone: &Hostname) -> Result<EdgeAddress, Failure> {
    let login_host = zone.child("access").map_err(Failure::failed)?;
    let parsed = EdgeAddress::parse(flag.unwrap_or(known), Some(&login_host));
    let parsed = parsed.map_err(|error| Failure::usage(format!("--edge: {error}")))?;
    if flag.is_some_and(|flag| flag.contains("://")) && *parsed.name() != login_host {
        return Err(Failure::usage(format!(
            "--edge: the credentials are for `{login_host}`, not for `{}`: give another --config-dir, or HOST:PORT to only \
             dial elsewhere",
            parsed.name()
        )));
    }
    Ok(EdgeAddress::new(parsed.target().clone(), login_host))
}

/// Refuses a `--edge` that means nothing, before anything else is looked at.
pub(crate) fn check(args: &EdgeArgs) -> Result<(), Failure> {
    let any = Hostname::parse("access.localhost").map_err(Failure::failed)?;
    let Some(flag) = &args.edge else { return Ok(()) };
    EdgeAddress::parse(flag, Some(&any)).map(drop).map_err(|error| Failure::usage(format!("--edge: {error}")))
}

/// Whom first contact believes: what the flags say, or the edge on this machine, or the web's roots.
pub(crate) fn trust(args: &EdgeArgs, edge: &EdgeAddress, local: Option<&EdgeInfo>) -> Result<Trust, Failure> {
    if let Some(pin) = &args.edge_pin {
        return Ok(Trust::Pin(pin.clone()));
    }
    if let Some(path) = &args.edge_ca {
        let text = files::read(path)?;
        let text = text.ok_or_else(|| Failure::failed(format!("--edge-ca: there is no file `{}`", path.display())))?;
        return Ok(Trust::Ca(text));
    }
    Ok(match local.filter(|info| info.edge == edge.url()) {
        Some(info) => Trust::Ca(info.ca.clone()),
        None => Trust::Web,
    })
}

/// What the edge refused, in its own words.
pub(crate) fn refusal(problem: EnrolProblem) -> Failure {
    match problem.code.as_str() {
        "internal" | "malformed" | "csr_refused" | "too_many" => Failure::failed(problem.message),
        _ => Failure::refused(problem.message),
    }
}

/// How enrolling that did not succeed ends the program.
pub(crate) fn enrol_failure(error: EnrolError, edge: &str) -> Failure {
    match error {
        EnrolError::Refused(problem) => refusal(problem),
        EnrolError::Tls(source)
            if ["invalid peer certificate", "fingerprint"].iter().any(|why| source.to_string().contains(why)) =>
        {
            Failure::failed(format!(
                "the edge at {edge} did not prove who it is ({source}): give its CA with --edge-ca (`edge ca` prints it) or its \
             fingerprint with --edge-pin"
            ))
        }
        EnrolError::Unreachable { .. } | EnrolError::Timeout => Failure::failed(format!(
            "cannot reach the edge at {edge}: {error}; check the address and that the edge runs"
        )),
        EnrolError::Trust(error) => Failure::failed(format!("--edge-ca: {error}")),
        other => Failure::failed(format!("the edge at {edge}: {other}")),
    }
}

/// How a link that did not come up, or was refused, ends the program.
pub(crate) fn link_failure(error: Error) -> Failure {
    let mend = match &error {
        Error::Refused {
            code: LinkRefusal::Revoked | LinkRefusal::UnknownTunnel | LinkRefusal::CertificateExpired,
            ..
        } => "; publish again with --hostname and --url, or ask an administrator",
        Error::Table { code: TableRefusal::NotRouted, .. } => "; route it with `connector route NAME HOSTNAME`",
        Error::Untrusted { .. } => {
            "; if the edge was set up anew, remove the tunnel's directory below --config-dir and enrol again"
        }
        Error::Certificate { .. } => "; enrol again",
        Error::NotAnEdge { .. } => "; check the address given with --edge",
        Error::Unreachable { .. } | Error::Late { .. } => "; check the address and that the edge runs",
        _ => "",
    };
    let message = format!("{error}{mend}");
    match error {
        Error::Refused { retryable: false, .. } | Error::Table { .. } => Failure::refused(message),
        _ => Failure::failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_elsewhere_still_has_to_be_the_one_of_the_zone() {
        let zone = Hostname::parse("example.com").unwrap();
        let known = "https://access.example.com";
        for (flag, target) in [
            (None, "access.example.com:443"),
            (Some("192.0.2.1:8443"), "192.0.2.1:8443"),
            (Some("relay.example.net:1"), "relay.example.net:1"),
            (Some("https://access.example.com:444"), "access.example.com:444"),
        ] {
            let edge = address(flag, known, &zone).unwrap();
            assert_eq!((edge.target().to_string().as_str(), edge.name().as_str()), (target, "access.example.com"));
        }
        let error = address(Some("https://access.example.org"), known, &zone).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("access.example.com"), "{error}");
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let problem = |code: &str| EnrolProblem { code: code.to_owned(), message: "m".to_owned() };
        assert_eq!(refusal(problem("hostname_taken")).exit_code(), 3);
        assert_eq!(refusal(problem("hostname_out_of_scope")).exit_code(), 3);
        assert_eq!(refusal(problem("internal")).exit_code(), 1);
    }
}
