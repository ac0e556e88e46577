//! As whom an owner of the mirror writes, so that brokers refuse whoever wrote before it.
//!
//! The problem: a process that was frozen between its look at the lease and its write, and a packet that was long on its
//! way, are stopped by no lease. The idea: an owner writes as another user than the owner before it. It first has every
//! other user of the mirror denied to write, and has each broker say so before anything goes to a partition that this
//! broker leads: what an older owner still sends is refused by the broker that would have taken it.
//!
//! A claim begins and ends with a question to the target's transaction coordinator, which counts: who is overtaken by
//! another claim finds out before it writes, and whoever is shut out asks there who is right before it changes anything.
//! It must not know what is copied.

mod proof;

use super::context::{Context, Surveyed};
use crate::batch::Producer;
use crate::calls::{Pattern, WriteAcls, allow_write, deny_write, init_producer, renew_producer};
use crate::link::{Cluster, LinkError, Topology};
use crate::{ClusterAccess, Sasl};
use proof::Proofs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often it is looked whether the rights are still as they were claimed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// So many looks in a row must see a change: the broker that is asked may be behind.
const LOOKS_MIN: u32 = 2;

/// A change is told for so many looks.
const TOLD_FOR: u32 = 30;

/// What is being done, in the words of the status.
const CHANGED: &str = "rights of the mirror's users";
const LOOKING: &str = "looking at the rights of the mirror's users";

/// The users of a mirror into one cluster, and which of them is ours.
pub(super) struct Writers {
    access: ClusterAccess,
    users: Vec<Sasl>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the coordinator gave this owner last.
    producer: Option<Producer>,
    /// Chosen, and not yet claimed.
    chosen: Option<usize>,
    /// Claims that this owner completed.
    turn: u64,
    seat: Option<Seat>,
}

/// What was claimed.
#[derive(Clone)]
struct Seat {
    user: usize,
    writer: Cluster,
}

impl Writers {
    /// None where all owners write as the same user.
    pub(super) fn of(target: &ClusterAccess) -> Option<Writers> {
        let security = &target.security;
        if security.writers.is_empty() {
            return None;
        }
        // Our own user is one of those who are shut out: nodes that know of no others write as it.
        let users = security.writers.iter().chain(&security.sasl).cloned().collect();
        Some(Writers { access: target.clone(), users, state: Mutex::default() })
    }

    /// Takes a user that did not write last, and has all others denied to write.
    ///
    /// # Errors
    /// Those of the link, and a missing right by name. A newer claim is told by `calls::is_superseded`.
    pub(super) async fn claim(&self, context: &Context) -> Result<Producer, LinkError> {
        let (target, name) = (&context.target, context.own_name());
        let last = {
            let mut state = self.state();
            state.seat = None;
            state.producer
        };
        context.may_write()?;
        let begun = match last {
            Some(last) => renew_producer(target, &name, last).await?,
            None => init_producer(target, &name).await?,
        };
        self.note(begun);
        let acls = WriteAcls::read(target).await?;
        let chosen = *self.state().chosen.get_or_insert_with(|| self.choose(&acls, begun.epoch));
        let denials: Vec<(String, Pattern)> = self
            .others(chosen)
            .map(principal)
            .flat_map(|who| acls.open_to(&who).cloned().map(|p| (who.clone(), p)).collect::<Vec<_>>())
            .collect();
        // First this: an owner that dies in between leaves behind which users were taken last.
        if acls.denies(&principal(&self.users[chosen])) {
            context.may_write()?;
            allow_write(target, &principal(&self.users[chosen])).await?;
        }
        if !denials.is_empty() {
            context.may_write()?;
            deny_write(target, &denials).await?;
        }
        context.may_write()?;
        let producer = renew_producer(target, &name, begun).await?;
        let writer = Cluster::new(self.access_as(&self.users[chosen]))?;
        let mut state = self.state();
        state.producer = Some(producer);
        state.chosen = None;
        state.turn += 1;
        state.seat = Some(Seat { user: chosen, writer });
        drop(state);
        let user = self.users[chosen].username.clone();
        tracing::info!(group = context.plan.group, user, "writes as this user; all others are denied to");
        context.status.send_modify(|status| status.writes_as = Some(user));
        context.look.notify_one();
        Ok(producer)
    }

    /// The user behind those who could write last, in the order of the configuration; by the coordinator's count where
    /// nothing is denied yet, or everything.
    fn choose(&self, acls: &WriteAcls, epoch: i16) -> usize {
        let count = self.access.security.writers.len();
        let open = |user: usize| acls.open_to(&principal(&self.users[user])).next().is_some();
        let open: Vec<bool> = (0..count).map(open).collect();
        next_user(&open, epoch)
    }

    fn others(&self, chosen: usize) -> impl Iterator<Item = &Sasl> {
        self.users.iter().enumerate().filter(move |(user, _)| *user != chosen).map(|(_, sasl)| sasl)
    }

