//! Who may have a tail: whoever may replicate from the group's primary.

use crate::conf::{replication_password, replication_user};
use primacy_core::{GroupName, MemberName};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

type Hash = [u8; 32];

/// Who may have the tail of a group. Holds hashes, no passwords.
#[derive(Clone)]
pub struct TailAccess(Who);

#[derive(Clone)]
enum Who {
    Anybody,
    /// Replication users by name, and the hash of the password that opens everything in the group anyway.
    Known {
        users: BTreeMap<String, Hash>,
        password: Hash,
    },
}

/// What a replica says of itself.
pub(super) struct Login {
    user: String,
    password: Hash,
}

impl Login {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Login { user: user.to_owned(), password: hash(password) }
    }
}

impl TailAccess {
    /// For a group without a password.
    pub fn anybody() -> Self {
        TailAccess(Who::Anybody)
    }

    /// For the replication users of `members`, with the passwords that are derived from the group's `password`; and
    /// for whoever knows that one.
    pub fn members<'a>(
        group: &GroupName,
        members: impl IntoIterator<Item = &'a MemberName>,
        password: &str,
    ) -> Self {
        let user = |m: &MemberName| (replication_user(m), hash(&replication_password(password, group, m)));
        let users = members.into_iter().map(user).collect();
        TailAccess(Who::Known { users, password: hash(password) })
    }

    pub(super) fn admits(&self, login: Option<&Login>) -> bool {
        match (&self.0, login) {
            (Who::Anybody, _) => true,
            (Who::Known { .. }, None) => false,
            // Hashes: how long they take to compare says nothing of a password.
            (Who::Known { users, password }, Some(login)) => {
                login.password == *password || users.get(&login.user) == Some(&login.password)
            }
        }
    }
}

impl fmt::Debug for TailAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Who::Anybody => f.write_str("Anybody"),
            Who::Known { users, .. } => f.debug_set().entries(users.keys()).finish(),
        }
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn members_have_passwords_of_their_own() {
        let (group, a) = (GroupName::new("features").unwrap(), MemberName::new("a").unwrap());
        let access = TailAccess::members(&group, [&a], "s3cret");
        let own = replication_password("s3cret", &group, &a);
        let admits = |user: &str, password: &str| access.admits(Some(&Login::new(user, password)));
        assert!(admits("primacy-repl-a", &own) && admits("default", "s3cret"));
        assert!(
            !admits("primacy-repl-b", &own) && !admits("primacy-repl-a", "other") && !access.admits(None)
        );
        assert!(TailAccess::anybody().admits(None));
        assert!(!format!("{access:?}").contains("s3cret"));
    }
}
