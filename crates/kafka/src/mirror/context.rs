//! What the parts of one mirror share.

use super::translation::Translation;
use super::{MirrorPlan, MirrorStatus};
use crate::calls::Place;
use crate::link::{Cluster, LinkError, Topology};
use crate::pattern::OWN_PREFIX;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// The plan, both clusters, and where to say how it goes.
pub(super) struct Context {
    pub(super) plan: MirrorPlan,
    pub(super) source: Cluster,
    pub(super) target: Cluster,
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
    pub(super) target: Topology,
}

impl Context {
    pub(super) fn new(
        plan: MirrorPlan,
        status: watch::Sender<MirrorStatus>,
    ) -> Result<Arc<Context>, LinkError> {
        let source = Cluster::new(plan.source.clone())?;
        let target = Cluster::new(plan.target.clone())?;
        Ok(Arc::new(Context {
            plan,
            source,
            target,
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

    /// Says in the status what went wrong while something was done, or that it went well.
    pub(super) fn tell(&self, doing: &str, error: Option<&LinkError>) {
        self.status.send_if_modified(|status| match error {
            Some(e) => {
                let told = format!("{e}; {}", e.remedy());
                status.problems.insert(doing.to_owned(), told.clone()) != Some(told)
            }
            None => status.problems.remove(doing).is_some(),
        });
    }

    /// The transactional id, and the consumer group, in which the target keeps what is ours.
    pub(super) fn own_name(&self) -> String {
        format!("{OWN_PREFIX}{}", self.plan.group)
    }
}
