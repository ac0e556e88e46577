//! What can go wrong, in words that name no process: where a fault strikes is found out when it does.

use std::fmt;

use serde::Serialize;

/// The sites of every deployment here.
pub(crate) const SITES: [&str; 3] = ["east", "north", "west"];

/// A site, by its part in what goes on or by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Place {
    /// Where the primary is.
    Primary,
    /// Where the leader is.
    Leader,
    /// The one after the primary's, in the order of [`SITES`]; the one after that.
    Beyond(usize),
    /// One of [`SITES`].
    At(usize),
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Command {
    /// `switchover`, to whichever member is best.
    Switchover,
    /// `switchover --to` the member at a site.
    SwitchoverTo(Place),
    /// `failover`, within the loss that is allowed.
    Failover,
    /// `failover --allow-data-loss`.
    FailoverAtAnyPrice,
    /// `failback`.
    Failback,
    /// `pause`, and `resume` when the fault is over.
    Pause,
    /// `cluster transfer`.
    Transfer,
    /// `cluster snapshot`.
    Snapshot,
}

/// One fault. What lasts is undone at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) enum Fault {
    /// SIGKILL of a Redis server.
    KillRedis(Place),
    /// SIGKILL of a node.
    KillNode(Place),
    /// Of both at a site.
    KillBoth(Place),
    /// Of both, and nothing reaches or leaves the site.
    LoseSite(Place),
    /// SIGSTOP of a Redis server.
    FreezeRedis(Place),
    /// SIGSTOP of a node.
    FreezeNode(Place),
    /// Of both at a site.
    FreezeBoth(Place),
    /// Nothing reaches or leaves a site.
    Isolate(Place),
    /// Nothing leaves it.
    Mute(Place),
    /// Nothing reaches it.
    Deafen(Place),
    /// Nothing between two sites.
    Cut(Place, Place),
    /// Nothing from the one to the other.
    CutOneWay(Place, Place),
    /// A site is cut off and joined again, for so many milliseconds each.
    Flap(Place, u64),
    /// All that leaves or reaches a site is so many milliseconds later.
    Delay(Place, u64),
    /// So many of a thousand packets from and to a site are lost.
    Lose(Place, u64),
    /// The wall clock of a Redis host is so many milliseconds ahead.
    RedisClock(Place, i64),
    /// The wall clock of a node is so many milliseconds ahead.
    NodeClock(Place, i64),
    /// The disk of a node is full.
    FillDisk(Place),
    /// Each sync of a node takes so many milliseconds longer.
    SlowDisk(Place, u64),
    /// SIGTERM of a node, and its restart, as in a rolling upgrade.
    Restart(Place),
    /// A node is replaced by one with a new id.
    Replace(Place),
    /// An operator's command.
    Operator(Command),
}

impl Place {
    fn words(self) -> String {
        match self {
            Self::Primary => "the primary's site".to_owned(),
            Self::Leader => "the leader's site".to_owned(),
            Self::Beyond(n) => format!("standby site {n}"),
            Self::At(index) => SITES[index % SITES.len()].to_owned(),
        }
    }
}

impl Fault {
    /// Its name, for counts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::KillRedis(_) => "kill redis",
            Self::KillNode(_) => "kill node",
            Self::KillBoth(_) => "kill redis and node",
            Self::LoseSite(_) => "lose site",
            Self::FreezeRedis(_) => "freeze redis",
            Self::FreezeNode(_) => "freeze node",
            Self::FreezeBoth(_) => "freeze redis and node",
            Self::Isolate(_) => "isolate site",
            Self::Mute(_) => "mute site",
            Self::Deafen(_) => "deafen site",
            Self::Cut(..) => "cut link",
            Self::CutOneWay(..) => "cut link one way",
            Self::Flap(..) => "flapping site",
            Self::Delay(..) => "delay",
            Self::Lose(..) => "packet loss",
            Self::RedisClock(..) => "redis clock step",
            Self::NodeClock(..) => "node clock step",
            Self::FillDisk(_) => "full disk",
            Self::SlowDisk(..) => "slow disk",
            Self::Restart(_) => "restart node",
            Self::Replace(_) => "replace node",
            Self::Operator(Command::Switchover | Command::SwitchoverTo(_)) => "operator: switchover",
            Self::Operator(Command::Failover) => "operator: failover",
            Self::Operator(Command::FailoverAtAnyPrice) => "operator: failover at any price",
            Self::Operator(Command::Failback) => "operator: failback",
            Self::Operator(Command::Pause) => "operator: pause, resume",
            Self::Operator(Command::Transfer) => "operator: transfer",
            Self::Operator(Command::Snapshot) => "operator: snapshot",
        }
    }

    /// Where it strikes first; operators are nowhere.
    pub(crate) fn place(&self) -> Option<Place> {
        match *self {
            Self::KillRedis(place)
            | Self::KillNode(place)
            | Self::KillBoth(place)
            | Self::LoseSite(place)
            | Self::FreezeRedis(place)
            | Self::FreezeNode(place)
            | Self::FreezeBoth(place)
            | Self::Isolate(place)
            | Self::Mute(place)
            | Self::Deafen(place)
            | Self::Cut(place, _)
            | Self::CutOneWay(place, _)
            | Self::Flap(place, _)
            | Self::Delay(place, _)
            | Self::Lose(place, _)
            | Self::RedisClock(place, _)
            | Self::NodeClock(place, _)
            | Self::FillDisk(place)
            | Self::SlowDisk(place, _)
            | Self::Restart(place)
            | Self::Replace(place) => Some(place),
            Self::Operator(_) => None,
        }
    }

    /// Whether a gate with `durability = "local"` may lose what it acknowledged: not when primaries are killed and
    /// operators ask, for the witness of each primary lives then.
    pub(crate) fn spares_witnesses(&self) -> bool {
        matches!(self, Self::KillRedis(_) | Self::Operator(_) | Self::SlowDisk(..))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match *self {
            Self::Cut(one, other) => write!(f, ": {} and {}", one.words(), other.words()),
            Self::CutOneWay(from, to) => write!(f, ": from {} to {}", from.words(), to.words()),
            Self::Flap(place, ms) => write!(f, ": {}, every {ms} ms", place.words()),
            Self::Delay(place, ms) | Self::SlowDisk(place, ms) => {
                write!(f, ": {}, by {ms} ms", place.words())
            }
            Self::RedisClock(place, ms) | Self::NodeClock(place, ms) => {
                write!(f, ": {}, by {ms:+} ms", place.words())
            }
            Self::Lose(place, share) => write!(f, ": {}, {share} of 1000", place.words()),
            Self::Operator(Command::SwitchoverTo(place)) => write!(f, " to {}", place.words()),
            _ => self.place().map_or(Ok(()), |place| write!(f, ": {}", place.words())),
        }
    }
}
