//! How packets travel from one site to another.

use std::time::Duration;

/// One direction between two sites. The default is a perfect cable.
#[derive(Clone, Debug, PartialEq)]
pub struct WanLink {
    /// How long a packet is under way.
    pub delay: Duration,
    /// Up to this much is added to the delay, evenly distributed. Packets stay in order.
    pub jitter: Duration,
    /// The share of packets that get lost, from 0 to 1.
    pub loss: f64,
    /// Bytes a second; unlimited when `None`.
    pub rate_bytes: Option<u64>,
    /// Bytes that wait, at most, because of `rate_bytes`; what comes on top is lost.
    pub queue_bytes: u64,
}

impl Default for WanLink {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            rate_bytes: None,
            queue_bytes: 256 * 1024,
        }
    }
}

impl WanLink {
    /// A link that is perfect but for its delay: used both ways it makes this round trip time.
    pub fn with_rtt(rtt: Duration) -> Self {
        Self { delay: rtt / 2, ..Self::default() }
    }
}

/// What passed from one site to another so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets that were delivered or are under way.
    pub packets: u64,
    /// Their bytes, with IP headers.
    pub bytes: u64,
    /// TCP connections that were opened over it.
    pub connections: u64,
    /// Packets that loss, a full queue, a cut or a filter took.
    pub lost: u64,
}
