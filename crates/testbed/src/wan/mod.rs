//! Several sites on one machine, with a network between them that can be slow and can fail.
//!
//! The problem: what happens when sites are far apart, or cut off from each other, shows only over a network that
//! has delays and breaks in one direction; `tc netem` is missing in many kernels. The idea: each host is a network
//! namespace of its own with one TUN device, and a thread of this process carries the packets between the devices as
//! late, as rarely and as selectively as a test wants.
//!
//! The test itself has a host too, the *lab*, that reaches all hosts at once whatever is cut: what judges a fault
//! must not suffer from it. [`Wan::run`] runs a test there: all that it does (connections, tasks, threads, the command
//! line) is in the lab, and what it starts with a [`Host`] is at that host.
//!
//! This module must not know what runs at the hosts.

mod host;
mod link;
mod loopback;
mod network;
mod packet;
mod router;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

pub use host::Host;
pub use link::{Traffic, WanLink};
pub use network::Verdict;
pub use packet::{Header, Tcp};

use network::{Filter, Network, Place, SiteIndex};
use router::Router;

use crate::process;

/// The host of the test itself.
const LAB: &str = "lab";
/// How long tasks of a test may hold up its end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How a WAN is set up.
#[derive(Clone, Debug)]
pub struct WanOptions {
    /// The sites' names. Each has a host of the same name.
    pub sites: Vec<String>,
    /// Further hosts as `site/host`, such as `east/clients`. Between hosts of one site nothing is delayed.
    pub hosts: Vec<String>,
    /// How any two different sites are joined, both ways.
    pub link: WanLink,
    /// Of jitter and loss.
    pub seed: u64,
}

impl WanOptions {
    /// The sites east, north and west with this round trip time between any two.
    pub fn with_rtt(rtt: Duration) -> Self {
        Self {
            sites: ["east", "north", "west"].map(str::to_owned).to_vec(),
            hosts: Vec::new(),
            link: WanLink::with_rtt(rtt),
            seed: 1,
        }
    }
}

/// What a firewall resets, see [`Wan::reject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// New connections; those that are open go on.
    NewConnections,
    /// Each segment: open connections end at both ends with the next one.
    Everything,
}

/// Sites joined by a network. Cheap to clone; the network is gone when the last clone is.
#[derive(Clone, Debug)]
pub struct Wan(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // The router first: it ends before the networks that it joins.
    router: Router,
    /// The lab first.
    sites: Vec<String>,
    lab: Host,
    hosts: Vec<Host>,
}

impl Wan {
    /// Whether this process can create networks.
    ///
    /// # Errors
    /// The text says what is missing and how to get it.
    pub fn available() -> Result<(), String> {
        Host::create("trial", Ipv4Addr::new(10, 77, 255, 1)).map(drop).map_err(|error| unavailable(&error))
    }

    /// Creates the networks of all hosts and starts to carry packets between them.
    ///
    /// # Errors
    /// When this process may not do that: the message says what is missing and how to get it.
    pub fn start(options: &WanOptions) -> Result<Self> {
        let sites: Vec<String> =
            std::iter::once(LAB.to_owned()).chain(options.sites.iter().cloned()).collect();
        let (mut places, mut hosts, mut devices) = (Vec::new(), Vec::new(), Vec::new());
        for name in sites.iter().chain(&options.hosts) {
            let site = site_index(&sites, site_of(name))?;
            ensure!(hosts.iter().all(|host: &Host| host.name() != name), "there are two hosts {name}");
            let number = 1 + places.iter().filter(|place: &&Place| place.site == site).count();
            let address = Ipv4Addr::new(10, 77, u8::try_from(site)?, u8::try_from(number)?);
            let (host, device) = Host::create(name, address).map_err(|error| anyhow!(unavailable(&error)))?;
            places.push(Place { address, site });
            hosts.push(host);
            devices.push(device);
        }
        let router = Router::start(Network::new(places, sites.len(), options.seed), devices)?;
        let lab = hosts.remove(0);
        let wan = Self(Arc::new(Inner { router, sites, lab, hosts }));
        for (from, to) in wan.pairs() {
            wan.0.router.network().set_link(from, to, options.link.clone());
        }
        Ok(wan)
    }

