//! `edge restart`: the running edge replaced by a new process of its program.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use tunnel_edge::socket::{Administration as _, Answer, Client, Restarted, problem};

use super::{
    admin::{output::clean, show},
    failed,
};

/// How this process was started: by which file, and with which arguments.
pub(crate) struct Program {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be asked when the process begins: later another file may be where its own was, which is the one to start then.
    pub(crate) fn now() -> Self {
        let mut arguments = std::env::args_os();
        let named = arguments.next().map(PathBuf::from);
        // As it was named, so that a link that is turned to another version leads there.
        let named = named.filter(|path| path.components().count() > 1).and_then(|path| std::path::absolute(path).ok());
        let file = named.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| PathBuf::from("edge"));
        Self { file, arguments: arguments.collect() }
    }

    /// The same once more.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.args(&self.arguments);
        command
    }
}

/// Asks the edge that runs on the data directory, and waits until the new process serves.
pub(crate) async fn run(data_dir: &Path, json: bool) -> ExitCode {
    match ask(data_dir).await.and_then(|restarted| show(json, &restarted, || words(&restarted))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed(&clean(&problem.message)),
    }
}

async fn ask(data_dir: &Path) -> Answer<Restarted> {
    let client = Client::find(data_dir).await.map_err(|error| problem("edge_unreachable", error.to_string()))?;
    let none = || problem("no_edge", format!("no edge runs on `{}`; start it with `edge run`", data_dir.display()));
    client.ok_or_else(none)?.restart().await
}

fn words(restarted: &Restarted) -> String {
    let Restarted { process, before, connections, memory_kib } = restarted;
    let memory = memory_kib.map_or_else(String::new, |kib| format!(", {} MiB", kib / 1024));
    format!(
        "The edge is served by process {process} now. Process {before} goes on with what it has begun: connections of \
         visitors: {connections}{memory}."
    )
}
