//! What our user may not do on topics, named by the ACL that it needs.
//!
//! A broker says which operations are permitted when it is asked for metadata (KIP-430), so nothing has to be tried.

use crate::calls::permitted;
use crate::link::{Cluster, LinkError};
use std::time::Duration;

/// How many topics are looked at: rights are given by pattern, so that more would say the same.
const TOPICS_MAX: usize = 100;

/// What a mirror needs on a topic on either side, because today's standby is tomorrow's source; by the numbers of
/// `AclOperation`.
const NEEDED: [(u32, &str); 7] = [
    (3, "Read"),
    WRITE,
    (6, "Delete"),
    (7, "Alter"),
    (8, "Describe"),
    (10, "DescribeConfigs"),
    (11, "AlterConfigs"),
];

/// What others may do in our place: see [`crate::Security::writers`].
const WRITE: (u32, &str) = (4, "Write");

/// Which rights are missing; `writes` says whether our user is the one that writes.
pub(super) async fn missing(
    cluster: &Cluster,
    topics: &[&str],
    writes: bool,
    within: Duration,
) -> Result<Vec<String>, LinkError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let named = topics.iter().take(TOPICS_MAX).copied();
    let mut problems: Vec<(String, String, usize)> = Vec::new();
    for of in permitted(&*cluster.any().await?, named, within).await? {
        let lacking = of.operations.map_or_else(String::new, |operations| lacking(operations, writes));
        if lacking.is_empty() {
            continue;
        }
        match problems.iter_mut().find(|(same, _, _)| *same == lacking) {
            Some((_, _, count)) => *count += 1,
            None => problems.push((lacking, of.topic, 1)),
        }
    }
    Ok(problems.into_iter().map(|(lacking, first, count)| words(&lacking, &first, count)).collect())
}

fn lacking(permitted: i32, writes: bool) -> String {
    let needed = NEEDED.iter().filter(|needed| writes || **needed != WRITE);
    let lacking = needed.filter(|(operation, _)| permitted & (1 << operation) == 0);
    lacking.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}

fn words(lacking: &str, first: &str, count: usize) -> String {
    let more = if count > 1 { format!(" and {} more topics", count - 1) } else { String::new() };
    format!("our user lacks {lacking} on topic {first}{more}; add ACLs that allow it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(lacking(0x0ff8, true), "");
        assert_eq!(lacking(0x0ff8 & !(1 << 4) & !(1 << 11), true), "Write, AlterConfigs");
        assert_eq!(lacking(0x0ff8 & !(1 << 4) & !(1 << 11), false), "AlterConfigs");
        let told = words("Write", "orders", 3);
        assert_eq!(told, "our user lacks Write on topic orders and 2 more topics; add ACLs that allow it");
    }
}
