//! What the compared client has and this program has not, or not yet: refused by name, never ignored.

use std::ffi::OsString;

use crate::failure::Failure;

/// Flags, and what to do instead.
const FLAGS: &[(&str, &str)] = &[
    ("--config", "config.yml is not read yet; publish each hostname with --hostname and --url"),
    ("--token", "tunnel tokens are not built yet; enrol with `connector login`"),
    ("--token-file", "tunnel tokens are not built yet; enrol with `connector login`"),
    ("--hello-world", "use --url hello_world"),
    ("--unix-socket", "use --url unix:/PATH"),
    ("--socks5", "SOCKS is not built yet; use --bastion and --allow CIDR:PORT"),
    ("--no-chunked-encoding", "requests are passed on as they come; leave it out"),
    ("--proxy-tcp-keepalive", "it cannot be changed; leave it out"),
    ("--proxy-keepalive-connections", "the edge decides; leave it out"),
    ("--proxy-keepalive-timeout", "the edge decides; leave it out"),
    ("--ha-connections", "use --connections"),
    ("--retries", "attempts to reach the edge do not end; leave it out"),
    ("--origincert", "the certificate of `connector login` is found in --config-dir"),
    ("--credentials-file", "credentials are found in --config-dir"),
    ("--cred-file", "credentials are found in --config-dir"),
    ("--credentials-contents", "credentials are found in --config-dir"),
    ("--cacert", "use --edge-ca"),
    ("--output", "use --log-format json"),
    ("--log-directory", "use --logfile"),
    ("--trace-output", "use --loglevel trace"),
    ("--transport-loglevel", "use --loglevel"),
    ("--proto-loglevel", "use --loglevel"),
    ("--autoupdate-freq", "the program does not update itself; leave it out"),
    ("--no-autoupdate", "the program does not update itself; leave it out"),
    ("--region", "use --edge"),
    ("--edge-ip-version", "both are tried; leave it out"),
    ("--edge-bind-address", "the system chooses the address; leave it out"),
    ("--post-quantum", "key exchange is post-quantum wherever the edge allows it; leave it out"),
    ("--overwrite-dns", "a hostname is never taken from another tunnel; free it at the edge first"),
    ("--label", "labels are not built yet; use --name"),
    ("--tag", "tags are not built yet; leave it out"),
    ("--management-diagnostics", "diagnostics are not built yet; use --metrics"),
];

/// Variables of those flags that would change what is published or by whom.
const VARIABLES: &[(&str, &str)] = &[
    ("TUNNEL_TOKEN", "--token"),
    ("TUNNEL_TOKEN_FILE", "--token-file"),
    ("TUNNEL_CRED_FILE", "--credentials-file"),
    ("TUNNEL_CRED_CONTENTS", "--credentials-contents"),
    ("TUNNEL_ORIGIN_CERT", "--origincert"),
    ("TUNNEL_SOCKS", "--socks5"),
    ("TUNNEL_CONFIG", "--config"),
    ("TUNNEL_CACERT", "--cacert"),
];

/// Variables that have another name here.
const RENAMED: &[(&str, &str)] = &[("TUNNEL_ORIGIN_ENABLE_HTTP2", "TUNNEL_HTTP2_ORIGIN")];

/// Commands, and what to do instead.
const COMMANDS: &[(&str, &str)] = &[
    ("ingress", "config.yml is not read yet; publish each hostname with --hostname and --url"),
    ("service", "installing a system service is not built yet; run `connector` from a unit of your own"),
    ("diag", "it is not built yet; use --metrics and --loglevel debug"),
    ("info", "it is not built yet; use `connector list`"),
    ("token", "tunnel tokens are not built yet; enrol with `connector login`"),
    ("cleanup", "links that are dead are forgotten by themselves; leave it out"),
    ("ready", "it is not built yet; ask /ready at the address given with --metrics"),
    ("tail", "it is not built yet; use --logfile"),
    ("management", "it is not built yet; use the edge's commands"),
    ("vnet", "private networks are not built yet; publish each service with --hostname and --url"),
    ("update", "the program does not update itself; install a newer one"),
    ("proxy-dns", "there is no DNS proxy here"),
    ("access", "the access client is a program of its own: `access`"),
];

/// Refuses what is not built, wherever it stands in the command line.
pub(crate) fn refuse(arguments: &[OsString]) -> Result<(), Failure> {
    let words: Vec<_> = arguments.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    if let Some((name, advice)) = words.first().and_then(|word| COMMANDS.iter().find(|(name, _)| word == name)) {
        return Err(Failure::usage(format!("`connector {name}`: {advice}")));
    }
    for word in words.iter().take_while(|word| *word != "--") {
        let flag = word.split('=').next().unwrap_or_default();
        if let Some((name, advice)) = FLAGS.iter().find(|(name, _)| flag == *name) {
            return Err(Failure::usage(format!("`{name}`: {advice}")));
        }
    }
    Ok(())
}

/// Refuses variables of flags that are not built, for commands that run a tunnel.
pub(crate) fn refuse_variables(is_set: impl Fn(&str) -> bool) -> Result<(), Failure> {
    if let Some((variable, name)) = RENAMED.iter().find(|(variable, _)| is_set(variable)) {
        return Err(Failure::usage(format!("the variable {variable} is set: it is called {name} here")));
    }
    let Some((variable, flag)) = VARIABLES.iter().find(|(variable, _)| is_set(variable)) else { return Ok(()) };
    let advice = FLAGS.iter().find(|(name, _)| name == flag).map_or("not built yet", |(_, advice)| advice);
    Err(Failure::usage(format!("the variable {variable} is set: {advice}")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn nothing_is_both_built_and_not() {
        let cli = crate::cli::Cli::command();
        let flags: Vec<_> = cli.get_arguments().filter_map(|a| a.get_long()).collect();
        assert!(FLAGS.iter().all(|(name, _)| !flags.contains(&name.trim_start_matches('-'))));
        assert!(COMMANDS.iter().all(|(name, _)| cli.find_subcommand(name).is_none()));
        assert!(VARIABLES.iter().all(|(_, flag)| FLAGS.iter().any(|(name, _)| name == flag)));
    }

    #[test]
    fn values_are_not_echoed() {
        let words = ["connector", "run", "--token=sesame"].map(OsString::from);
        let message = refuse(&words).unwrap_err().to_string();
        assert!(message.contains("`--token`") && !message.contains("sesame"), "{message}");
        assert!(refuse_variables(|name| name == "TUNNEL_TOKEN").is_err());
        let renamed = refuse_variables(|name| name == "TUNNEL_ORIGIN_ENABLE_HTTP2").unwrap_err().to_string();
        assert!(renamed.contains("TUNNEL_HTTP2_ORIGIN"), "{renamed}");
        assert!(refuse_variables(|_| false).is_ok());
    }
}
