//! An edge is replaced: another process takes its place, and this one goes on with what it has begun until that ends.

use std::{process::Command, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{Edge, Handle, JoinHandle, Relaxed};
use crate::{
    platform,
    replace::{REPLACE_TIME, ReplaceError, Successor},
    socket::Restarted,
};

/// How long mails, rounds and orders that are under way are waited for before the next process takes them over.
const REST_TIME: Duration = Duration::from_secs(10);
/// How long what was asked at the owner's socket is waited for before the next process is alone with it.
const LEAVE_TIME: Duration = Duration::from_secs(5);
/// How long a replaced process goes on at least: what was asked of it in the last moment is done in the background.
const RETIRE_MIN: Duration = Duration::from_secs(5);
/// How often it says what it still goes on with.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// How often it looks after what it keeps.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// A step of the two, if it is done in time.
async fn in_time(step: impl Future<Output = Result<(), ReplaceError>>) -> Result<(), ReplaceError> {
    timeout(REPLACE_TIME, step).await.unwrap_or(Err(ReplaceError::Late))
}

impl Edge {
    /// Starts `program`, which is this very program, and has it take this edge's place. Returns once it serves, after which
    /// [`Edge::retire`] is due. After an error everything is as it was, and the new process has ended; so it is when
    /// `stopped` comes first.
    pub async fn replace(
        &self,
        program: Command,
        stopped: impl Future<Output = ()>,
    ) -> Result<Restarted, ReplaceError> {
        if let Err(error) = self.state.sessions.write_uses().await {
            tracing::error!(%error, "when sessions were last used cannot be written down");
        }
        self.state.note_time().await;
        let owners = self.owners.as_ref().ok_or(ReplaceError::Alone)?;
        let [socket, lock] = owners;
        let owners = [socket.again()?, lock.again()?];
        let mut doors = Vec::with_capacity(self.doors.len());
        for (wanted, listener) in &self.doors {
            doors.push((*wanted, Handle::of_listener(listener)?));
        }
        let mut successor = Successor::start(program)?;
        let handing = async {
            let known = self.connections.known();
            in_time(successor.offer(&self.state.config.data_dir, owners, doors, known)).await?;
            self.rest().await;
            self.socket.iter().for_each(|socket| socket.lend(true));
            in_time(successor.go()).await
        };
        let outcome = tokio::select! {
            biased;
            outcome = handing => outcome,
            () = stopped => Err(ReplaceError::Stopped),
        };
        if let Err(error) = outcome {
            // First its end: two must not do what rests.
            successor.give_up().await;
            self.socket.iter().for_each(|socket| socket.lend(false));
            self.rounds.rest.store(false, Relaxed);
            self.state.mail.work();
            if let Some(acme) = self.state.certificates.acme() {
                acme.work();
            }
            return Err(error);
        }
        Ok(Restarted {
            process: successor.id(),
            before: std::process::id(),
            connections: self.connections.visitors.len(),
            memory_kib: platform::resident_kib(),
        })
    }

    /// Two processes must not hand over the same mail, nor ask a provider by the same token, nor prove a hostname at a time.
    async fn rest(&self) {
        self.rounds.rest.store(true, Relaxed);
        let resting = async { tokio::join!(self.state.mail.rest(REST_TIME), self.rounds.under_way.lock()).0 };
        let ordering = async {
            match self.state.certificates.acme() {
                Some(acme) => acme.rest(REST_TIME).await,
                None => true,
            }
        };
        let (rests, is_ordered) = tokio::join!(timeout(REST_TIME, resting), ordering);
        if !rests.unwrap_or(false) {
            tracing::warn!("mails are being handed over, or providers asked, while the edge is replaced");
        }
        if !is_ordered {
            tracing::info!("a certificate is being ordered while the edge is replaced; it is ordered anew afterwards");
        }
    }

    /// Accepts no more, sends connectors and clients to the process that serves now, and returns when nothing is left of what
    /// was begun here, or it has had its time ([`Config::drain_http`], [`Config::drain_tcp`]). Sessions, policies,
    /// certificates and what is said of the clock are followed until then. [`Edge::stop`] is due afterwards, and may come before.
    ///
    /// [`Config::drain_http`]: crate::Config::drain_http
    /// [`Config::drain_tcp`]: crate::Config::drain_tcp
    pub async fn retire(&mut self) {
        let since = Instant::now();
        // First the doors: whoever is sent away must not come back here.
        self.shut_doors().await;
        // What comes round now and then is for the process that serves.
        self.tasks.iter().for_each(JoinHandle::abort);
        self.state.replaced.cancel();
        if let Some(socket) = self.socket.take()
            && timeout(LEAVE_TIME, socket.leave()).await.is_err()
        {
            tracing::warn!("what was asked at the owner's socket is cut: it took too long");
        }
        self.owners = None;
        self.connections.visitors.close();
        let ended = async {
            tokio::join!(self.connections.visitors.wait(), sleep_until(since + RETIRE_MIN));
        };
        tokio::pin!(ended);
        let (http, tcp) = (since + self.state.config.drain_http, since + self.state.config.drain_tcp);
        let (mut report, mut tend) = (interval(REPORT_EVERY), interval(TEND_EVERY));
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut ended => break,
                () = sleep_until(http), if !self.connections.cut_http.is_cancelled() => {
                    tracing::info!("requests and WebSockets of the edge before are cut: they had their time");
                    self.connections.cut_http.cancel();
                }
                () = sleep_until(tcp.max(http)) => {
                    tracing::info!("streams of the edge before are cut: they had their time");
                    // Stopping alone would let them go on for some seconds more.
                    self.connections.cut.cancel();
                    break;
                }
                _ = report.tick() => self.report(),
                _ = tend.tick() => self.tend().await,
            }
        }
        tracing::info!(seconds = since.elapsed().as_secs(), "the edge before has nothing left to go on with");
    }

    fn report(&self) {
        let links = self.state.registry.all();
        let streams: usize = links.iter().map(|uplink| uplink.link.streams()).sum();
        let connections = self.connections.visitors.len();
        let memory_kib = platform::resident_kib().unwrap_or_default();
        let process = std::process::id();
        tracing::info!(
            process,
            connections,
            streams,
            links = links.len(),
            memory_kib,
            "replaced; goes on with what it began"
        );
    }

    async fn tend(&self) {
        self.state.pool.sweep();
        self.state.sessions.sweep(self.state.now());
        if let Err(error) = self.state.sessions.write_uses().await {
            tracing::error!(%error, "when sessions were last used cannot be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        Clock, Config,
        edge::{FOLLOW_EVERY, FOLLOW_PATIENCE, Screen},
    };

    async fn edge(dir: &std::path::Path) -> Edge {
        let mut config = Config::quick_start(dir.to_owned(), Vec::new());
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.http_listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        Edge::start(config, Clock::System, Screen::new(std::io::sink())).await.unwrap()
    }

    /// Some looks at the store.
    async fn some_looks() {
        tokio::time::sleep(FOLLOW_EVERY * 3).await;
    }

    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    // F3, S5
    #[tokio::test]
    async fn a_replaced_process_that_learns_nothing_any_more_is_cut_after_its_patience_and_one_that_serves_is_not() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let serves = edge(dirs[0].path()).await;
        serves.state.store.close().await;
        pass(FOLLOW_PATIENCE * 3).await;
        some_looks().await;
        assert!(!serves.connections.cut.is_cancelled(), "one that serves goes on with what it has");

        let replaced = edge(dirs[1].path()).await;
        let cut = replaced.connections.cut.clone();
        replaced.state.replaced.cancel();
        some_looks().await;
        assert!(!cut.is_cancelled(), "it follows");
        replaced.state.store.close().await;
        some_looks().await;
        assert!(!cut.is_cancelled(), "it is given time");
        pass(FOLLOW_PATIENCE).await;
        timeout(FOLLOW_PATIENCE, cut.cancelled()).await.expect("it goes on with what may have ended elsewhere");
    }
}
