//! Where credentials are kept, and where an edge on this machine keeps its data. Never the current directory.

use std::path::{Path, PathBuf};

use tunnel_origin::enrol::LocalEdge;
use tunnel_proto::Name;

use crate::{cli::EdgeArgs, failure::Failure};

/// The directories of this run.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    config: PathBuf,
    data: Option<PathBuf>,
    /// Whether the data directory was named, so that it is meant.
    data_is_named: bool,
}

impl Paths {
    pub(crate) fn new(args: &EdgeArgs) -> Result<Self, Failure> {
        let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        let below = |variable: &str, rest: &str| {
            let base = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            base.or_else(|| home.as_ref().map(|home| home.join(rest))).map(|base| base.join("tunnel"))
        };
        let config = args.config_dir.clone().or_else(|| below("XDG_CONFIG_HOME", ".config"));
        let config = config.ok_or_else(|| {
            Failure::usage("there is no home directory to keep credentials in: name one with --config-dir")
        })?;
        let data = args.data_dir.clone().or_else(|| below("XDG_STATE_HOME", ".local/state"));
        Ok(Self { config, data, data_is_named: args.data_dir.is_some() })
    }

    /// The certificate of `connector login`, with the CA.
    pub(crate) fn operator_certificate(&self) -> PathBuf {
        self.config.join("cert.pem")
    }

    /// The key of `connector login`.
    pub(crate) fn operator_key(&self) -> PathBuf {
        self.config.join("key.pem")
    }

    /// What is known about the login, no secret.
    pub(crate) fn operator_about(&self) -> PathBuf {
        self.config.join("operator.json")
    }

    /// Where everything is kept.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Where the credentials of all tunnels are.
    pub(crate) fn tunnels(&self) -> PathBuf {
        self.config.join("tunnels")
    }

    /// Where the credentials of one tunnel are. Names hold no separator and do not begin with a dot.
    pub(crate) fn tunnel(&self, name: &Name) -> PathBuf {
        self.tunnels().join(name.as_str())
    }

    /// Whether `--data-dir` names an edge on this machine.
    pub(crate) const fn names_local_edge(&self) -> bool {
        self.data_is_named
    }

    /// The socket of an edge on this machine.
    pub(crate) fn local_edge(&self) -> Result<Option<LocalEdge>, Failure> {
        let Some(data) = &self.data else { return Ok(None) };
        let found = LocalEdge::find(data);
        if found.is_none() && self.data_is_named {
            let data = data.display();
            return Err(Failure::failed(format!(
                "no edge runs with the data directory `{data}`: start it with `edge --data-dir {data}`, as this user"
            )));
        }
        Ok(found)
    }

    /// Where a socket would be, for messages.
    pub(crate) fn local_edge_hint(&self) -> String {
        self.data.as_ref().map_or_else(|| "(no home directory)".to_owned(), |data| data.display().to_string())
    }
}
