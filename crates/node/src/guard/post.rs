//! One witness connection of this node, and what is told of it.

use super::Guards;
use primacy_core::view::WitnessReport;
use primacy_core::{Epoch, GroupName, MemberName, Moment};
use primacy_redis::{Links, Tail, Witness, WitnessOptions, WitnessStatus};
use primacy_runtime::{Task, now, spawn};
use std::sync::{Arc, Weak};

/// A witness of one primary under one epoch. Dropping it closes it and ends its tail.
pub(super) struct Post {
    pub(super) epoch: Epoch,
    pub(super) member: MemberName,
    /// The transition that its tail was sealed for.
    pub(super) sealed_for: Option<Epoch>,
    witness: Arc<Witness>,
    /// Whether it is known here that it will not attach again.
    ended: bool,
    /// Tells the leader of changes.
    _teller: Task<()>,
}

impl Post {
    pub(super) fn open(links: &Links, options: WitnessOptions, epoch: Epoch, guards: Weak<Guards>) -> Post {
        let (group, member) = (options.group.clone(), options.member.clone());
        let witness = Arc::new(Witness::attach(links, options));
        let teller = spawn(tell(guards, group, epoch, witness.clone()));
        Post { epoch, member, sealed_for: None, witness, ended: false, _teller: teller }
    }

    /// The lease was renewed.
    pub(super) fn keep_until(&self, until: Moment) {
        self.witness.keep_until(until);
    }

    pub(super) fn close(&self) {
        self.witness.close();
    }

    /// Its tail takes nothing more, for the transition of `epoch`. Says how its stream had ended before.
    pub(super) fn seal(&mut self, epoch: Epoch) -> WitnessStatus {
        self.sealed_for = self.sealed_for.max(Some(epoch));
        self.witness.seal()
    }

    /// Whether it will not attach again, and that is news.
    pub(super) fn ends_now(&mut self) -> bool {
        let news = !self.ended && self.is_over();
        self.ended |= news;
        news
    }

    /// Whether it will not attach again.
    pub(super) fn is_over(&self) -> bool {
        self.witness.status().closed
    }

    pub(super) fn status(&self) -> WitnessStatus {
        self.witness.status()
    }

    pub(super) fn tail(&self) -> Option<Tail> {
        self.witness.tail()
    }
}

impl Drop for Post {
    /// Whoever follows its tail looks for the next one.
    fn drop(&mut self) {
        self.witness.seal();
    }
}

async fn tell(guards: Weak<Guards>, group: GroupName, epoch: Epoch, witness: Arc<Witness>) {
    let mut changes = witness.changes();
    let mut heard = (0, now());
    loop {
        let status = witness.status();
        if status.end_bytes != heard.0 {
            heard = (status.end_bytes, now());
        }
        let Some(guards) = guards.upgrade() else { return };
        guards.tell(&group, &report(epoch, &status, heard.1));
        drop(guards);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn report(epoch: Epoch, status: &WitnessStatus, heard_at: Moment) -> WitnessReport {
    WitnessReport {
        at: now(),
        epoch,
        attached: status.attached,
        ended: status.ended,
        closed: status.closed,
        replid: status.replid.clone(),
        start_bytes: status.start_bytes,
        end_bytes: status.end_bytes,
        heard_at,
        copies: status.copies,
    }
}