    /// Runs a test in the lab of a new WAN, on a runtime of its own.
    ///
    /// # Errors
    /// As [`Wan::start`].
    ///
    /// # Panics
    /// When `test` does.
    pub fn run<T: Send>(options: &WanOptions, test: impl AsyncFnOnce(Wan) -> T + Send) -> Result<T> {
        // Else it would start in this lab, and a later test would start processes in a lab that is gone.
        process::start_ours()?;
        let wan = Self::start(options)?;
        let lab = wan.lab().clone();
        lab.enter(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let result = runtime.block_on(test(wan));
            runtime.shutdown_timeout(END_PATIENCE);
            Ok(result)
        })?
    }

    /// The host of the test: it reaches all others without delay, and nothing is ever cut.
    pub fn lab(&self) -> &Host {
        &self.0.lab
    }

    /// A host: `east` is the one that each site has, `east/clients` a further one.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.0
            .hosts
            .iter()
            .find(|host| host.name() == name)
            .with_context(|| format!("there is no host {name}"))
    }

    /// All hosts but the lab.
    pub fn hosts(&self) -> &[Host] {
        &self.0.hosts
    }

    /// Joins two sites by `link` from now on, both ways.
    pub fn set_link(&self, one: &str, other: &str, link: &WanLink) -> Result<()> {
        self.set_link_one_way(one, other, link)?;
        self.set_link_one_way(other, one, link)
    }

    /// Like [`Wan::set_link`], for one direction.
    pub fn set_link_one_way(&self, from: &str, to: &str, link: &WanLink) -> Result<()> {
        let (from, to) = (self.site(from)?, self.site(to)?);
        self.0.router.network().set_link(from, to, link.clone());
        Ok(())
    }

    /// Loses all packets between two sites, and what is under way.
    pub fn cut(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (self.site(one)?, self.site(other)?);
        let mut network = self.0.router.network();
        network.cut(one, other);
        network.cut(other, one);
        Ok(())
    }

    /// Loses all packets of one direction.
    pub fn cut_one_way(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.site(from)?, self.site(to)?);
        self.0.router.network().cut(from, to);
        Ok(())
    }

    /// Cuts a site off from all other sites, at once.
    pub fn isolate(&self, site: &str) -> Result<()> {
        let site = self.site(site)?;
        let mut network = self.0.router.network();
        for (from, to) in self.pairs().filter(|(from, to)| *from == site || *to == site) {
            network.cut(from, to);
        }
        Ok(())
    }

    /// Undoes cuts and filters between two sites, both ways.
    pub fn heal(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (self.site(one)?, self.site(other)?);
        let mut network = self.0.router.network();
        network.heal(one, other);
        network.heal(other, one);
        Ok(())
    }

    /// Undoes cuts and filters of one direction.
    pub fn heal_one_way(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.site(from)?, self.site(to)?);
        self.0.router.network().heal(from, to);
        Ok(())
    }

    /// Undoes all cuts and filters; links stay as they are set.
    pub fn heal_all(&self) {
        let mut network = self.0.router.network();
        for from in 1..self.0.sites.len() {
            for to in 1..self.0.sites.len() {
                network.heal(from, to);
            }
        }
    }

    /// A firewall for what goes from one site to another, which answers the sender with a reset. With
    /// [`Reject::Everything`] the target gets a reset too, so that both ends give up.
    ///
    /// Takes the place of an earlier firewall or filter of this direction.
    pub fn reject(&self, from: &str, to: &str, what: Reject) -> Result<()> {
        self.filter(from, to, move |header| match what {
            Reject::Everything => Verdict::RejectBoth,
            Reject::NewConnections if header.tcp.is_some_and(|tcp| tcp.opens()) => Verdict::Reject,
            Reject::NewConnections => Verdict::Pass,
        })
    }

    /// Lets `decide` decide about each packet from one site to another, or between the hosts of one site. It must be
    /// quick, and must not use the WAN.
    ///
    /// Takes the place of an earlier firewall or filter of this direction.
    pub fn filter(
        &self,
        from: &str,
        to: &str,
        decide: impl Fn(&Header) -> Verdict + Send + Sync + 'static,
    ) -> Result<()> {
        let (from, to) = (self.site(from)?, self.site(to)?);
        let filter: Filter = Arc::new(decide);
        self.0.router.network().set_filter(from, to, Some(filter));
        Ok(())
    }

    /// What passed from one site to another so far.
    pub fn traffic(&self, from: &str, to: &str) -> Result<Traffic> {
        let (from, to) = (self.site(from)?, self.site(to)?);
        Ok(self.0.router.network().traffic(from, to))
    }

    fn site(&self, name: &str) -> Result<SiteIndex> {
        ensure!(name != LAB, "the lab's network never fails");
        site_index(&self.0.sites, name)
    }

    /// All ordered pairs of different sites, without the lab.
    fn pairs(&self) -> impl Iterator<Item = (SiteIndex, SiteIndex)> + use<> {
        let sites = self.0.sites.len();
        (1..sites).flat_map(move |from| (1..sites).map(move |to| (from, to))).filter(|(from, to)| from != to)
    }
}

fn site_of(host: &str) -> &str {
    host.split_once('/').map_or(host, |(site, _)| site)
}

fn site_index(sites: &[String], name: &str) -> Result<SiteIndex> {
    sites.iter().position(|site| site == name).with_context(|| format!("there is no site {name}"))
}

fn unavailable(error: &anyhow::Error) -> String {
    format!(
        "cannot create the networks of the sites: {error:#}. This needs root, or the capabilities CAP_SYS_ADMIN and \
         CAP_NET_ADMIN, and the device /dev/net/tun (modprobe tun): run it as root, in a container with \
         --privileged, or leave out what needs a WAN"
    )
}
