use super::Service;
use futures::Stream;
use primacy_client::v1;
use primacy_wire::Refusal;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use tonic::{Request, Response, Status};

type Watch = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl v1::directory_server::Directory for Service {
    async fn get_primary(
        &self,
        request: Request<v1::GetPrimaryRequest>,
    ) -> Result<Response<v1::Primary>, Status> {
        self.enter_as_leader().await?;
        if request.get_ref().group != "features" {
            let message = "there is no such group".to_owned();
            return Err(Refusal::NotFound { code: "unknown_group".to_owned(), message }.into());
        }
        let mut primary = self.world.primary.lock().unwrap().clone();
        primary.revision = self.world.revision();
        Ok(Response::new(primary))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        self.enter().await?;
        let mut primary = self.world.primary.lock().unwrap().clone();
        primary.revision = self.world.revision();
        let group =
            v1::GroupSummary { group: primary.group.clone(), primary: Some(primary), ..Default::default() };
        let list = v1::ListGroupsResponse { revision: self.world.revision(), groups: vec![group] };
        Ok(Response::new(list))
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Watch>, Status> {
        let mut log = self.world.log.subscribe();
        let from = request.get_ref().from_revision.unwrap_or_else(|| self.world.revision());
        // Counted last: who sees the count knows that nothing is missed from here on.
        self.behaviour.watches.fetch_add(1, Ordering::SeqCst);
        let oldest = self.world.compacted.load(Ordering::SeqCst);
        if from < oldest {
            return Err(Refusal::Compacted { oldest }.into());
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut sent = from;
            let alive = v1::WatchResponse { revision: from, progress: true, ..Default::default() };
            sender.send(Ok(alive)).await.ok()?;
            loop {
                // The last one is sent again: a node that repeats must not disturb a watcher.
                let news: Vec<_> = log
                    .borrow_and_update()
                    .iter()
                    .filter(|e| e.revision >= sent && e.revision > from)
                    .cloned()
                    .collect();
                for entry in news {
                    sent = entry.revision;
                    sender.send(Ok(entry)).await.ok()?;
                }
                log.changed().await.ok()?;
            }
            #[allow(unreachable_code)]
            Some(())
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }
}
