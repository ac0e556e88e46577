//! Clients that ask a node for the primary, again and again, at each consistency; and one that asks who leads.

use std::time::{Duration, Instant};

use primacy_testbed::http;
use primacy_wire::v1;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use v1::directory_client::DirectoryClient;

use super::within;
use crate::fault::SITES;
use crate::record::{Answer, Freshness, Led, Read, Record};
use crate::world::{Entry, GROUP, Phonebook, World};

const PAUSE: Duration = Duration::from_millis(40);
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// Long enough to be answered by a node that was frozen in between, which is when an old answer would come.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
const LOOK_PAUSE: Duration = Duration::from_millis(150);

pub(super) fn start(world: &World, record: &Record, tasks: &mut JoinSet<()>) {
    for site in 0..SITES.len() {
        for freshness in [Freshness::Linearizable, Freshness::Lease, Freshness::Local] {
            tasks.spawn(ask(site, freshness, world.phonebook.clone(), record.clone()));
        }
    }
    tasks.spawn(look_for_leader(world.phonebook.clone(), record.clone()));
}

async fn ask(site: usize, freshness: Freshness, phonebook: Phonebook, record: Record) {
    let mut open: Option<(Entry, DirectoryClient<Channel>)> = None;
    loop {
        sleep(PAUSE).await;
        let Some(node) = phonebook.at(site) else { continue };
        let mut client = match open.take().filter(|(known, _)| *known == node) {
            Some((_, client)) => client,
            None => match connect(&node).await {
                Some(client) => client,
                None => continue,
            },
        };
        let asked = Instant::now();
        let request = v1::GetPrimaryRequest { group: GROUP.to_owned(), consistency: of(freshness).into() };
        match within(ANSWER_WITHIN, client.get_primary(request)).await {
            Some(response) => {
                let v1::Primary { member, epoch, revision, age_ms, .. } = response.into_inner();
                let answer = Answer { revision, epoch, member, age_ms };
                let (answered, from) = (Instant::now(), (node.id, node.pid));
                record.pages().reads.push(Read { asked, answered, node: from, freshness, answer });
                open = Some((node, client));
            }
            None => record.pages().reads_failed += 1,
        }
    }
}

fn of(freshness: Freshness) -> v1::Consistency {
    match freshness {
        Freshness::Linearizable => v1::Consistency::Linearizable,
        Freshness::Lease => v1::Consistency::Lease,
        Freshness::Local => v1::Consistency::Local,
    }
}

pub(super) async fn connect(node: &Entry) -> Option<DirectoryClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.grpc)).ok()?;
    within(CONNECT_WITHIN, endpoint.connect()).await.map(DirectoryClient::new)
}

async fn look_for_leader(phonebook: Phonebook, record: Record) {
    loop {
        sleep(LOOK_PAUSE).await;
        let mut newest: Option<(u64, (u64, String))> = None;
        for node in phonebook.all() {
            let Some(response) =
                within(CONNECT_WITHIN, http::get(&node.http, "/v1/status", CONNECT_WITHIN)).await
            else {
                continue;
            };
            newest = newest.into_iter().chain(leader(&response.body)).max_by_key(|(term, _)| *term);
        }
        let leader = newest.map(|(_, leader)| leader);
        let mut pages = record.pages();
        if pages.led.last().map(|led| &led.leader) != Some(&leader) {
            pages.led.push(Led { at: Instant::now(), leader });
        }
    }
}

/// The term and the leader that a node's status names.
fn leader(status: &str) -> Option<(u64, (u64, String))> {
    let status: Value = serde_json::from_str(status).ok()?;
    let leader = &status["leader"];
    Some((leader["term"].as_u64()?, (leader["id"].as_u64()?, leader["site"].as_str()?.to_owned())))
}
