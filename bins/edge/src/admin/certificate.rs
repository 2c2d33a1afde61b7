//! `edge admin certificate …`.

use clap::Subcommand;
use tunnel_edge::socket::{Administration, Answer, CertificateStatus, RenewCertificate};
use tunnel_proto::HostPattern;

use super::{
    output::{clean, table, when},
    show,
};

/// What `edge admin certificate` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum CertificateCommand {
    /// List the certificates from files or by ACME: until when they are good, and what went wrong
    List,
    /// Have a certificate by ACME renewed at once; the present one serves until then
    Renew {
        /// The first of its names
        name: HostPattern,
    },
}

pub(super) async fn perform(command: CertificateCommand, office: &dyn Administration, json: bool) -> Answer<()> {
    match command {
        CertificateCommand::List => {
            let certificates = office.certificates().await?;
            show(json, &certificates, || words(&certificates))
        }
        CertificateCommand::Renew { name } => {
            office.renew_certificate(RenewCertificate { name: name.clone() }).await?;
            show(json, &serde_json::json!({ "renewed": name }), || {
                format!("the certificate of `{name}` is ordered anew; `edge admin certificate list` tells how it went")
            })
        }
    }
}

fn words(certificates: &[CertificateStatus]) -> String {
    if certificates.is_empty() {
        return "There are none to list. The edge's own CA makes certificates when they are asked for; those from files are \
                listed while the edge runs."
            .to_owned();
    }
    let rows = certificates.iter().map(|one| {
        let names: Vec<_> = one.names.iter().map(HostPattern::as_str).collect();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let from = one.file.as_ref().map(|file| file.display().to_string());
        vec![
            names.join(" "),
            or_dash(one.issuer.as_deref().map(clean)),
            or_dash(from),
            or_dash(one.until.map(when)),
            or_dash(one.next.map(when)),
            or_dash(one.error.as_deref().map(clean)),
        ]
    });
    table(&["NAMES", "SIGNED BY", "FILE", "UNTIL", "NEXT TRY", "LAST ERROR"], rows)
}
