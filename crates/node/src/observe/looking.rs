//! What the probers that ask one question at a time have in common: how they wait for an answer, and how they tell.

use primacy_core::view::{ConnectFailure, LinkEnd, MemberStatus, Reach};
use primacy_core::{GroupName, MemberName, Moment};
use primacy_redis::Sighting;
use primacy_runtime::{Task, now, timeout};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// A question that is open for longer counts as silence.
const SILENCE: Duration = Duration::from_millis(300);
/// And is given up after so long.
pub(super) const GIVE_UP: Duration = Duration::from_secs(1);

/// A prober. Dropping it ends it.
pub(super) struct Looking {
    nudge: Arc<Notify>,
    _task: Task<()>,
}

impl Looking {
    pub(super) fn new(nudge: Arc<Notify>, task: Task<()>) -> Looking {
        Looking { nudge, _task: task }
    }

    /// Asks now instead of at the next interval.
    pub(super) fn probe_now(&self) {
        self.nudge.notify_one();
    }
}

/// Why there is no answer.
pub(super) struct Failure {
    pub(super) ended: Option<LinkEnd>,
    pub(super) connect: Option<ConnectFailure>,
    pub(super) detail: String,
}

/// Tells what is seen of one member.
pub(super) struct Teller {
    group: GroupName,
    member: MemberName,
    sink: mpsc::Sender<Sighting>,
    last_up: Option<(Moment, MemberStatus)>,
    /// Set while it is down.
    down_since: Option<Moment>,
}

impl Teller {
    pub(super) fn new((group, member): (GroupName, MemberName), sink: mpsc::Sender<Sighting>) -> Teller {
        Teller { group, member, sink, last_up: None, down_since: None }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_done(&self) -> bool {
        self.sink.is_closed()
    }

    /// Waits for the answer to a question of `asked_at`, and says so meanwhile when it is late. None when it is given up.
    pub(super) async fn wait_for<T>(
        &mut self,
        asked_at: Moment,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        while now().since(asked_at) < GIVE_UP {
            if let Ok(answer) = timeout(SILENCE, &mut answer).await {
                return Some(answer);
            }
            let ms = now().since(asked_at).as_millis();
            let detail = format!("no answer for {ms} ms");
            self.down(asked_at, Failure { ended: Some(LinkEnd::Unanswered), connect: None, detail });
        }
        None
    }

    pub(super) fn up(&mut self, asked_at: Moment, status: MemberStatus) {
        self.down_since = None;
        self.last_up = Some((asked_at, status.clone()));
        self.tell(asked_at, Reach::Up(status));
    }

    pub(super) fn down(&mut self, asked_at: Moment, failure: Failure) {
        let since = *self.down_since.get_or_insert(asked_at);
        let Failure { ended, connect, detail } = failure;
        self.tell(now(), Reach::Down { since, ended, connect, exited_pid: None, detail });
    }

    fn tell(&self, at: Moment, reach: Reach) {
        let last_up = self.last_up.clone().filter(|_| matches!(reach, Reach::Down { .. }));
        let (group, member) = (self.group.clone(), self.member.clone());
        // Without room it is left to the next look, which says the same and newer.
        let _ = self.sink.try_send(Sighting { group, member, at, reach, last_up, rate_peak_bytes: None });
    }
}
