//! Where a primary's stream is at this moment, by its own word: the barrier of held replies.

use crate::link::Link;
use crate::{Links, reply};
use primacy_core::{Address, GroupName, MemberName};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Asks one primary. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StreamOffset {
    link: Arc<Link>,
    within: Duration,
}

impl StreamOffset {
    /// Over the member's link; each question may take `within`.
    pub fn new(
        links: &Links,
        group: &GroupName,
        member: &MemberName,
        address: &Address,
        within: Duration,
    ) -> StreamOffset {
        StreamOffset { link: links.link(group, member, address), within }
    }

    /// The end of its stream in bytes, as of some moment after this call.
    ///
    /// # Errors
    /// When it does not answer in time, or is no primary.
    pub async fn ask(&self) -> io::Result<u64> {
        let session = self.link.session(self.within).await.map_err(|e| io::Error::other(e.to_string()))?;
        let mut question = redis::pipe();
        question.cmd("ROLE");
        let deadline = primacy_runtime::now().after(self.within);
        let replies =
            session.ask_until(&question, deadline).await.map_err(|e| io::Error::other(e.to_string()))?;
        replies.first().and_then(reply::primary_offset).ok_or_else(|| io::Error::other("it is no primary"))
    }
}
