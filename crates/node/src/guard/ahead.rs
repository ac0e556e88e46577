//! Asking ahead: for leases on primaries that transitions are about to make.
//!
//! The problem: a witness lets the new primary's first writes through, and asks for its lease once it knows of the
//! promotion; over a WAN that is a round trip of the outage. The idea: asked before, the leader keeps the question until
//! the promotion is committed, and the answer comes with the news. The lease counts from the asking, as always, and the
//! usual asking goes on beside this.

use super::Guards;
use super::leases::{AGAIN_AFTER, Want, granted, request};
use crate::lead::LeaseAsk;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use primacy_core::{Epoch, GroupName, Moment};
use primacy_runtime::timeout;
use primacy_wire::v1::site_client::SiteClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Request;

/// How long a leader keeps a question.
const AHEAD_WAIT: Duration = Duration::from_millis(500);
/// What the answer may take on top of that.
const AHEAD_SLACK: Duration = Duration::from_millis(500);

/// The asking ahead: a question for whatever became known since the last one.
#[derive(Default)]
pub(super) struct AskingAhead {
    asked: BTreeMap<GroupName, Epoch>,
    under_way: FuturesUnordered<BoxFuture<'static, Ahead>>,
    again_at: Moment,
}

/// What came of asking ahead.
pub(super) struct Ahead {
    asks: Vec<LeaseAsk>,
    asked_at: Moment,
    grants: Vec<LeaseAsk>,
}

impl AskingAhead {
    /// Asks for what was not asked for yet. Says when it will ask again for what was refused.
    pub(super) fn plan(
        &mut self,
        guards: &Guards,
        wanted: &BTreeMap<GroupName, Want>,
        at: Moment,
    ) -> Option<Moment> {
        let is_new = |(group, want): &(&GroupName, &Want)| self.asked.get(*group) != Some(&want.epoch);
        let asks: Vec<LeaseAsk> = wanted.iter().filter(is_new).map(|(group, want)| want.ask(group)).collect();
        // A leader learns of the promotion from itself.
        let leader = guards.consensus.leadership().borrow().leader.as_ref().map(|leader| leader.id);
        let leader = leader.filter(|id| !asks.is_empty() && *id != guards.me)?;
        if at < self.again_at {
            return Some(self.again_at);
        }
        let channel = guards.channel_to(leader)?;
        self.asked.extend(asks.iter().map(|ask| (ask.group.clone(), ask.epoch)));
        let me = guards.me;
        self.under_way.push(Box::pin(async move {
            let mut message = Request::new(request(me, &asks, AHEAD_WAIT));
            message.set_timeout(AHEAD_WAIT + AHEAD_SLACK);
            let mut client = SiteClient::new(channel);
            let answered = timeout(AHEAD_WAIT + AHEAD_SLACK, client.renew(message)).await;
            let grants = answered.ok().and_then(Result::ok).map(|response| granted(response.into_inner()));
            Ahead { asks, asked_at: at, grants: grants.unwrap_or_default() }
        }));
        None
    }

    /// The next answer; waits for ever without a question.
    pub(super) async fn answered(&mut self) -> Ahead {
        match self.under_way.next().await {
            Some(ahead) => ahead,
            None => std::future::pending().await,
        }
    }

    pub(super) fn take_in(&mut self, guards: &Guards, ahead: &Ahead, at: Moment) {
        self.asked
            .retain(|group, epoch| ahead.asks.iter().all(|ask| (&ask.group, ask.epoch) != (group, *epoch)));
        if ahead.grants.is_empty() {
            self.again_at = at.after(AGAIN_AFTER);
        }
        guards.leases.take_in(guards, ahead.asked_at, &ahead.grants);
    }
}
