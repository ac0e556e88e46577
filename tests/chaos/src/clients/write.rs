//! Writers: through the SDK to the primary itself, at each member whoever is primary, and through the gates.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_client::Client;
use primacy_testbed::{Load, LoadOptions, Locate, Target};

use crate::fault::SITES;
use crate::world::{Entry, GROUP, Phonebook, World};

const WRITERS: u16 = 3;
const PACE: Duration = Duration::from_millis(6);
const RETRY: Duration = Duration::from_millis(10);
/// A run ends by itself; this ends it when it does not.
const DURATION_MAX: Duration = Duration::from_mins(30);
const LOOKUP_WITHIN: Duration = Duration::from_secs(2);

fn options(prefix: &str) -> LoadOptions {
    LoadOptions {
        writers: WRITERS,
        pace: Some(PACE),
        duration_max: DURATION_MAX,
        key_prefix: prefix.to_owned(),
        retry_pause: RETRY,
        ..LoadOptions::default()
    }
}

pub(super) fn direct(world: &World) -> Result<Load> {
    let options =
        LoadOptions { strays: world.d.targets(), stray_pace: Duration::from_millis(4), ..options("direct") };
    Load::start(options, BySdk { phonebook: world.phonebook.clone(), open: Mutex::default() })
}

pub(super) fn gated(world: &World) -> Result<Load> {
    // A gate passes each write on over the WAN, and each reply waits for its witness or for another site.
    let options = LoadOptions { response_timeout: Duration::from_secs(3), ..options("gated") };
    Load::start(options, ByGate { phonebook: world.phonebook.clone() })
}

/// The SDK, told of all nodes that there are.
struct BySdk {
    phonebook: Phonebook,
    open: Mutex<Option<(Vec<String>, Client)>>,
}

impl BySdk {
    fn client(&self) -> Result<Client> {
        let endpoints: Vec<String> =
            self.phonebook.all().into_iter().map(|Entry { grpc, .. }| grpc).collect();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = open.as_ref().filter(|(known, _)| *known == endpoints) {
            return Ok(client.clone());
        }
        let client = Client::builder(endpoints.clone()).deadline(LOOKUP_WITHIN).build()?;
        Ok(open.insert((endpoints, client)).1.clone())
    }

    async fn ask(&self, failed: Option<&Target>) -> Result<Target> {
        let client = self.client()?;
        let mut primary = client.primary(GROUP).await?;
        if failed.is_some_and(|failed| primary.member.as_ref() == Some(&failed.member)) {
            client.report_failure(GROUP, primary.epoch);
            primary = client.primary_after(&primary, RETRY).await?;
        }
        let (member, address) = primary.member.zip(primary.address).context("no primary yet")?;
        Ok(Target::new(member, address))
    }
}

impl Locate for BySdk {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        self.ask(failed).boxed()
    }
}

/// The gates, tried in a circle.
struct ByGate {
    phonebook: Phonebook,
}

/// What a ledger calls the gate of a site.
pub(crate) fn gate_name(site: usize) -> String {
    format!("gate {}", SITES[site % SITES.len()])
}

impl Locate for ByGate {
    fn locate<'a>(&'a self, failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        let after = |failed: &Target| (0..SITES.len()).find(|site| gate_name(*site) == failed.member);
        let site = failed.and_then(after).map_or(0, |site| (site + 1) % SITES.len());
        let target = self.phonebook.at(site).map(|node| Target::new(gate_name(site), node.gate));
        std::future::ready(target.context("no gate is known")).boxed()
    }
}
