//! All gRPC services on one port.

use super::Shared;
use super::admin::AdminService;
use super::directory::DirectoryService;
use super::guests::{Guests, Limits, Silence};
use super::site::SiteService;
use primacy_wire::FILE_DESCRIPTOR_SET;
use primacy_wire::v1::admin_server::AdminServer;
use primacy_wire::v1::directory_server::DirectoryServer;
use primacy_wire::v1::site_server::SiteServer;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};

/// The largest request that a client may send.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// What other nodes send: the sightings of every member.
const REPORT_BYTES_MAX: usize = 16 << 20;
/// Requests at once on one connection.
const STREAMS_MAX: u32 = 1_024;
/// Who connects speaks first.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(10);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// Serves until `stop` is done and the requests under way have ended.
pub(crate) async fn serve<H: Health>(
    shared: Arc<Shared>,
    listener: TcpListener,
    health: HealthServer<H>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let mut server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_WITHIN));
    let router = server
        .add_service(shared.consensus.raft_service())
        .add_service(
            DirectoryServer::new(DirectoryService(shared.clone()))
                .max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            AdminServer::new(AdminService(shared.clone())).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(SiteServer::new(SiteService(shared)).max_decoding_message_size(REPORT_BYTES_MAX))
        .add_service(health);
    let router = match reflection.build_v1() {
        Ok(service) => router.add_service(service),
        Err(error) => {
            tracing::warn!(%error, "no reflection");
            router
        }
    };
    let guests = Guests::new(listener, Limits::new(Silence::BeforeFirst(FIRST_WORD_WITHIN)), "grpc");
    let incoming = futures::stream::unfold(guests, |mut guests| async move {
        let (guest, _) = guests.next().await;
        Some((Ok::<_, Infallible>(guest), guests))
    });
    router.serve_with_incoming_shutdown(incoming, stop).await
}
