//! What is done to a member: fence, lift, promote, open, follow.
//!
//! The problem: an answer can be lost, an action can be asked for twice, and this process can be frozen between two
//! lines and go on ten seconds later, when another leader has taken over. The idea:
//!
//! - Each action is idempotent and verified by reading back in the same round trip.
//! - Shutting may be repeated: [`ActionKind::Fence`] and [`ActionKind::Follow`] are sent again over a new connection
//!   when one ended. What opens a door ([`ActionKind::Lift`], [`ActionKind::Promote`], [`ActionKind::Open`]) is sent
//!   once, only before the deadline, and a connection on which it got no answer is given up.
//! - No single late write opens a door that was shut since. `Promote` shuts the member in the same write, before it
//!   becomes primary, so it opens nothing. `Open` and `Lift` never change a role: a member that follows somebody
//!   refuses writes whatever they set. Only a former primary that was fenced and not yet made to follow could be
//!   opened by an old `Open` or `Lift`; therefore a fence first closes all other connections of the control user, so
//!   that what was sent on them before is never run. (Where the control user is everybody's default user that is not
//!   possible; give Primacy a user of its own.)
//! - A fence opens nothing when it runs late: it shuts, and its `CLIENT PAUSE` ends by itself.
//! - A late [`ActionKind::Follow`] would take a primary of a later epoch down. So before each write the hand asks
//!   again whether it may still act: see [`Hand::guarded`]. What it had written by then is lost with its connection,
//!   because a promotion closes all other connections of the control user, as a fence does.
//!
//! Actions go over the link's warm connection; none of them blocks it.

mod detach;
mod fence;
mod follow;
mod lift;
mod open;
mod promote;
mod quorum;
mod read_tail;
mod settings;

pub use read_tail::Reached;

use crate::link::{AskError, DialError, Link, Session};
use crate::{Links, reply};
use primacy_core::{
    Action, ActionKind, Address, GroupName, MemberName, Moment, Outcome, Promoted, Promotion,
};
use primacy_runtime::now;
use redis::{Pipeline, Value};
pub(crate) use settings::PROBE_KEY;
use settings::PingPeriods;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why an action failed. The message names group, member, address and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    /// For the operator.
    pub message: String,
    /// Whether the same attempt can never work.
    pub permanent: bool,
}

/// Whether an action may still be performed.
type Guard = Arc<dyn Fn(&Action) -> bool + Send + Sync>;

/// Performs actions. Cheap to clone.
#[derive(Clone)]
pub struct Hand {
    links: Links,
    periods: Arc<PingPeriods>,
    guard: Guard,
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").field("links", &self.links).finish_non_exhaustive()
    }
}

impl Hand {
    /// Acts over these links.
    pub fn new(links: Links) -> Self {
        Hand { links, periods: Arc::default(), guard: Arc::new(|_| true) }
    }

    /// Asks `may` before each write, and writes nothing once it says no: between the decision and the write this
    /// process may have slept, and another may have taken over.
    #[must_use]
    pub fn guarded(self, may: impl Fn(&Action) -> bool + Send + Sync + 'static) -> Self {
        Hand { guard: Arc::new(may), ..self }
    }

    /// Does it, within that time.
    ///
    /// # Errors
    /// When the member refuses, is not what the action expects, or does not answer in time; in the last case the
    /// outcome is unknown, and the action may be asked for again.
    pub async fn perform(&self, action: &Action, within: Duration) -> Result<Outcome, ActionError> {
        let within = match &action.kind {
            ActionKind::Fence { within: fence, .. } => within.min(*fence),
            ActionKind::Lift { .. }
            | ActionKind::Detach
            | ActionKind::Kill { .. }
            | ActionKind::Rescue { .. }
            | ActionKind::SetFence { .. }
            | ActionKind::Promote(_)
            | ActionKind::Open { .. }
            | ActionKind::Follow { .. } => within,
        };
        let attempt = self.attempt(action, within);
        let done = match &action.kind {
            ActionKind::Fence { drain, .. } => fence::perform(&attempt, drain.as_ref()).await,
            ActionKind::Lift { min_replicas } => lift::perform(&attempt, *min_replicas).await,
            ActionKind::Detach => detach::perform(&attempt).await,
            ActionKind::SetFence { min_replicas, admit, refuse } => {
                quorum::perform(&attempt, *min_replicas, admit, refuse).await
            }
            ActionKind::Promote(promotion) => {
                promote::perform(&attempt, promotion).await.map(Outcome::Promoted)
            }
            ActionKind::Open { min_replicas } => open::perform(&attempt, *min_replicas).await,
            ActionKind::Kill { .. } | ActionKind::Rescue { .. } => Err(Fault::permanent(
                "it is not done over the control connection",
                "this is a mistake in Primacy: please report it",
            )),
            ActionKind::Follow { primary, evict } => follow::perform(&attempt, primary, *evict).await,
        };
        done.map_err(|fault| attempt.report(fault))
    }
}

