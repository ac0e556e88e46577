//! How a command ends: the exit codes of the contract, and failures that say what, why and what to do.

use std::fmt;

/// The outcomes that a script can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was tried and did not work.
    Failed,
    /// The command line, a file or a request is wrong.
    Usage,
    /// A rule of the cluster refused it; nothing was changed.
    Refused,
    /// No node answers, or none of them leads.
    NoLeader,
    /// Time ran out after the request was sent: it may have happened or may yet happen.
    Unknown,
}

impl Exit {
    /// The number that the process exits with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::NoLeader => 4,
            Exit::Unknown => 5,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What did not happen, and why. Several lines where there is a list.
    pub(crate) message: String,
    /// The rule that refused it.
    pub(crate) rule: Option<String>,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into(), rule: None, remedy: None }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn refused(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Failure { rule: Some(rule.into()), ..Self::new(Exit::Refused, message) }
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return Ok(());
        }
        let head = match self.exit {
            Exit::Failed | Exit::Usage | Exit::NoLeader => "error",
            Exit::Refused => "refused",
            Exit::Unknown => "outcome unknown",
        };
        write!(f, "{head}")?;
        if let Some(rule) = &self.rule {
            write!(f, " by rule {rule}")?;
        }
        writeln!(f, ": {}", self.message.trim_end())?;
        if let Some(remedy) = &self.remedy {
            writeln!(f, "  remedy: {remedy}")?;
        }
        Ok(())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // Whoever read the output has enough of it: nothing to say, and nobody to say it to.
            std::io::ErrorKind::BrokenPipe => Failure::failed(""),
            _ => Failure::failed(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_rule_and_the_remedy() {
        let failure =
            Failure::refused("lag", "north-a is 12 MiB behind").remedy("wait until it has caught up");
        assert_eq!(
            failure.to_string(),
            "refused by rule lag: north-a is 12 MiB behind\n  remedy: wait until it has caught up\n"
        );
        assert_eq!(failure.exit.code(), 3);
    }

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let all = [Exit::Failed, Exit::Usage, Exit::Refused, Exit::NoLeader, Exit::Unknown];
        assert_eq!(all.map(Exit::code), [1, 2, 3, 4, 5]);
    }
}
