//! Names and numbers that must not be mixed up, each a type of its own.

use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not a valid name: {reason}; use 1 to 63 of a-z A-Z 0-9 . _ - and begin with a letter or digit"
)]
pub struct NameError {
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

fn check(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("it is empty");
    }
    if value.len() > 63 {
        return Err("it is longer than 63 bytes");
    }
    if !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err("it has a character outside the allowed set");
    }
    if !value.as_bytes()[0].is_ascii_alphanumeric() {
        return Err("it does not begin with a letter or digit");
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts 1 to 63 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                match check(&value) {
                    Ok(()) => Ok(Self(value.into())),
                    Err(reason) => Err(NameError { value, reason }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                Self::new(s)
            }
        }
    };
}

name!(
    /// A failure domain: data centre, region, zone.
    SiteName
);
name!(
    /// The unit of failover: one dataset with one primary.
    GroupName
);
name!(
    /// One Redis server, Kafka cluster or endpoint of a group. Unique within its group.
    MemberName
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A coordinator process. Unique for ever: a lost node comes back under a new id.
    NodeId
);
number!(
    /// The fencing token: the log index of the entry that authorised a primary. Strictly rising in a group.
    Epoch
);
number!(
    /// The log index of a committed entry. What a watcher has seen is one revision.
    Revision
);
number!(
    /// A term of the Raft leader. Never a fencing token: see [`Epoch`].
    Term
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "east-a", "9", "a.b_c-D"] {
            assert!(GroupName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "ä", &"x".repeat(64)] {
            assert!(GroupName::new(bad).is_err(), "{bad}");
        }
    }
}
