//! One connection, from its client to the target of its opening.

use crate::opening::Opening;
use crate::proxy_protocol;
use crate::relay;
use crate::stats::{Seat, add};
use primacy_runtime::timeout;
use rustix::net::sockopt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// When a silent peer is asked whether it is still there, and how often before it counts as gone: as Redis has it.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(100);
const KEEPALIVE_PROBES: u32 = 3;

pub(crate) struct Connection {
    pub(crate) client: TcpStream,
    pub(crate) opening: Arc<Opening>,
    /// Kept until both sockets are closed.
    pub(crate) seat: Seat,
}

impl Connection {
    /// Connects to the target and relays until either side is done.
    pub(crate) async fn serve(self, connect_within: Duration, proxy_protocol: bool) {
        let Connection { client, opening, seat } = self;
        let connecting = timeout(connect_within, TcpStream::connect(opening.target().authority())).await;
        let connected = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut target = match connected {
            Ok(target) => target,
            Err(error) => {
                add(&opening.counters().unreachable, 1);
                tracing::debug!(target = %opening.target(), %error, "the gate's target cannot be reached");
                return;
            }
        };
        if prepare(&client, &mut target, &opening, proxy_protocol).await.is_ok() {
            // How a connection ends is its peers' business: both have seen it.
            let _ = relay::run(client, target, opening).await;
        }
        drop(seat);
    }
}

async fn prepare(
    client: &TcpStream,
    target: &mut TcpStream,
    opening: &Opening,
    proxy_protocol: bool,
) -> io::Result<()> {
    for socket in [client, &*target] {
        socket.set_nodelay(true)?;
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER)?;
        sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY)?;
        sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    }
    if proxy_protocol {
        let header = proxy_protocol::header(client.peer_addr()?, client.local_addr()?);
        opening.check()?;
        target.write_all(&header).await?;
    }
    Ok(())
}
