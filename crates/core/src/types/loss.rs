//! How much a failover lost, or may lose. Never hidden, never made smaller than it is.

use std::fmt;
use std::str::FromStr;

/// What a failover lost or would lose, in bytes of the replication stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Exactly this much; zero after a switchover.
    Exact(u64),
    /// At most this much, estimated from the last samples of the old primary.
    AtMost(u64),
    /// Nothing is known about what the old primary held.
    Unknown,
}

impl Loss {
    /// The bytes, where they are known.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Loss::Exact(n) | Loss::AtMost(n) => Some(n),
            Loss::Unknown => None,
        }
    }

    /// Whether the number is exact and not a bound.
    pub fn exact(self) -> bool {
        matches!(self, Loss::Exact(_))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Exact(0) => f.write_str("0 lost"),
            Loss::Exact(n) => write!(f, "{n} bytes lost"),
            Loss::AtMost(n) => write!(f, "at most {n} bytes lost"),
            Loss::Unknown => f.write_str("an unknown amount lost"),
        }
    }
}

/// Why a budget was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a loss budget; write a size such as \"1 MiB\" or \"0 bytes\", or \"any\"")]
pub struct LossBudgetError(pub String);

/// What an automatic failover of a group may lose: `max_loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossBudget {
    /// At most so many bytes, by estimate; above it an operator decides.
    Bytes(u64),
    /// Whatever it is, known or not.
    Any,
}

impl LossBudget {
    /// Whether `loss` is within the budget. An unknown amount is within `Any` only.
    pub fn allows(self, loss: Loss) -> bool {
        match self {
            LossBudget::Any => true,
            LossBudget::Bytes(max) => loss.bytes().is_some_and(|n| n <= max),
        }
    }
}

const UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("bytes", 1),
    ("B", 1),
];

impl fmt::Display for LossBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LossBudget::Any => f.write_str("any"),
            LossBudget::Bytes(n) => {
                let unit = UNITS[..3].iter().find(|(_, size)| n >= *size && n % size == 0);
                match unit {
                    Some((name, size)) => write!(f, "{} {name}", n / size),
                    None => write!(f, "{n} bytes"),
                }
            }
        }
    }
}

impl FromStr for LossBudget {
    type Err = LossBudgetError;

    fn from_str(s: &str) -> Result<Self, LossBudgetError> {
        let refuse = || LossBudgetError(s.to_owned());
        let text = s.trim();
        if text == "any" {
            return Ok(LossBudget::Any);
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let unit = unit.trim();
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        number.checked_mul(*size).map(LossBudget::Bytes).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_round_trip() {
        for text in ["any", "0 bytes", "1 MiB", "3 KiB", "1025 bytes", "2 GiB"] {
            assert_eq!(text.parse::<LossBudget>().map(|b| b.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "1", "MiB", "-1 MiB", "1.5 MiB", "1 mib", "99999999999 GiB"] {
            assert!(bad.parse::<LossBudget>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_loss_is_within_any_budget_only() {
        assert!(LossBudget::Any.allows(Loss::Unknown));
        assert!(!LossBudget::Bytes(u64::MAX).allows(Loss::Unknown));
        assert!(LossBudget::Bytes(5).allows(Loss::AtMost(5)));
        assert!(!LossBudget::Bytes(5).allows(Loss::Exact(6)));
    }
}
