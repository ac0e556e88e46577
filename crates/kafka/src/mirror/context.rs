//! What the parts of one mirror share.

use super::translation::Translation;
use super::writers::Writers;
use super::{MirrorPlan, MirrorStatus};
use crate::calls::Place;
use crate::link::{Cluster, LinkError, Topology};
use crate::pattern::OWN_PREFIX;
use crate::rate::RateLimit;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// The plan, both clusters, and where to say how it goes.
pub(super) struct Context {
    pub(super) plan: MirrorPlan,
    pub(super) source: Cluster,
    pub(super) target: Cluster,
    /// As whom records are written, where each owner has a user of its own.
    pub(super) writers: Option<Writers>,
    pub(super) status: watch::Sender<MirrorStatus>,
    /// Asks for another look at both clusters.
    pub(super) look: Notify,
    /// Where records are in partitions with gaps.
    pub(super) translations: Mutex<BTreeMap<Place, SharedTranslation>>,
    /// Asks the next look to compare the settings of topics too.
    pub(super) compare_settings: AtomicBool,
}

/// Extended by whoever copies, read by whoever translates.
pub(super) type SharedTranslation = Arc<Mutex<Translation>>;

/// Both clusters at one moment.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) source: Topology,
    /// Without leaders that may still take records from an earlier owner.
    pub(super) target: Topology,
    /// Which claim to write this is true for.
    pub(super) turn: Option<u64>,
    /// The partitions whose leader was left out.
    pub(super) unproven: BTreeSet<Place>,
}

impl Context {
    pub(super) fn new(
        mut plan: MirrorPlan,
        status: watch::Sender<MirrorStatus>,
    ) -> Result<Arc<Context>, LinkError> {
        plan.rate = plan.rate.as_ref().map(RateLimit::for_a_mirror);
        let source = Cluster::new(plan.source.clone())?;
        let target = Cluster::new(plan.target.clone())?;
        let writers = Writers::of(&plan.target);
        Ok(Arc::new(Context {
            plan,
            source,
            target,
            writers,
            status,
            look: Notify::new(),
            translations: Mutex::default(),
            compare_settings: AtomicBool::new(false),
        }))
    }

    /// Where the records of a partition are, if not at their own offsets.
    pub(super) fn translation(&self, place: &Place) -> Option<SharedTranslation> {
        self.translations.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned()
    }

    /// The target, as the user that writes records.
    pub(super) fn writer(&self) -> Cluster {
        self.writers.as_ref().and_then(Writers::writer).unwrap_or_else(|| self.target.clone())
    }

    /// Which claim to write holds, where owners make one.
    pub(super) fn turn(&self) -> Option<u64> {
        self.writers.as_ref().and_then(Writers::turn)
    }

    /// Asked right before each change of the target.
    pub(super) fn may_write(&self) -> Result<(), LinkError> {
        let refused = || LinkError::Configuration("it holds no lease to write".into());
        if self.plan.authority.holds() { Ok(()) } else { Err(refused()) }
    }

    /// Says in the status what went wrong while something was done, or that it went well.
    pub(super) fn tell(&self, doing: &str, error: Option<&LinkError>) {
        self.tell_words(doing, error.map(|e| format!("{e}; {}", e.remedy())));
    }

    /// The same in words.
    pub(super) fn tell_words(&self, doing: &str, told: Option<String>) {
        self.status.send_if_modified(|status| match told {
            Some(told) => status.problems.insert(doing.to_owned(), told.clone()) != Some(told),
            None => status.problems.remove(doing).is_some(),
        });
    }

    /// The transactional id, and the consumer group, in which the target keeps what is ours.
    pub(super) fn own_name(&self) -> String {
        format!("{OWN_PREFIX}{}", self.plan.group)
    }
}
