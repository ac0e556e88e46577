//! The network between the sites as a value: packets go in with the time, and come out when they are due.
//!
//! One path leads from each site to each other one, and one from each site to itself, for its hosts. A path keeps its
//! packets in order whatever the jitter, as a cable does: TCP takes reordering for loss, and no test here is about
//! that. Chance comes from a generator of each path's own, so that traffic elsewhere does not change a path's luck.
//!
//! It must not know where packets come from: it has no device, no clock and no thread.

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::link::{Traffic, WanLink};
use super::packet::Header;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is gone, and nobody hears of it.
    Drop,
    /// It is gone, and a TCP sender gets a reset, at once, that seems to come from the target.
    Reject,
    /// As [`Verdict::Reject`], and the target gets a reset that seems to come from the sender.
    RejectBoth,
}

/// Decides about the packets of one path.
pub(super) type Filter = Arc<dyn Fn(&Header) -> Verdict + Send + Sync>;

/// A place in the list of hosts.
pub(super) type HostIndex = usize;
/// A place in the list of sites.
pub(super) type SiteIndex = usize;

/// One network with an address.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: Ipv4Addr,
    pub(super) site: SiteIndex,
}

struct UnderWay {
    due: Instant,
    to: HostIndex,
    packet: Vec<u8>,
}

struct Path {
    link: WanLink,
    cut: bool,
    filter: Option<Filter>,
    queue: VecDeque<UnderWay>,
    /// When the last byte that was accepted has gone into the cable; matters with a rate.
    line_free: Option<Instant>,
    traffic: Traffic,
    luck: SmallRng,
}

pub(super) struct Network {
    places: Vec<Place>,
    sites: usize,
    paths: Vec<Path>,
}

impl Network {
    pub(super) fn new(places: Vec<Place>, sites: usize, seed: u64) -> Self {
        let path = |index: usize| Path {
            link: WanLink::default(),
            cut: false,
            filter: None,
            queue: VecDeque::new(),
            line_free: None,
            traffic: Traffic::default(),
            luck: SmallRng::seed_from_u64(seed.wrapping_add(index as u64)),
        };
        Self { places, sites, paths: (0..sites * sites).map(path).collect() }
    }

    pub(super) fn set_link(&mut self, from: SiteIndex, to: SiteIndex, link: WanLink) {
        self.path(from, to).link = link;
    }

    /// What is under way is lost too.
    pub(super) fn cut(&mut self, from: SiteIndex, to: SiteIndex) {
        let path = self.path(from, to);
        path.cut = true;
        path.traffic.lost += path.queue.len() as u64;
        path.queue.clear();
    }

    pub(super) fn set_filter(&mut self, from: SiteIndex, to: SiteIndex, filter: Option<Filter>) {
        self.path(from, to).filter = filter;
    }

    /// Undoes [`Network::cut`] and takes the filter away.
    pub(super) fn heal(&mut self, from: SiteIndex, to: SiteIndex) {
        let path = self.path(from, to);
        path.cut = false;
        path.filter = None;
    }

    pub(super) fn traffic(&self, from: SiteIndex, to: SiteIndex) -> Traffic {
        self.paths[from * self.sites + to].traffic
    }

    /// Takes a packet that left `from`. Returns the reset that `from` gets at once.
    pub(super) fn arrive(&mut self, now: Instant, from: HostIndex, packet: Vec<u8>) -> Option<Vec<u8>> {
        // What is not for one of the hosts is noise of the kernel, such as multicast.
        let header = Header::parse(&packet)?;
        let to = self.places.iter().position(|place| place.address == *header.target.ip())?;
        let (from_site, to_site) = (self.places[from].site, self.places[to].site);
        let path = self.path(from_site, to_site);
        let verdict = path.filter.as_ref().map_or(Verdict::Pass, |filter| filter(&header));
        match verdict {
            Verdict::Pass => path.carry(now, to, packet, &header),
            Verdict::Drop | Verdict::Reject => path.traffic.lost += 1,
            Verdict::RejectBoth => {
                path.traffic.lost += 1;
                if let Some(reset) = header.reset_to_target() {
                    path.queue(now, to, reset);
                }
            }
        }
        match verdict {
            Verdict::Pass | Verdict::Drop => None,
            Verdict::Reject | Verdict::RejectBoth => header.reset_to_source(),
        }
    }

    /// When the next packet is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.paths.iter().filter_map(|path| path.queue.front()).map(|packet| packet.due).min()
    }

    /// Hands over all packets that are due.
    pub(super) fn deliver(&mut self, now: Instant, mut to_host: impl FnMut(HostIndex, &[u8])) {
        for path in &mut self.paths {
            while let Some(packet) = path.queue.pop_front_if(|packet| packet.due <= now) {
                to_host(packet.to, &packet.packet);
            }
        }
    }

    fn path(&mut self, from: SiteIndex, to: SiteIndex) -> &mut Path {
        &mut self.paths[from * self.sites + to]
    }
}

impl Path {
    fn carry(&mut self, now: Instant, to: HostIndex, packet: Vec<u8>, header: &Header) {
        let unlucky = self.link.loss > 0.0 && self.luck.random_bool(self.link.loss.min(1.0));
        if self.cut || unlucky {
            self.traffic.lost += 1;
            return;
        }
        let Some(gone) = self.take_line(now, packet.len() as u64) else {
            self.traffic.lost += 1;
            return;
        };
        self.traffic.packets += 1;
        self.traffic.bytes += packet.len() as u64;
        self.traffic.connections += u64::from(header.tcp.is_some_and(|tcp| tcp.opens()));
        self.queue(gone, to, packet);
    }