    /// What the coordinator gave this owner: the next claim asks whether somebody else asked since.
    pub(super) fn note(&self, producer: Producer) {
        let mut state = self.state();
        let older = |known: Producer| known.id != producer.id || known.epoch < producer.epoch;
        if state.producer.is_none_or(older) {
            state.producer = Some(producer);
        }
    }

    /// The target as the user that writes; none before the first claim.
    pub(super) fn writer(&self) -> Option<Cluster> {
        self.state().seat.as_ref().map(|seat| seat.writer.clone())
    }

    /// Which claim holds: none while one is under way.
    pub(super) fn turn(&self) -> Option<u64> {
        let state = self.state();
        state.seat.as_ref().map(|_| state.turn)
    }

    /// Takes the leaders of those partitions out of `target` whose brokers have not said that all others are shut out.
    async fn prove(&self, context: &Context, target: &mut Topology, proofs: &mut Proofs) {
        let claimed = {
            let state = self.state();
            state.seat.clone().map(|seat| (seat, state.turn))
        };
        let Some((seat, turn)) = claimed else {
            proofs.forget();
            return proofs.hide(&context.plan.topics, target);
        };
        seat.writer.learn(target);
        let asking = proof::Asking {
            turn,
            patterns: &context.plan.topics,
            others: self.others(seat.user).map(|sasl| (principal(sasl), self.access_as(sasl))).collect(),
        };
        let missing = proofs.ask(asking, target).await;
        context.tell_words(proof::SHUTTING_OUT, missing);
        proofs.hide(&context.plan.topics, target);
    }

    /// Returns when the rights are not as they were claimed: somebody else may write, or our user may not.
    pub(super) async fn until_disturbed(&self, context: &Context) -> String {
        let (mut seen, mut quiet) = (0, 0);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let acls = WriteAcls::read(&context.target).await;
            context.tell(LOOKING, acls.as_ref().err());
            let Ok(acls) = acls else { continue };
            match self.disturbance(&acls) {
                None => {
                    (seen, quiet) = (0, quiet + 1);
                    if quiet == TOLD_FOR {
                        context.tell_words(CHANGED, None);
                    }
                }
                Some(what) => {
                    seen += 1;
                    if seen == LOOKS_MIN {
                        let told = format!(
                            "{what}: claimed anew; leave ACLs that deny Write to users of the mirror to the mirror"
                        );
                        context.tell_words(CHANGED, Some(told));
                        return what;
                    }
                }
            }
        }
    }

    fn disturbance(&self, acls: &WriteAcls) -> Option<String> {
        let own = self.state().seat.as_ref().map(|seat| seat.user)?;
        if acls.denies(&principal(&self.users[own])) {
            return Some(format!("{} was denied to write", principal(&self.users[own])));
        }
        let open = self.others(own).map(principal).find(|who| acls.open_to(who).next().is_some())?;
        Some(format!("{open} was allowed to write beside {}", principal(&self.users[own])))
    }

    fn access_as(&self, user: &Sasl) -> ClusterAccess {
        let mut access = self.access.clone();
        access.security.sasl = Some(user.clone());
        access
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What proofs a survey goes by; kept by whoever surveys.
#[derive(Default)]
pub(super) struct Prover(Proofs);

impl Prover {
    /// Both clusters as the owner may use them.
    pub(super) async fn look(
        &mut self,
        context: &Context,
        source: Topology,
        mut target: Topology,
    ) -> Surveyed {
        let turn = context.turn();
        if let Some(writers) = &context.writers {
            writers.prove(context, &mut target, &mut self.0).await;
        }
        Surveyed { source, target, turn, unproven: self.0.take_hidden() }
    }
}

/// How the authorizer calls a user.
fn principal(user: &Sasl) -> String {
    format!("User:{}", user.username)
}

fn next_user(open: &[bool], epoch: i16) -> usize {
    let count = open.len();
    let behind = |user: &usize| !open[*user] && open[(user + count - 1) % count];
    (0..count).find(behind).unwrap_or_else(|| usize::from(epoch.unsigned_abs()) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_behind_the_last_one_is_next() {
        assert_eq!(next_user(&[true, false, false], 7), 1);
        assert_eq!(next_user(&[false, false, true], 7), 0);
        // An owner died in its claim: the first user's owner wrote, the second's was about to.
        assert_eq!(next_user(&[true, true, false], 7), 2);
        // Nothing is known of who wrote last.
        assert_eq!(next_user(&[true, true, true], 7), 1);
        assert_eq!(next_user(&[false, false, false], 8), 2);
    }

    #[test]
    fn users_come_round_only_after_all_others() {
        let mut open = vec![true, false, false, false];
        let mut taken = Vec::new();
        for epoch in 0..8 {
            let next = next_user(&open, epoch * 5);
            open = (0..4).map(|user| user == next).collect();
            taken.push(next);
        }
        assert_eq!(taken, [1, 2, 3, 0, 1, 2, 3, 0]);
    }
}
