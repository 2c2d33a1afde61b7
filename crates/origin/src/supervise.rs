//! Keeping one link up: connect, hand over to [`Live`], and connect again, for as long as the connector runs.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{info, warn};
use tunnel_proto::{
    InstanceId, LinkId,
    link::LinkEnd,
    message::{Hello, Role},
};

use crate::{
    address::EdgeAddress,
    backoff::{Backoff, RETRY_CAP},
    credentials::Credentials,
    error::Error,
    establish::{establish, random},
    live::{Live, Renewal, Site},
    status::Status,
};

/// What the supervisors of a connector's links share.
pub(crate) struct Fleet {
    pub(crate) edge: EdgeAddress,
    pub(crate) agent: String,
    pub(crate) instance: InstanceId,
    pub(crate) site: Arc<Site>,
    pub(crate) credentials: watch::Sender<Credentials>,
    pub(crate) wanted: usize,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) state: Mutex<State>,
}

/// Which links are up.
#[derive(Default)]
pub(crate) struct State {
    up: Vec<(LinkId, mpsc::Sender<Renewal>)>,
    was_up: bool,
    problem: Option<Arc<str>>,
}

impl Fleet {
    /// Keeps one link up until the connector stops. Fails only when trying again cannot help.
    pub(crate) async fn keep_one_up(self: Arc<Self>) -> Result<(), Error> {
        // The current link, and earlier ones that drain.
        let mut links: JoinSet<LinkEnd> = JoinSet::new();
        let mut backoff = Backoff::new();
        let stop = self.site.stop.clone();
        while !stop.is_cancelled() {
            let attempt = tokio::select! {
                attempt = self.attempt() => attempt,
                () = stop.cancelled() => break,
            };
            match attempt {
                Ok((live, renewals)) => {
                    let since = Instant::now();
                    self.hold(live, renewals, &mut links).await;
                    // A link that dies at once counts as a failure, or we would hammer the edge.
                    if since.elapsed() >= RETRY_CAP {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    let (was_up, is_new) = self.note_problem(&error);
                    if error.is_final(was_up) {
                        return Err(error);
                    }
                    if is_new {
                        warn!(edge = %self.edge, %error, "no link; trying again until there is one");
                    } else {
                        tracing::debug!(edge = %self.edge, %error, failures = backoff.failures(), "no link");
                    }
                }
            }
            let pause = backoff.next_pause(random().map_or(u64::MAX, u64::from_le_bytes));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
                // Nobody else takes the ends of links that drain.
                () = async { while links.join_next().await.is_some() {} std::future::pending().await } => {}
            }
        }
        while links.join_next().await.is_some() {}
        Ok(())
    }

    async fn attempt(&self) -> Result<(Live, mpsc::Sender<Renewal>), Error> {
        let credentials = self.credentials.borrow().clone();
        let hello = Hello::new(Role::Connector, self.agent.clone(), self.instance);
        let connected = establish(&self.edge, &credentials, hello).await?;
        Live::announce(connected, self.site.clone()).await
    }

    /// Holds a link until it is over or drains; a link that drains lives on in `links`.
    async fn hold(self: &Arc<Self>, live: Live, renewals: mpsc::Sender<Renewal>, links: &mut JoinSet<LinkEnd>) {
        let link = live.link().clone();
        let id = link.id();
        let up = Up::new(self.clone(), id, renewals);
        info!(link = %id, edge = %self.edge, "link up");
        let task = links.spawn(async move { live.run().await });
        let over = async {
            while let Some(ended) = links.join_next_with_id().await {
                let (ended_id, end) = match ended {
                    Ok((task_id, end)) => (task_id, Some(end)),
                    Err(error) => (error.id(), None),
                };
                if ended_id == task.id() {
                    return end;
                }
            }
            None
        };
        tokio::select! {
            end = over => {
                let end = end.map_or_else(|| "its task failed".to_owned(), |end| end.to_string());
                if !self.site.stop.is_cancelled() {
                    warn!(link = %id, reason = end, "link lost");
                    up.down(Some(end));
                }
            }
            _ = link.draining() => up.down(None),
        }
    }

    /// Remembers what keeps a link from coming up; whether any link was up before, and whether the problem is new.
    fn note_problem(&self, error: &Error) -> (bool, bool) {
        self.site.meters.links_failed.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let problem = error.to_string();
        let is_new = state.problem.as_deref() != Some(problem.as_str());
        state.problem = Some(problem.into());
        self.publish(&state);
        (state.was_up, is_new)
    }

    /// Tells those who watch, if anything changed.
    pub(crate) fn publish(&self, state: &State) {
        let problem = state.problem.clone();
        let status = match state.up.len() {
            _ if self.site.stop.is_cancelled() => Status::Draining,
            0 => Status::Connecting { problem },
            links if links >= self.wanted => Status::Online { links },
            links => Status::Degraded { links, problem },
        };
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
    }

    /// Asks over any link that is up.
    pub(crate) fn renewals(&self) -> Option<mpsc::Sender<Renewal>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.up.first().map(|(_, renewals)| renewals.clone())
    }
}

/// A link counts as up for as long as this lives.
struct Up {
    fleet: Arc<Fleet>,
    link: LinkId,
}

impl Up {
    fn new(fleet: Arc<Fleet>, link: LinkId, renewals: mpsc::Sender<Renewal>) -> Self {
        {
            let mut state = fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.up.push((link, renewals));
            state.was_up = true;
            if state.up.len() >= fleet.wanted {
                state.problem = None;
            }
            fleet.site.meters.links_established.fetch_add(1, Ordering::Relaxed);
            fleet.publish(&state);
        }
        Self { fleet, link }
    }

    fn down(self, problem: Option<String>) {
        if let Some(problem) = problem {
            let mut state = self.fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.problem = Some(problem.into());
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut state = self.fleet.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.up.retain(|(link, _)| *link != self.link);
        self.fleet.publish(&state);
    }
}