    /// When the packet has left at the link's rate; `None` when too much is waiting already.
    fn take_line(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        let Some(rate) = self.link.rate_bytes else { return Some(now) };
        let free = self.line_free.map_or(now, |free| free.max(now));
        let takes = |bytes: u64| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        if free - now > takes(self.link.queue_bytes) {
            return None;
        }
        self.line_free = Some(free + takes(bytes));
        self.line_free
    }

    fn queue(&mut self, gone: Instant, to: HostIndex, packet: Vec<u8>) {
        if self.cut {
            return;
        }
        let jitter = if self.link.jitter.is_zero() {
            Duration::ZERO
        } else {
            self.luck.random_range(Duration::ZERO..=self.link.jitter)
        };
        let due = gone + self.link.delay + jitter;
        let due = self.queue.back().map_or(due, |last| last.due.max(due));
        self.queue.push_back(UnderWay { due, to, packet });
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("places", &self.places).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::net::SocketAddrV4;

    use super::super::packet::sample;
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two sites, one host each; `link` from the first to the second.
    fn network(link: WanLink) -> (Network, Instant) {
        let place = |site| Place { address: Ipv4Addr::new(10, 77, site as u8, 1), site };
        let mut network = Network::new(vec![place(0), place(1)], 2, 7);
        network.set_link(0, 1, link);
        (network, Instant::now())
    }

    /// A packet of 40 bytes and its payload from host 0 to host 1.
    fn packet(flags: &str, payload_bytes: usize) -> Vec<u8> {
        let end = |host, port| SocketAddrV4::new(Ipv4Addr::new(10, 77, host, 1), port);
        sample(end(0, 40_000), end(1, 6379), flags, payload_bytes)
    }

    fn delivered(network: &mut Network, now: Instant) -> Vec<(HostIndex, usize)> {
        let mut packets = Vec::new();
        network.deliver(now, |host, packet| packets.push((host, packet.len())));
        packets
    }

    #[test]
    fn a_packet_comes_out_after_the_delay() {
        let (mut network, start) = network(WanLink::with_rtt(ms(50)));
        assert_eq!(network.arrive(start, 0, packet("S", 0)), None);
        assert_eq!(network.next_due(), Some(start + ms(25)));
        assert_eq!(delivered(&mut network, start + ms(24)), []);
        assert_eq!(delivered(&mut network, start + ms(25)), [(1, 40)]);
        let expected = Traffic { packets: 1, bytes: 40, connections: 1, lost: 0 };
        assert_eq!(network.traffic(0, 1), expected);
        assert_eq!(network.traffic(1, 0), Traffic::default());
    }

    #[test]
    fn jitter_keeps_the_order_and_its_bound() {
        let (mut network, start) = network(WanLink { delay: ms(10), jitter: ms(5), ..WanLink::default() });
        for bytes in 0..100 {
            network.arrive(start, 0, packet(".", bytes));
        }
        assert_eq!(delivered(&mut network, start + ms(9)), []);
        let sizes: Vec<usize> =
            delivered(&mut network, start + ms(15)).into_iter().map(|(_, bytes)| bytes - 40).collect();
        assert_eq!(sizes, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_spreads_packets_and_a_full_queue_loses_them() {
        let link = WanLink { rate_bytes: Some(100_000), queue_bytes: 1_000, ..WanLink::default() };
        let (mut network, start) = network(link);
        for _ in 0..5 {
            network.arrive(start, 0, packet(".", 460));
        }
        // 500 bytes take 5 ms; the fourth finds 1,500 bytes waiting.
        assert_eq!(delivered(&mut network, start + ms(4)).len(), 0);
        assert_eq!(delivered(&mut network, start + ms(5)).len(), 1);
        assert_eq!(delivered(&mut network, start + ms(60)).len(), 2);
        assert_eq!(network.traffic(0, 1).lost, 2);
    }

    #[test]
    fn loss_takes_its_share_and_is_the_same_again() {
        let lost = || {
            let (mut network, start) = network(WanLink { loss: 0.1, ..WanLink::default() });
            for _ in 0..10_000 {
                network.arrive(start, 0, packet(".", 0));
            }
            network.traffic(0, 1).lost
        };
        assert!((900..1_100).contains(&lost()), "{}", lost());
        assert_eq!(lost(), lost());
    }

    #[test]
    fn a_cut_takes_what_is_under_way_one_way() {
        let (mut network, start) = network(WanLink::with_rtt(ms(10)));
        network.arrive(start, 0, packet("S", 0));
        network.cut(0, 1);
        network.arrive(start, 0, packet("S", 0));
        assert_eq!(delivered(&mut network, start + ms(10)), []);
        assert_eq!(network.traffic(0, 1).lost, 2);
        network.heal(0, 1);
        network.arrive(start, 0, packet("S", 0));
        assert_eq!(delivered(&mut network, start + ms(10)).len(), 1);
    }

    #[test]
    fn a_filter_rejects_towards_both_ends() {
        let (mut network, start) = network(WanLink::with_rtt(ms(10)));
        network.set_filter(0, 1, Some(Arc::new(|_: &Header| Verdict::RejectBoth)));
        let reset = network.arrive(start, 0, packet(".", 100)).unwrap();
        assert!(Header::parse(&reset).unwrap().tcp.unwrap().resets());
        assert_eq!(delivered(&mut network, start + ms(4)), []);
        assert_eq!(delivered(&mut network, start + ms(5)), [(1, 40)]);
    }
}
