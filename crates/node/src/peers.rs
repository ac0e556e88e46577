//! Channels to the other nodes: one an address, opened when first used, over the runtime's network.

use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// What may be on its way to us unread: a stream that is copied between sites must not wait a round trip for each 64 KiB.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// More addresses than a cluster ever has: those of nodes that are gone are forgotten then.
const CHANNELS_MAX: usize = 64;

/// The channels of this node.
#[derive(Default)]
pub(crate) struct Peers {
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Peers {
    /// The channel to `address` (`HOST:PORT`). None when that is no address.
    pub(crate) fn channel(&self, address: &str) -> Option<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Some(channel.clone());
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let channel = open(address)?;
        channels.insert(address.to_owned(), channel.clone());
        Some(channel)
    }
}

fn open(address: &str) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_WITHIN)
        .keep_alive_while_idle(true);
    let authority = address.to_owned();
    let connector = service_fn(move |_: Uri| {
        let authority = authority.clone();
        async move { primacy_runtime::connect(&authority, CONNECT_WITHIN).await.map(TokioIo::new) }
    });
    Some(endpoint.connect_with_connector_lazy(connector))
}