impl Hand {
    /// Makes the candidate of a rescue primary, as [`ActionKind::Promote`] does.
    ///
    /// # Errors
    /// As [`Hand::perform`].
    pub async fn promote(
        &self,
        action: &Action,
        promotion: &Promotion,
        within: Duration,
    ) -> Result<Promoted, ActionError> {
        let attempt = self.attempt(action, within);
        promote::perform(&attempt, promotion).await.map_err(|fault| attempt.report(fault))
    }

    fn attempt<'a>(&'a self, action: &'a Action, within: Duration) -> Attempt<'a> {
        Attempt {
            action,
            link: self.links.link(&action.group, &action.member, &action.address),
            links: &self.links,
            periods: &self.periods,
            guard: &self.guard,
            deadline: now().after(within),
        }
    }
}

/// What went wrong, before it is put into words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    what: String,
    remedy: String,
    permanent: bool,
}

impl Fault {
    fn passing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Fault { what: what.into(), remedy: remedy.into(), permanent: false }
    }

    fn permanent(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Fault { what: what.into(), remedy: remedy.into(), permanent: true }
    }

    fn unexpected(command: &str, found: &Value) -> Self {
        Fault::permanent(
            format!("{command} is answered by {found:?}"),
            "check that it is a Redis or Valkey server from 6.2 on",
        )
    }
}

impl From<DialError> for Fault {
    fn from(error: DialError) -> Self {
        Fault { what: error.to_string(), remedy: error.remedy().to_owned(), permanent: error.permanent() }
    }
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        Fault::passing(error.to_string(), "check that the server runs and can be reached")
    }
}

/// One action under way.
struct Attempt<'a> {
    action: &'a Action,
    link: Arc<Link>,
    links: &'a Links,
    periods: &'a PingPeriods,
    guard: &'a Guard,
    deadline: Moment,
}

impl Attempt<'_> {
    fn report(&self, fault: Fault) -> ActionError {
        let Action { group, member, address, kind, .. } = self.action;
        let Fault { what, remedy, permanent } = fault;
        let word = kind.word();
        ActionError {
            message: format!("{group}: cannot {word} {member} at {address}: {what}; {remedy}"),
            permanent,
        }
    }

    fn member(&self) -> (GroupName, MemberName) {
        (self.action.group.clone(), self.action.member.clone())
    }

    /// Closes all other control connections of our user, where it is ours alone. The witness stays: it is a replica.
    fn close_others(&self, commands: &mut settings::Commands) {
        if let Some(user) = self.link.access().own_user() {
            commands.add(&["CLIENT", "KILL", "USER", user, "TYPE", "normal", "SKIPME", "yes"]);
        }
    }

    fn remaining(&self) -> Duration {
        self.deadline.since(now())
    }

    /// The warm session, or a new one.
    async fn session(&self) -> Result<Arc<Session>, Fault> {
        Ok(self.link.session(self.remaining()).await?)
    }

    fn permitted(&self) -> Result<(), Fault> {
        if (self.guard)(self.action) {
            return Ok(());
        }
        Err(Fault::passing("this node may not act on it any more", "the node that leads now decides anew"))
    }

    /// Sends what shuts. When the connection ends before the answer it is sent again over a new one: it is harmless
    /// twice, and late.
    async fn shut(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        loop {
            let session = self.session().await?;
            self.permitted()?;
            match session.ask_until(pipeline, self.deadline).await {
                Ok(replies) => return Ok(replies),
                Err(AskError::Ended(_)) if now() < self.deadline && session.ended().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what opens, or makes a primary: once, and not after the deadline.
    async fn act(&self, session: &Session, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        if now() >= self.deadline {
            return Err(AskError::TimedOut.into());
        }
        self.permitted()?;
        let answer = session.ask_until(pipeline, self.deadline).await;
        if answer.is_err() {
            session.abandon();
        }
        Ok(answer?)
    }

    /// A session to another member of the group.
    async fn session_of(
        &self,
        member: &MemberName,
        address: &Address,
    ) -> Result<(Arc<Link>, Arc<Session>), Fault> {
        let link = self.links.link(&self.action.group, member, address);
        let session = link.session(self.remaining()).await?;
        Ok((link, session))
    }
}

/// The reply, unless it is a refusal.
fn accepted<'a>(command: &str, value: &'a Value) -> Result<&'a Value, Fault> {
    let Some(refused) = reply::refusal(value) else { return Ok(value) };
    Err(match refused.code.as_str() {
        "NOPERM" | "NOAUTH" | "WRONGPASS" => Fault::permanent(
            format!("our user may not run {command}: {}", refused.line),
            "give it the rights that `primacy redis-conf` prints",
        ),
        "BUSY" => Fault::passing(
            format!("a script holds it up: {}", refused.line),
            "end it with SCRIPT KILL, or SHUTDOWN NOSAVE",
        ),
        _ => Fault::passing(format!("{command} is refused: {}", refused.line), "see the server's log"),
    })
}
