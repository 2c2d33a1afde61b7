//! One test's laboratory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::netns::{self, Netns};

/// A temporary directory and a network namespace, with nothing in them yet.
#[derive(Clone, Debug)]
pub struct Lab {
    net: Arc<Netns>,
    dir: Arc<TempDir>,
}

/// Runs a test in a lab of its own. The test's sockets and every program it starts are inside.
///
/// # Panics
/// The lab could not be made, or the test failed.
pub fn run<F, T>(label: &str, test: F)
where
    F: FnOnce(Lab) -> T + Send + 'static,
    T: Future<Output = Result<()>>,
{
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let label = label.to_owned();
    // A thread of its own, because a namespace belongs to a thread and to those that it starts.
    let thread = std::thread::Builder::new().name(label.clone()).spawn(move || {
        netns::sweep().expect("namespaces can be listed");
        let net = Netns::new(&label).expect("a network namespace");
        net.hosts(&[("127.0.0.1", "access.example.test www.example.test app.example.test db.example.test rdp.example.test ssh.example.test smb.example.test")]).expect("a hosts file");
        net.enter().expect("entering the namespace");
        let dir = tempfile::Builder::new().prefix("tunnel-test-").tempdir().expect("a temporary directory");
        let lab = Lab { net: Arc::new(net), dir: Arc::new(dir) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let outcome = runtime.expect("a runtime").block_on(test(lab.clone()));
        drop(lab);
        if let Err(error) = outcome {
            crate::process::print_last_lines();
            panic!("{error:#}");
        }
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    /// Another machine of this laboratory: the same directory, and a namespace of its own.
    pub fn beside(&self, net: Netns) -> Self {
        Self { net: Arc::new(net), dir: self.dir.clone() }
    }

    /// The namespace of this machine; that of the lab which [`run`] gives is the test's own.
    pub fn net(&self) -> &Netns {
        &self.net
    }

    /// A path below the lab's directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the lab's directory.
    ///
    /// # Errors
    /// The system refused.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content)?;
        Ok(path)
    }

    /// A command inside, with a home directory of its own and none of the caller's settings.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.dress(self.net().command(program))
    }

    /// A command of [`Lab::command`] with mounts of its own, which `setup`, in the words of `sh`, makes beforehand; `$0` is
    /// `path` there.
    pub fn privately(&self, command: &Command, setup: &str, path: &Path) -> Command {
        let command = command.as_std();
        // What comes before the program enters the namespace, and would bring mounts of its own.
        let inner = command.get_args().skip_while(|word| *word != "--").skip(1);
        let mut wrapped = self.command("unshare");
        wrapped.args(["-m", "sh", "-c", &format!("{setup} && exec \"$@\"")]).arg(path).args(inner);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped
    }

    /// Gives a command the lab's home directory and takes the caller's settings away.
    pub fn dress(&self, mut command: Command) -> Command {
        let home = self.path("home");
        let _ = fs::create_dir_all(&home);
        command.env_clear().current_dir(self.dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &home).env("LANG", "C.UTF-8").env("RUST_BACKTRACE", "1");
        command
    }
}
