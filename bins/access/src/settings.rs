//! From flags, variables and directories to a client. Nothing is looked for in the current directory.

use std::{
    cell::OnceCell,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use tunnel_client::{AppHost, Auth, Builder, Client, EdgeAddress, ExtraHeader, FileStore, Prompt, Proxy, Trust};
use tunnel_proto::{dial::LocalEdge, enrol::EdgeInfo};
use zeroize::Zeroizing;

use crate::{AGENT, browser, cli::CommonArgs, failure::Failure, platform, screen::Screen};

/// The longest file read here, in bytes.
const FILE_MAX: u64 = 256 * 1024;
/// The longest file with a secret, in bytes: one has a hundredth of it.
const SECRET_FILE_MAX: u64 = 4 * 1024;
/// The longest file with header fields, in bytes.
const HEADER_FILE_MAX: u64 = 64 * 1024;
/// What a hostname in the base address of an edge's pages is written as.
pub(crate) const HOST: &str = "HOST";

/// What holds for the whole run.
pub(crate) struct Settings {
    common: CommonArgs,
    logins: PathBuf,
    data: Option<PathBuf>,
    screen: Screen,
    /// The secret of the service token, once it was looked for.
    secret: OnceCell<Option<Zeroizing<String>>>,
}

impl Settings {
    pub(crate) fn new(common: &CommonArgs, screen: Screen) -> Result<Self, Failure> {
        let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
        let below = |variable: &str, rest: &str| {
            let base = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            base.or_else(|| home.as_ref().map(|home| home.join(rest))).map(|base| base.join("tunnel"))
        };
        let config = common.config_dir.clone().or_else(|| below("XDG_CONFIG_HOME", ".config"));
        let config = config.ok_or_else(|| {
            Failure::usage("there is no home directory to keep logins in: name one with --config-dir")
        })?;
        let data = common.data_dir.clone().or_else(|| below("XDG_STATE_HOME", ".local/state"));
        Ok(Self { common: common.clone(), logins: config.join("access"), data, screen, secret: OnceCell::new() })
    }

    /// Where people read what is going on.
    pub(crate) const fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Where logins are kept.
    pub(crate) fn store(&self) -> FileStore {
        FileStore::new(&self.logins)
    }

    /// The CA file that was named, for other programs.
    pub(crate) fn edge_ca(&self) -> Option<&PathBuf> {
        self.common.edge_ca.as_ref()
    }

    /// The edge that was named.
    pub(crate) fn edge(&self) -> Result<Option<EdgeAddress>, Failure> {
        let edge = self.common.edge.as_ref().map(|edge| EdgeAddress::parse(edge, None)).transpose();
        edge.map_err(|error| Failure::usage(format!("--edge: {error}")))
    }

    /// A client for `hosts`, and these hosts as they are reached. `command` is shown to whoever approves a login.
    pub(crate) async fn client(&self, command: &str, hosts: Vec<AppHost>) -> Result<(Client, Vec<AppHost>), Failure> {
        self.client_with(command, hosts, &[]).await
    }

    /// The same, with header fields for the requests that open a WebSocket.
    pub(crate) async fn client_with(
        &self,
        command: &str,
        hosts: Vec<AppHost>,
        headers: &[String],
    ) -> Result<(Client, Vec<AppHost>), Failure> {
        let local = self.local_edge(&hosts).await?;
        let mut builder = Client::builder()
            .agent(AGENT)
            .computer(&platform::machine_name())
            .command(command)
            .token_store(self.store())
            .trust(self.trust(local.as_ref())?)
            .auth(self.auth()?);
        builder = read_headers(headers)?.into_iter().fold(builder, Builder::header);
        let mut port = None;
        if let Some(edge) = self.edge()? {
            builder = builder.edge(edge);
        } else if let Some(local) = &local {
            let edge = EdgeAddress::parse(&local.edge, None).map_err(Failure::failed)?;
            port = Some(edge.target().port());
            if local.quick_start {
                builder = builder.pages(local.visit.replace(HOST, edge.name().as_str()));
            }
        }
        if let Some(proxy) = proxy()? {
            builder = builder.proxy(proxy);
        }
        let hosts = hosts.into_iter().map(|host| port.map_or_else(|| host.clone(), |port| host.clone().or_port(port)));
        let client = builder.build()?;
        let screen = self.screen.clone();
        tokio::spawn(browser::remind(client.events(), move |text| screen.say(text)));
        Ok((client, hosts.collect()))
    }

    /// Where pages of `hosts` are, with [`HOST`] in the place of one, if they are of a quick start on this machine.
    pub(crate) async fn visit(&self, hosts: &[AppHost]) -> Result<Option<String>, Failure> {
        let local = if self.common.edge.is_some() { None } else { self.local_edge(hosts).await? };
        Ok(local.filter(|info| info.quick_start).map(|info| info.visit))
    }

    /// The edge on this machine, if all hosts are of its zone, and it was named or is a quick start, whose certificates
    /// nobody else vouches for.
    async fn local_edge(&self, hosts: &[AppHost]) -> Result<Option<EdgeInfo>, Failure> {
        let named = self.common.data_dir.is_some();
        let Some(data) = &self.data else { return Ok(None) };
        let Some(local) = LocalEdge::find(data) else {
            let shown = data.display();
            return match named {
                true => Err(Failure::failed(format!(
                    "no edge runs with the data directory `{shown}`: start it with `edge --data-dir {shown}`, as this user"
                ))),
                false => Ok(None),
            };
        };
        let info = match local.info().await {
            Ok(info) => info,
            Err(error) if named => return Err(Failure::failed(error)),
            Err(_) => return Ok(None),
        };
        let below = format!(".{}", info.zone);
        let all = hosts.iter().all(|host| host.hostname().as_str().ends_with(&below));
        Ok(Some(info).filter(|info| all && (named || info.quick_start)))
    }

    fn trust(&self, local: Option<&EdgeInfo>) -> Result<Trust, Failure> {
        if let Some(pin) = &self.common.edge_pin {
            return Ok(Trust::Pin(pin.clone()));
        }
        if let Some(path) = &self.common.edge_ca {
            let cannot = |error: std::io::Error| Failure::failed(format!("--edge-ca: `{}`: {error}", path.display()));
            let length = fs::metadata(path).map_err(cannot)?.len();
            if length > FILE_MAX {
                return Err(Failure::failed(format!("--edge-ca: `{}` is too long for a certificate", path.display())));
            }
            return fs::read_to_string(path).map(Trust::Ca).map_err(cannot);
        }
        Ok(local.map_or(Trust::Web, |info| Trust::Ca(info.ca.clone())))
    }

    fn auth(&self) -> Result<Auth, Failure> {
        if let Some((id, secret)) = self.service_token()? {
            return Ok(Auth::service_token(id, secret.as_str()));
        }
        let screen = self.screen.clone();
        let wanted = !self.common.no_browser;
        let show = move |prompt: &Prompt| browser::show(&screen, prompt, wanted);
        Ok(match wanted && browser::is_here() {
            true => Auth::browser(show),
            false => Auth::device_code(show),
        })
    }

    /// The service token that was named: its id and its secret.
    pub(crate) fn service_token(&self) -> Result<Option<(String, Zeroizing<String>)>, Failure> {
        // Once: a second look would warn twice, and a pipe is empty then.
        let secret = match self.secret.get() {
            Some(secret) => secret.clone(),
            None => {
                let secret = self.read_secret()?;
                self.secret.get_or_init(|| secret).clone()
            }
        };
        match (&self.common.service_token_id, secret) {
            (Some(id), Some(secret)) => Ok(Some((id.clone(), secret))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Failure::usage(
                "a service token has a secret, too: give --service-token-secret-file or set TUNNEL_SERVICE_TOKEN_SECRET",
            )),
            (None, Some(_)) => Err(Failure::usage(
                "a service token has an id, too: give --service-token-id or set TUNNEL_SERVICE_TOKEN_ID",
            )),
        }
    }

    fn read_secret(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(secret) = &self.common.service_token_secret {
            eprintln!(
                "access: other users of this machine can see --service-token-secret: better --service-token-secret-file or \
                 TUNNEL_SERVICE_TOKEN_SECRET"
            );
            return Ok(Some(Zeroizing::new(secret.clone())));
        }
        if let Some(path) = &self.common.service_token_secret_file {
            return read_secret("--service-token-secret-file", path, SECRET_FILE_MAX).map(Some);
        }
        Ok(std::env::var("TUNNEL_SERVICE_TOKEN_SECRET").ok().filter(|secret| !secret.is_empty()).map(Zeroizing::new))
    }
}

/// Reads header fields: each as it is, or `@` and a file with a line for each. What is wrong is told without what may be a
/// secret.
fn read_headers(given: &[String]) -> Result<Vec<ExtraHeader>, Failure> {
    let mut headers = Vec::new();
    for (number, given) in (1..).zip(given) {
        let bad = |error| Failure::usage(format!("--header, the {number}. one: {error}"));
        match given.strip_prefix('@') {
            Some(file) => {
                let lines = read_secret("--header", Path::new(file), HEADER_FILE_MAX)?;
                for (at, line) in (1..).zip(lines.lines().map(str::trim)).filter(|(_, line)| !line.is_empty()) {
                    let bad = |error| Failure::usage(format!("--header: line {at} of `{file}`: {error}"));
                    headers.push(line.parse().map_err(bad)?);
                }
            }
            None => headers.push(given.parse().map_err(bad)?),
        }
    }
    Ok(headers)
}

/// Reads the file with a secret that `flag` names.
fn read_secret(flag: &str, path: &Path, longest: u64) -> Result<Zeroizing<String>, Failure> {
    let failed = |what: &dyn std::fmt::Display| Failure::failed(format!("{flag}: `{}`: {what}", path.display()));
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    if platform::is_exposed(&file.metadata().map_err(|error| failed(&error))?) {
        let path = path.display();
        eprintln!("access: other users of this machine can read the secret in `{path}`: `chmod 600 {path}`");
    }
    let mut text = Zeroizing::new(String::new());
    let mut limited = file.take(longest + 1);
    limited.read_to_string(&mut text).map_err(|error| failed(&error))?;
    if limited.limit() == 0 {
        return Err(failed(&format!("it is longer than {longest} bytes")));
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The proxy that the environment names, as other programs read it.
fn proxy() -> Result<Option<Proxy>, Failure> {
    let variable = |names: [&str; 2]| {
        names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let Some(proxy) = variable(["HTTPS_PROXY", "https_proxy"]) else { return Ok(None) };
    let proxy: Proxy = proxy.parse().map_err(|error| Failure::usage(format!("HTTPS_PROXY: {error}")))?;
    Ok(Some(proxy.except(&variable(["NO_PROXY", "no_proxy"]).unwrap_or_default())))
}
