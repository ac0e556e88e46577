//! The witness: a replication connection to the primary that holds its door open, and keeps what it sent.
//!
//! The problem: a primary counts replicas before it accepts a write, and only a connection of ours can be closed the
//! moment a lease ends; and what a primary had sent when it died lies in nobody's hands but its replicas', which may be
//! an ocean behind. The idea: [`Witness`] attaches as a replica would, acknowledges nothing but that it lives, and
//! keeps the stream in a [`Tail`]. [`TailServer`] serves tails to the replicas that are to be promoted.
//!
//! The tail is all that the primary sent when the stream ended by EOF *because the process died*; a connection that the
//! primary closed ends by EOF too. It must not know leases, epochs or commands.

mod attach;
mod keep;
mod options;
mod serve;
mod socket;
mod tail;
mod wire;

pub use options::{WitnessOptions, WitnessStatus};
pub use serve::{TailAccess, TailServer};
pub use tail::{Read, Tail, TailGap};

use crate::Links;
use primacy_core::Moment;
use primacy_core::view::LinkEnd;
use primacy_runtime::{Task, watch};
use socket::Socket;
use std::fmt;
use std::sync::Arc;
use tracing::{debug, info, warn};

/// One replication connection to the primary of one epoch. It reconnects by itself, by partial resync from where its
/// tail ends, until it is closed. Dropping it closes it.
pub struct Witness {
    shared: Arc<Shared>,
    task: Task<()>,
}

struct Shared {
    options: WitnessOptions,
    socket: Socket,
    status: watch::Sender<WitnessStatus>,
}

impl Witness {
    /// Begins to attach, in the background.
    ///
    /// It acknowledges until [`WitnessOptions::until`], by this node's clock, and then closes itself. Nothing is sent
    /// after that moment, also when this process was frozen over it.
    pub fn attach(links: &Links, options: WitnessOptions) -> Self {
        let link = links.link(&options.group, &options.member, &options.address);
        let (status, _) =
            watch::channel(WitnessStatus { detail: "connecting".to_owned(), ..WitnessStatus::default() });
        let socket = Socket::open_until(options.until);
        let shared = Arc::new(Shared { options, socket, status });
        let task = primacy_runtime::spawn(keep::keep_attached(shared.clone(), link));
        Witness { shared, task }
    }

    /// It may go on until then, if that is later. What is over stays over.
    pub fn keep_until(&self, until: Moment) {
        if !self.shared.socket.keep_until(until) {
            self.shared.close(keep::OVER);
        }
    }

    /// What it has at this moment.
    pub fn status(&self) -> WitnessStatus {
        let mut status = self.shared.status.borrow().clone();
        if let Some(tail) = self.tail() {
            status.show(&tail);
        }
        status
    }

    /// Changes of the status: at once, but for the offsets, which follow every 100 ms.
    pub fn changes(&self) -> watch::Receiver<WitnessStatus> {
        self.shared.status.subscribe()
    }

    /// The tail of the present history, once attached.
    pub fn tail(&self) -> Option<Tail> {
        self.shared.socket.tail()
    }

    /// Closes the connection for good. When this returns it is closed and nothing will be sent on it; what had arrived
    /// is in the tail, which stays.
    pub fn close(&self) {
        self.task.abort();
        self.shared.close("closed by us");
    }

    /// [`Witness::close`]; then the tail takes nothing more, and its end is final.
    pub fn seal(&self) -> WitnessStatus {
        self.close();
        let tail = self.tail();
        if let Some(tail) = &tail {
            tail.seal();
        }
        self.shared.status.send_if_modified(|status| {
            let news = !status.sealed;
            if let Some(tail) = &tail {
                status.show(tail);
            }
            status.sealed = true;
            news
        });
        self.status()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("member", &self.shared.options.member).finish_non_exhaustive()
    }
}

impl WitnessStatus {
    fn show(&mut self, tail: &Tail) {
        self.replid = Some(tail.replid());
        self.start_bytes = tail.start();
        self.end_bytes = tail.end();
    }
}

impl Shared {
    fn close(&self, why: &str) {
        let ended = self.socket.shut();
        self.change(|status| {
            if status.attached {
                status.ended = ended;
            }
            status.attached = false;
            status.closed = true;
            why.clone_into(&mut status.detail);
        });
    }

    /// Once closed, nothing changes any more.
    fn change(&self, change: impl FnOnce(&mut WitnessStatus)) {
        self.status.send_if_modified(|status| {
            if status.closed {
                return false;
            }
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    fn met(&self, run_id: &str) {
        self.change(|status| status.run_id = Some(run_id.to_owned()));
    }

    fn copying(&self) {
        let WitnessOptions { group, member, .. } = &self.options;
        warn!(%group, %member, "the primary sends a full copy to its witness, which is thrown away");
        self.change(|status| {
            status.copies += 1;
            "a full copy is thrown away".clone_into(&mut status.detail);
        });
    }

    fn attached(&self, tail: &Tail) {
        if !self.status.borrow().attached {
            let WitnessOptions { group, member, .. } = &self.options;
            info!(%group, %member, replid = tail.replid(), offset = tail.end(), "the witness is attached");
        }
        self.change(|status| {
            status.attached = true;
            status.ended = None;
            "attached".clone_into(&mut status.detail);
            status.show(tail);
        });
    }

    fn ended(&self, end: LinkEnd) {
        let WitnessOptions { group, member, .. } = &self.options;
        info!(%group, %member, ?end, "the witness's stream ended");
        let tail = self.socket.tail();
        self.change(|status| {
            status.attached = false;
            status.ended = Some(end);
            status.detail = format!("the stream ended ({end:?})");
            if let Some(tail) = &tail {
                status.show(tail);
            }
        });
    }

    fn failed(&self, detail: String) {
        let WitnessOptions { group, member, .. } = &self.options;
        if self.status.borrow().detail != detail {
            debug!(%group, %member, "the witness is not attached: {detail}");
        }
        self.change(|status| status.detail = detail);
    }
}
