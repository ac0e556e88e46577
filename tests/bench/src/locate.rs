//! Asking the Directory for the primary.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use futures::future::BoxFuture;
use primacy_testbed::{Locate, Target};
use primacy_wire::v1::GetPrimaryRequest;
use primacy_wire::v1::directory_client::DirectoryClient;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_millis(300);

pub(crate) struct SdkLocate {
    group: String,
    nodes: Vec<DirectoryClient<Channel>>,
}

impl SdkLocate {
    pub(crate) async fn new(endpoints: Vec<String>, group: &str) -> Result<Self> {
        let mut nodes = Vec::new();
        for endpoint in endpoints {
            let endpoint =
                Endpoint::from_shared(format!("http://{endpoint}"))?.tcp_nodelay(true).timeout(PATIENCE);
            nodes.push(DirectoryClient::new(endpoint.connect().await?));
        }
        Ok(Self { group: group.to_owned(), nodes })
    }

    async fn ask(&self) -> Result<Target> {
        let mut last = anyhow!("there is no node to ask");
        for node in &self.nodes {
            let request = GetPrimaryRequest { group: self.group.clone(), ..GetPrimaryRequest::default() };
            match node.clone().get_primary(request).await {
                Ok(answer) => {
                    let primary = answer.into_inner();
                    let (member, address) =
                        primary.member.zip(primary.address).context("the group has no primary")?;
                    return Ok(Target::new(member, address));
                }
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

impl Locate for SdkLocate {
    fn locate<'a>(&'a self, _failed: Option<&'a Target>) -> BoxFuture<'a, Result<Target>> {
        self.ask().boxed()
    }
}
