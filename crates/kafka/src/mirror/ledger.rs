//! What a mirror writes down, and the look it takes at what it wrote: both on the target, so that whoever owns the
//! mirror next finds it there.

use super::context::{Context, Surveyed};
use super::judge::Kept;
use super::part::Part;
use super::prepare::Asked;
use crate::calls::{At, Committed, Place, commit, committed, ends};
use crate::link::LinkError;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often what is aligned is written down. A crash costs comparing what was copied since.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// How often all of it is, because brokers forget offsets after some days.
const WRITE_ALL_EVERY: Duration = Duration::from_hours(1);

/// How often the ends of the target's logs are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What is being done, in the words of the status.
const NOTING: &str = "writing down how far both sides are equal";

/// What work beside the copying found out.
pub(super) enum Aside {
    /// Nothing to act on.
    Done,
    /// There was no producer to prepare these with.
    Unprepared(Vec<Asked>, LinkError),
    /// What was to be written down is not.
    NotWritten,
    /// Where logs end.
    Watched(Watched),
}

/// The ends of logs, apart from what fetches and acknowledgements tell.
pub(super) struct Watched {
    /// At the target: parts, their generation, what was acknowledged when the question was put, and the end.
    pub(super) target: Vec<(usize, u64, i64, i64)>,
    /// At the source: parts and the end.
    pub(super) source: Vec<(usize, i64)>,
}

/// What is written down, and when to do so again.
pub(super) struct Ledger {
    kept: BTreeMap<Place, Kept>,
    /// Where the target ended, and how far the source was copied.
    written: BTreeMap<Place, (i64, i64)>,
    write: Instant,
    write_all: Instant,
    watch: Instant,
}

impl Ledger {
    /// Reads what earlier owners wrote down.
    pub(super) async fn open(context: &Context) -> Result<Ledger, LinkError> {
        let found = committed(&context.target, &context.own_name()).await?;
        let kept = found.into_iter();
        let kept = kept.filter_map(|(place, c)| Some((place, Kept::read(c.offset, &c.metadata)?)));
        let now = Instant::now();
        Ok(Ledger { kept: kept.collect(), written: BTreeMap::new(), write: now, write_all: now, watch: now })
    }

    pub(super) fn kept(&self, place: &Place) -> Option<Kept> {
        self.kept.get(place).cloned()
    }

    /// Up to here a partition is known to be equal on both sides.
    pub(super) fn note(&mut self, place: &Place, kept: Kept) {
        self.kept.insert(place.clone(), kept);
        self.write = Instant::now();
    }

    /// What is to be written down: what changed, or all.
    pub(super) fn due(&mut self, parts: &[Part], all: bool) -> BTreeMap<Place, Committed> {
        let running = parts.iter().filter(|part| part.is_running());
        let due = running.filter_map(|part| {
            let now = (part.acked, part.reached);
            let changed = self.written.insert(part.place.clone(), now) != Some(now);
            if !changed && !all {
                return None;
            }
            let kept = part.kept_now()?;
            let committed = Committed { offset: part.acked, metadata: kept.metadata() };
            Some((part.place.clone(), committed))
        });
        due.collect()
    }

    /// The next time all is written.
    pub(super) fn forget_written(&mut self) {
        self.written.clear();
    }

    /// Starts what is due.
    pub(super) fn tick(
        &mut self,
        context: &Arc<Context>,
        parts: &[Part],
        surveyed: Option<&Arc<Surveyed>>,
    ) -> Vec<BoxFuture<'static, Aside>> {
        let now = Instant::now();
        let mut started = Vec::new();
        if self.write <= now && context.plan.authority.holds() {
            let all = self.write_all <= now;
            if all {
                self.write_all = now + WRITE_ALL_EVERY;
            }
            self.write = now + WRITE_EVERY;
            let due = self.due(parts, all);
            if !due.is_empty() {
                let context = context.clone();
                let aside = |written| if written { Aside::Done } else { Aside::NotWritten };
                started.push(async move { write(&context, due).map(aside).await }.boxed());
            }
        }
        if let Some(surveyed) = surveyed.filter(|_| self.watch <= now) {
            self.watch = now + WATCH_EVERY;
            let all = (0..).zip(parts);
            let idle = all.clone().filter(|(_, part)| part.is_idle());
            let idle = idle.map(|(i, part)| (i, part.generation, part.acked, part.place.clone())).collect();
            let all = all.map(|(i, part)| (i, part.place.clone())).collect();
            started.push(look(context.clone(), surveyed.clone(), idle, all).boxed());
        }
        started
    }
}

/// Writes down; whether it did.
pub(super) async fn write(context: &Context, due: BTreeMap<Place, Committed>) -> bool {
    let written = commit(&context.target, &context.own_name(), &due).await;
    if let Err(e) = &written {
        tracing::debug!(group = context.plan.group, "writing down what is aligned: {e}");
    }
    context.tell(NOTING, written.as_ref().err());
    written.is_ok()
}

/// Asks where logs end: at the target, those to which nothing is under way, because an end beyond what was
/// acknowledged is somebody else's doing; at the source all, because those that are not fetched have a lag too.
async fn look(
    context: Arc<Context>,
    surveyed: Arc<Surveyed>,
    idle: Vec<(usize, u64, i64, Place)>,
    all: Vec<(usize, Place)>,
) -> Aside {
    let at_target: Vec<Place> = idle.iter().map(|(.., place)| place.clone()).collect();
    let at_source: Vec<Place> = all.iter().map(|(_, place)| place.clone()).collect();
    let (target, source) = tokio::join!(
        ends(&context.target, &surveyed.target, &at_target, At::LogEnd),
        ends(&context.source, &surveyed.source, &at_source, At::End)
    );
    let (target, source) = (target.unwrap_or_default(), source.unwrap_or_default());
    let target = idle
        .into_iter()
        .filter_map(|(i, generation, acked, place)| Some((i, generation, acked, *target.get(&place)?)));
    let source = all.into_iter().filter_map(|(i, place)| Some((i, *source.get(&place)?)));
    Aside::Watched(Watched { target: target.collect(), source: source.collect() })
}
