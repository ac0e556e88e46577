//! What is wrong with a message, and where.

use crate::refusal::Refusal;
use tonic::Status;

/// A field that is missing or impossible. The value was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct WireError {
    /// The path of the field, such as `start_transition.evidence[2].finding`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl WireError {
    /// The field has a value that cannot be.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The field has no value and needs one; for an `oneof` also: a value that this version does not know.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::new(field, "is missing, or of a kind that this version does not know")
    }

    /// The same error, seen from the message that holds the field.
    pub fn within(self, outer: &str) -> Self {
        let field = match self.field.as_str() {
            "" => outer.to_owned(),
            inner => format!("{outer}.{inner}"),
        };
        Self { field, reason: self.reason }
    }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Status {
        Refusal::from(error).into()
    }
}
