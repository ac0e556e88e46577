//! What was really written where: the truth that servers only have labels for.
//!
//! The problem: replication ids and offsets are names, and two servers can give different bytes the same name. The
//! idea: a tree of branches. Whoever appends where nobody has yet goes on with its branch; whoever appends elsewhere
//! begins a new one. A server's data is a place in the tree, and whether it holds a write is a walk towards the root.

/// A place in the tree: a branch, and how far along the whole history in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) branch: u32,
    pub(crate) offset: u64,
}

#[derive(Clone, Debug)]
struct Branch {
    parent: Option<Place>,
    start: u64,
    end: u64,
    /// Where each command ends.
    ends: Vec<u64>,
}

/// All that was ever written in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories {
    branches: Vec<Branch>,
}

impl Histories {
    /// An empty dataset whose offsets begin at `offset`.
    pub(crate) fn plant(&mut self, offset: u64) -> Place {
        self.branches.push(Branch { parent: None, start: offset, end: offset, ends: vec![] });
        Place { branch: self.branches.len() as u32 - 1, offset }
    }

    /// Appends at a place. Says where the writer is then.
    pub(crate) fn append(&mut self, at: Place, bytes: u64) -> Place {
        let end = at.offset + bytes;
        let branch = &mut self.branches[at.branch as usize];
        if branch.end == at.offset {
            branch.end = end;
            branch.ends.push(end);
            return Place { branch: at.branch, offset: end };
        }
        self.branches.push(Branch { parent: Some(at), start: at.offset, end, ends: vec![end] });
        Place { branch: self.branches.len() as u32 - 1, offset: end }
    }

    /// Whether whoever is at `later` has all that whoever is at `earlier` has, from the root on.
    pub(crate) fn continues(&self, earlier: Place, later: Place) -> bool {
        if earlier.offset > later.offset {
            return false;
        }
        let mut at = later;
        loop {
            let branch = &self.branches[at.branch as usize];
            if at.branch == earlier.branch {
                return true;
            }
            match branch.parent {
                // Up to its start a branch is what its parent is.
                Some(parent) if earlier.offset <= branch.start => {
                    at = Place { branch: parent.branch, offset: earlier.offset };
                }
                _ => return earlier.offset == branch.start && self.is_empty_root(earlier),
            }
        }
    }

    fn is_empty_root(&self, place: Place) -> bool {
        let branch = &self.branches[place.branch as usize];
        branch.parent.is_none() && branch.start == place.offset
    }

    /// The last end of a whole command at or before `place`.
    pub(crate) fn floor(&self, place: Place) -> Place {
        let branch = &self.branches[place.branch as usize];
        if place.offset <= branch.start {
            return match branch.parent {
                Some(parent) => self.floor(Place { branch: parent.branch, offset: place.offset }),
                None => place,
            };
        }
        let at = branch.ends.partition_point(|end| *end <= place.offset);
        let offset = at.checked_sub(1).map_or(branch.start, |i| branch.ends[i]);
        Place { branch: place.branch, offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_diverges_no_longer_continues() {
        let mut h = Histories::default();
        let root = h.plant(0);
        let one = h.append(root, 10);
        let two = h.append(one, 10);
        let other = h.append(one, 10);
        assert!(h.continues(root, two) && h.continues(one, two) && h.continues(one, other));
        assert!(!h.continues(two, other) && !h.continues(other, two));
        let cut = Place { offset: 17, ..two };
        assert_eq!(h.floor(cut), one);
    }
}
