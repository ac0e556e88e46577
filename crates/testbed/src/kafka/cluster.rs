//! A cluster of one or three brokers.

use std::iter;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use futures::future::try_join_all;
use rand::RngExt;

use super::broker::{Broker, Ports};
use super::install::{Jvm, KafkaVersion};
use crate::ports;
use crate::wan::Host;

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// What messages call it: the member's name.
    pub name: String,
    /// Its own directory, created when missing: configurations, logs, data.
    pub dir: PathBuf,
    /// How many brokers, each of which is a controller too; their ids count from 1.
    pub brokers: u16,
    /// Which Kafka.
    pub version: KafkaVersion,
    /// Its id, 22 characters of base64; a new one unless it is given.
    pub cluster_id: String,
    /// The clients' ports by broker; free ones when it is empty.
    pub ports: Vec<u16>,
    /// The protocol of the listener for clients: `PLAINTEXT`, `SASL_PLAINTEXT`, `SSL`, `SASL_SSL`. What that needs
    /// besides goes into `config`.
    pub protocol: String,
    /// Lines of server.properties after ours, which they override.
    pub config: Vec<String>,
    /// Arguments of the tool that formats the directories: users of SCRAM, for instance.
    pub format: Vec<String>,
    /// Variables of the brokers' processes.
    pub env: Vec<(String, String)>,
    /// Memory and compiler of the brokers.
    pub jvm: Jvm,
    /// Where brokers run, by id, each with the address of its host; the first serves those that have none of their
    /// own. On 127.0.0.1 of this machine when it is empty.
    pub hosts: Vec<Host>,
}

impl KafkaOptions {
    /// One small broker on free ports, without any security.
    pub fn new(name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            dir: dir.into(),
            brokers: 1,
            version: KafkaVersion::V4_1,
            cluster_id: random_id(),
            ports: Vec::new(),
            protocol: "PLAINTEXT".to_owned(),
            config: Vec::new(),
            format: Vec::new(),
            env: Vec::new(),
            jvm: Jvm::small(),
            hosts: Vec::new(),
        }
    }

    /// Clients log in by SCRAM-SHA-512, as one of these users with their passwords, and an authorizer says what they may
    /// do. `supers` may do everything, as the brokers themselves may.
    pub fn authorize(&mut self, users: &[(&str, &str)], supers: &[&str]) {
        let all: Vec<String> =
            iter::once(&"ANONYMOUS").chain(supers).map(|user| format!("User:{user}")).collect();
        "SASL_PLAINTEXT".clone_into(&mut self.protocol);
        self.config.extend([
            "sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
            "listener.name.client.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;"
                .to_owned(),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            format!("super.users={}", all.join(";")),
        ]);
        for (user, password) in users {
            let user = format!("SCRAM-SHA-512=[name={user},password={password}]");
            self.format.extend(["--add-scram".to_owned(), user]);
        }
    }
}

/// A cluster that this process started. Dropping it kills its brokers.
#[derive(Debug)]
pub struct KafkaCluster {
    name: String,
    cluster_id: String,
    brokers: Vec<Broker>,
}

impl KafkaCluster {
    /// Starts all brokers at once and waits until each of them serves.
    ///
    /// # Errors
    /// When Kafka is not installed or does not come up; the message carries the end of the broker's log.
    pub async fn start(options: KafkaOptions) -> Result<Self> {
        ensure!(options.brokers > 0, "a cluster needs a broker");
        let given = options.ports.iter().copied().map(Some).chain(std::iter::repeat(None));
        let ports = given.take(options.brokers.into()).map(ports_of).collect::<Result<Vec<_>>>()?;
        let ids = 1..=i32::from(options.brokers);
        let mut brokers = ids.map(|id| Broker::prepare(&options, id, &ports)).collect::<Result<Vec<_>>>()?;
        try_join_all(brokers.iter().map(Broker::format)).await?;
        for broker in &mut brokers {
            broker.spawn()?;
        }
        let cluster = Self { name: options.name, cluster_id: options.cluster_id, brokers };
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// The name given in the options.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that its brokers tell.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// `host:port` of each broker, for clients.
    pub fn bootstrap(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| broker.address().to_owned()).collect()
    }

    /// The same of the listener between brokers, which wants no login: for a test that looks on.
    pub fn internal_bootstrap(&self) -> Vec<String> {
        self.brokers.iter().map(|broker| broker.internal_address().to_owned()).collect()
    }

    /// All its brokers, by id.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// One broker by its id, from 1.
    pub fn broker(&self, id: i32) -> Result<&Broker> {
        self.brokers
            .iter()
            .find(|broker| broker.id() == id)
            .ok_or_else(|| anyhow!("{} has no broker {id}", self.name))
    }

    /// One broker by its id, to start it again.
    pub fn broker_mut(&mut self, id: i32) -> Result<&mut Broker> {
        self.brokers
            .iter_mut()
            .find(|broker| broker.id() == id)
            .ok_or_else(|| anyhow!("there is no broker {id}"))
    }

    /// SIGKILL for every broker; returns when all are gone.
    pub fn kill(&self) -> Result<()> {
        self.brokers.iter().try_for_each(Broker::kill)
    }

    /// SIGSTOP for every broker.
    pub fn freeze(&self) -> Result<()> {
        self.brokers.iter().try_for_each(Broker::freeze)
    }

    /// SIGCONT for every broker.
    pub fn thaw(&self) -> Result<()> {
        self.brokers.iter().try_for_each(Broker::thaw)
    }

    /// Kills what runs, starts every broker again with its data, and waits until each serves.
    pub async fn restart(&mut self) -> Result<()> {
        for broker in &mut self.brokers {
            broker.spawn()?;
        }
        self.wait_ready().await
    }

    /// Waits until every broker says that it serves.
    pub async fn wait_ready(&self) -> Result<()> {
        try_join_all(self.brokers.iter().map(Broker::wait_ready)).await.map(drop)
    }
}

fn ports_of(client: Option<u16>) -> Result<Ports> {
    let [internal, controller] = ports::free_many()?;
    Ok(Ports { client: client.map_or_else(ports::free, Ok)?, internal, controller })
}

/// 16 bytes of base64 without padding, which must not begin with a dash: tools would take it for an option.
fn random_id() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = rand::rng();
    let mut id = String::from("P");
    for _ in 0..20 {
        id.push(char::from(DIGITS[random.random_range(0..DIGITS.len())]));
    }
    // The last digit carries two bits alone.
    id.push('A');
    id
}
