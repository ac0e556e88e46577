//! Who comes in.

use crate::connection::Connection;
use crate::door::Doorway;
use crate::gate::GateOptions;
use crate::stats::{Counters, add};
use primacy_runtime::sleep;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The pause after the system refuses to accept, which it does at once again while file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Entrance {
    options: GateOptions,
    doorway: Arc<Doorway>,
    counters: Arc<Counters>,
}

impl Entrance {
    pub(crate) fn new(options: GateOptions, doorway: Arc<Doorway>, counters: Arc<Counters>) -> Self {
        Self { options, doorway, counters }
    }

    /// Takes in what comes, for ever.
    pub(crate) async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((client, _)) => self.admit(client),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(gate = self.options.name, %error, "the gate cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Leads `client` to the target, or closes it at once.
    fn admit(&self, client: TcpStream) {
        let seat = self.counters.seat(self.options.connections_max);
        let (Some(opening), Some(seat)) = (self.doorway.opening(), seat) else {
            return add(&self.counters.refused, 1);
        };
        add(&self.counters.accepted, 1);
        let connection = Connection { client, opening: opening.clone(), seat };
        opening.run(connection.serve(self.options.connect_within, self.options.proxy_protocol));
    }
}

/// Whether the connection went away before it was accepted, which concerns nobody else.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
