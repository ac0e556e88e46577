//! What must hold, one module each. Each is exact about what clients saw: there is no tolerance but the residue that the
//! design names, and that is in one place.

pub(crate) mod converges;
pub(crate) mod leaks;
pub(crate) mod linearizable;
pub(crate) mod loss;
pub(crate) mod one_writer;
pub(crate) mod still;
pub(crate) mod watched;

use std::time::Instant;

use serde::Serialize;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// Which checker found it.
    pub(crate) checker: &'static str,
    /// What was seen.
    pub(crate) evidence: String,
    /// When, where that is known: for the timeline.
    #[serde(skip)]
    pub(crate) at: Option<Instant>,
}

impl Violation {
    /// Something seen at a time.
    pub(crate) fn at(checker: &'static str, at: Instant, evidence: impl Into<String>) -> Self {
        Self { checker, evidence: evidence.into(), at: Some(at) }
    }

    /// Something about the whole.
    pub(crate) fn new(checker: &'static str, evidence: impl Into<String>) -> Self {
        Self { checker, evidence: evidence.into(), at: None }
    }
}

/// All checks of what clients of the Directory saw.
pub(crate) fn directory(pages: &crate::record::Pages) -> Vec<Violation> {
    [linearizable::check(pages), watched::check(&pages.watched), still::check(&pages.watched)].concat()
}
