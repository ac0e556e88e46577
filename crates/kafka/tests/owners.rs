//! An owner of the mirror is frozen between its look at the lease and its write, a newer one begins, and the older one
//! wakes up before the newer one has written anything: the window of ADR 0022, with an authorizer and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{
    DEADLINE, Pair, assert_same, create_replicated, create_topic, delete_topic, ends, until, until_copied,
    until_unaligned, write, write_to,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest};
use kafka_protocol::protocol::StrBytes;
use primacy_kafka::{
    Authority, Cluster, ClusterAccess, Mechanism, Mirror, MirrorPlan, MirrorStatus, Sasl, Security,
};
use primacy_testbed::{KafkaCluster, wait_for};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::watch;

/// What an owner is told of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Holds,
    Lost,
    /// It holds until all is ready for the first record, and not for that one.
    UntilItBegan,
    /// Whoever asks gets no answer, and nothing of the owner goes on: it is frozen right after its look at the lease.
    Frozen,
}

struct Told {
    word: Word,
    /// Asked while it was frozen.
    asleep: bool,
    status: Option<watch::Receiver<MirrorStatus>>,
}

/// An owner on a thread of its own, like a process.
struct Owner {
    mirror: Mirror,
    lease: Arc<(Mutex<Told>, Condvar)>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Owner {
    fn start(mut plan: MirrorPlan, word: Word) -> Owner {
        let lease = Arc::new((Mutex::new(Told { word, asleep: false, status: None }), Condvar::new()));
        let asked = lease.clone();
        plan.authority = Authority::new(move || answer(&asked));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let begin = || runtime.block_on(async { Mirror::start(plan) });
        let mirror = std::thread::scope(|scope| scope.spawn(begin).join().unwrap());
        lease.0.lock().unwrap().status = Some(mirror.watch());
        Owner { mirror, lease, runtime: Some(runtime) }
    }

    fn tell(&self, word: Word) {
        self.lease.0.lock().unwrap().word = word;
        self.lease.1.notify_all();
    }

    /// Freezes it with records in its hands, which it asked to write.
    async fn freeze(&self) {
        self.tell(Word::Frozen);
        wait_for("the owner to be frozen", DEADLINE, async || {
            anyhow::ensure!(self.lease.0.lock().unwrap().asleep, "it does not ask");
            Ok(())
        })
        .await
        .unwrap();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.tell(Word::Lost);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn answer(lease: &(Mutex<Told>, Condvar)) -> bool {
    let mut told = lease.0.lock().unwrap();
    while told.word == Word::Frozen {
        told.asleep = true;
        told = lease.1.wait(told).unwrap();
    }
    if told.word == Word::UntilItBegan && told.status.as_ref().is_some_and(|s| s.borrow().stopped.is_none()) {
        told.word = Word::Lost;
    }
    told.word != Word::Lost
}

fn holds_no_lease(status: &MirrorStatus) -> bool {
    status.stopped.as_deref().is_some_and(|why| why.contains("no lease"))
}

/// An older owner that is frozen with the next records in its hands, and a newer one that could write the same now.
async fn two_owners(pair: &Pair, topic: &str, plan: impl Fn() -> MirrorPlan, older: Owner) -> (Owner, Owner) {
    older.tell(Word::Lost);
    write(&pair.a, topic, 0, 100, 10, &[]).await;
    until(&older.mirror, "it has records that it may not write", holds_no_lease).await;
    older.freeze().await;

    let newer = Owner::start(MirrorPlan { epoch: 2, ..plan() }, Word::Lost);
    until(&newer.mirror, "it has no lease yet", holds_no_lease).await;
    newer.tell(Word::UntilItBegan);
    wait_for("the newer owner to have begun", DEADLINE, async || {
        let status = newer.mirror.status();
        anyhow::ensure!(newer.lease.0.lock().unwrap().word == Word::Lost, "{status:?}");
        anyhow::ensure!(holds_no_lease(&status), "it has nothing in its hands: {status:?}");
        Ok(())
    })
    .await
    .unwrap();
    (older, newer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_authorizer_what_an_older_owner_writes_is_found_and_repaired() {
    let pair = Pair::start().await;
    create_topic(&pair.a, "q-orders", 1, &[]).await;
    let older = Owner::start(pair.plan("q-"), Word::Holds);
    write(&pair.a, "q-orders", 0, 100, 10, &[]).await;
    until_copied(&older.mirror, &pair.a, "q-orders").await;
    let (older, newer) = two_owners(&pair, "q-orders", || pair.plan("q-"), older).await;
    assert_eq!(newer.mirror.status().writes_as, None);

    older.tell(Word::Holds);
    wait_for("the older owner to have written", DEADLINE, async || {
        anyhow::ensure!(ends(&pair.b, "q-orders").await[&0] == 200, "not yet");
        Ok(())
    })
    .await
    .unwrap();
    drop(older);
    newer.tell(Word::Holds);
    let why = until_unaligned(&newer.mirror, "q-orders").await;
    assert!(why.contains("offset 100") && why.contains("delete the topic"), "{why}");

    delete_topic(&pair.b, "q-orders").await;
    until_copied(&newer.mirror, &pair.a, "q-orders").await;
    assert_same(&pair, "q-orders").await;
}

/// By the numbers of the protocol.
const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const TRANSACTIONAL_ID: i8 = 5;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ALL: i8 = 2;
const WRITE: i8 = 4;
const ALTER: i8 = 7;
const DESCRIBE: i8 = 8;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

const USERS: [&str; 6] = ["primacy", "m1", "m2", "m3", "root-1", "root-2"];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

async fn admin(cluster: &KafkaCluster) -> Arc<primacy_kafka::link::Connection> {
    let bootstrap = cluster.internal_bootstrap();
    let access = ClusterAccess { bootstrap, client_id: "admin".into(), ..ClusterAccess::default() };
    Cluster::new(access).unwrap().controller().await.unwrap()
}

async fn allow(cluster: &KafkaCluster, user: &str, (kind, name, pattern): (i8, &str, i8), operation: i8) {
    let creation = AclCreation::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_resource_pattern_type(pattern)
        .with_principal(text(&format!("User:{user}")))
        .with_host(text("*"))
        .with_operation(operation)
        .with_permission_type(ALLOW);
    let request = CreateAclsRequest::default().with_creations(vec![creation]);
    let answer = admin(cluster).await.call(&request, DEADLINE).await.unwrap();
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
}

/// Takes back what the mirror denied a user, as an operator may who does not know why it is there.
async fn take_back_denials(cluster: &KafkaCluster, user: &str) {
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(TOPIC)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(1)
        .with_host_filter(None)
        .with_principal_filter(Some(text(&format!("User:{user}"))))
        .with_operation(WRITE)
        .with_permission_type(DENY);
    let request = DeleteAclsRequest::default().with_filters(vec![filter]);
    let answer = admin(cluster).await.call(&request, DEADLINE).await.unwrap();
    let found = &answer.filter_results[0];
    assert!(found.error_code == 0 && !found.matching_acls.is_empty(), "{answer:?}");
}

fn login(user: &str) -> Sasl {
    Sasl { mechanism: Mechanism::ScramSha512, username: user.into(), password: "secret".into() }
}

fn told(status: &MirrorStatus) -> String {
    let problems = status.problems.iter().map(|(doing, why)| format!("{doing}: {why}"));
    status.stopped.iter().cloned().chain(problems).collect::<Vec<_>>().join("\n")
}

/// An authorizer on one source broker and three target brokers.
async fn guarded() -> Pair {
    let pair = Pair::start_as(|options| {
        options.authorize(&USERS.map(|user| (user, "secret")), &["root-1", "root-2"]);
        if options.name == "west" {
            options.brokers = 3;
        }
    })
    .await;
    for cluster in [&pair.a, &pair.b] {
        for kind in [TOPIC, GROUP, TRANSACTIONAL_ID] {
            allow(cluster, "primacy", (kind, "*", LITERAL), ALL).await;
        }
    }
    for user in ["m1", "m2", "m3"] {
        allow(&pair.b, user, (TOPIC, "p-", PREFIXED), WRITE).await;
    }
    pair
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_authorizer_brokers_refuse_an_older_owner_before_the_newer_one_writes() {
    let mut pair = guarded().await;
    create_topic(&pair.a, "p-orders", 3, &[]).await;
    create_replicated(&pair.b, "p-orders", 3, 3, &[]).await;
    let base = pair.plan("p-");
    let plan_as = |users: &[&str]| {
        let mut plan = base.clone();
        let as_ours = |writers| Security { sasl: Some(login("primacy")), writers, tls: None };
        plan.source.security = as_ours(Vec::new());
        plan.target.security = as_ours(users.iter().map(|user| login(user)).collect());
        plan
    };
    let plan = || plan_as(&["m1", "m2", "m3"]);

    // Rights that are missing are named, and without them nothing is written.
    let older = Owner::start(plan(), Word::Holds);
    for (operation, name) in [(DESCRIBE, "Describe"), (ALTER, "Alter")] {
        let needed = format!("{name} on cluster kafka-cluster is needed");
        until(&older.mirror, &needed, |s| told(s).contains(&needed)).await;
        assert_eq!(older.mirror.status().writes_as, None);
        allow(&pair.b, "primacy", (CLUSTER, "kafka-cluster", LITERAL), operation).await;
    }
    write_to(&pair.a, "p-orders", &[0, 1, 2], 300, 10, &[]).await;
    until_copied(&older.mirror, &pair.a, "p-orders").await;
    let first = older.mirror.status().writes_as.unwrap();

    let (older, newer) = two_owners(&pair, "p-orders", plan, older).await;
    let second = newer.mirror.status().writes_as.unwrap();
    assert_ne!(first, second);
    let before = ends(&pair.b, "p-orders").await;
    older.tell(Word::Holds);
    let refused = format!("Write on topic p-orders is needed on the standby by User:{first}");
    until(&older.mirror, "a broker refuses it", |s| told(s).contains(&refused)).await;
    // It finds out who is right before it changes anything, and ends.
    until(&older.mirror, "it ends", |s| s.superseded).await;
    assert_eq!(ends(&pair.b, "p-orders").await, before);
    drop(older);
    newer.tell(Word::Holds);
    until_copied(&newer.mirror, &pair.a, "p-orders").await;
    assert_same(&pair, "p-orders").await;

    // Whoever gives an earlier user its right back is told, and it is shut out again before anything is written.
    take_back_denials(&pair.b, &first).await;
    let allowed = format!("User:{first} was allowed to write");
    let status = until(&newer.mirror, "the change is told", |s| {
        told(s).contains(&allowed) && s.writes_as.as_ref().is_some_and(|user| *user != second)
    });
    assert_ne!(status.await.writes_as.as_ref(), Some(&first), "who wrote before is last in turn");
    // Leaders move to brokers that are asked first.
    pair.b.broker(3).unwrap().kill().unwrap();
    write_to(&pair.a, "p-orders", &[0, 1, 2], 300, 10, &[]).await;
    until_copied(&newer.mirror, &pair.a, "p-orders").await;
    let broker = pair.b.broker_mut(3).unwrap();
    broker.spawn().unwrap();
    broker.wait_ready().await.unwrap();
    newer.tell(Word::Lost);

    // A node that knows of no such users is shut out like an older owner.
    let unaware = Mirror::start(plan_as(&[]));
    write(&pair.a, "p-orders", 0, 10, 10, &[]).await;
    let refused = "Write on topic p-orders is needed on the standby";
    until(&unaware, "it is refused", |s| told(s).contains(refused)).await;
    drop(unaware);
    // Denials do not hold for super users: nothing is written as one.
    let before = ends(&pair.b, "p-orders").await;
    let rooted = Mirror::start(MirrorPlan { group: "rooted".into(), ..plan_as(&["root-1", "root-2"]) });
    until(&rooted, "super users are refused", |s| told(s).contains("take it out of super.users")).await;
    assert_eq!(ends(&pair.b, "p-orders").await, before);
    drop(rooted);

    newer.tell(Word::Holds);
    until_copied(&newer.mirror, &pair.a, "p-orders").await;
    assert_same(&pair, "p-orders").await;
    assert_eq!(newer.mirror.status().unaligned().count(), 0);
}
