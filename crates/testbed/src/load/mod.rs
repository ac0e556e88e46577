//! Load on a Redis group, with a ledger.
//!
//! The problem: an outage shows and a loss counts only under load, and the load must notice both exactly. The idea:
//! each writer appends numbered records to its own list, one at a time, and goes to the next record only when the
//! present one was acknowledged; on an error it looks for the primary again and retries the same record. A record
//! that was written twice is harmless: survivors are counted by number.
//!
//! A load is always bounded, in records and in time.

mod book;
mod crew;
mod link;
mod locate;
mod sentinel_locate;
mod stray;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

pub use locate::{Locate, StaticLocate, Target};
pub use sentinel_locate::SentinelLocate;

use crate::ledger::{Ledger, RecordShape};
use crate::redis_address::Credentials;
use crate::wan::Host;
use book::Book;
use crew::Crew;

/// How much load, and for how long at most.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Writers side by side, each with one record under way.
    pub writers: u16,
    /// Pause of a writer between two records; full speed when `None`.
    pub pace: Option<Duration>,
    /// Bytes added to each record.
    pub pad_bytes: usize,
    /// Each writer stops after this many records.
    pub records_max: u64,
    /// The load stops after this time.
    pub duration_max: Duration,
    /// How long a writer waits for a connection.
    pub connect_timeout: Duration,
    /// How long a writer waits for an acknowledgement before it looks for another primary.
    pub response_timeout: Duration,
    /// Pause between attempts at the same record, from the third on: the second follows at once.
    pub retry_pause: Duration,
    /// Writers' lists are `key_prefix:0`, `key_prefix:1`, ... They should not exist before.
    pub key_prefix: String,
    /// As whom to write; `None` is the default user.
    pub credentials: Option<Credentials>,
    /// Members that each get a direct writer of their own, which tries to write there all the time.
    pub strays: Vec<Target>,
    /// Pause of a direct writer between two attempts.
    pub stray_pace: Duration,
    /// How long a direct writer waits for a connection or an answer.
    pub stray_timeout: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            writers: 4,
            pace: None,
            pad_bytes: 16,
            records_max: 2_000_000,
            duration_max: Duration::from_mins(1),
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(500),
            retry_pause: Duration::from_millis(1),
            key_prefix: "load".to_owned(),
            credentials: None,
            strays: Vec::new(),
            stray_pace: Duration::from_millis(2),
            stray_timeout: Duration::from_millis(100),
        }
    }
}

/// Where a load stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records acknowledged so far.
    pub acked: u64,
    /// Attempts that failed so far; each was, or is being, retried.
    pub failures: u64,
    /// The last acknowledgement: when, and by which member.
    pub last_ack: Option<(Instant, String)>,
    /// The last failure of an attempt.
    pub last_failure: Option<String>,
}

/// A running load. Dropping it stops it at once.
#[derive(Debug)]
pub struct Load {
    book: Arc<Book>,
    crew: Crew,
}

impl Load {
    /// Starts all writers; returns before the first record is acknowledged.
    ///
    /// # Errors
    /// When the options ask for no bound or no writer.
    pub fn start(options: LoadOptions, locate: impl Locate + 'static) -> Result<Self> {
        let book = open_book(&options)?;
        let locate: Arc<dyn Locate> = Arc::new(locate);
        let crew = Crew::here(options, &book, &locate);
        Ok(Self { book, crew })
    }

    /// Starts all writers at a host of a WAN. `locate` is called there, within the runtime of the writers, so that
    /// the connections of what it makes belong to that host too.
    ///
    /// # Errors
    /// As [`Load::start`], and when `locate` fails.
    pub fn start_at<L: Locate + 'static>(
        host: &Host,
        options: LoadOptions,
        locate: impl FnOnce() -> Result<L> + Send + 'static,
    ) -> Result<Self> {
        let book = open_book(&options)?;
        let crew = Crew::at(host, options, &book, move || Ok(Arc::new(locate()?)))?;
        Ok(Self { book, crew })
    }

    /// Where it stands; cheap.
    pub fn progress(&self) -> Progress {
        self.book.progress()
    }

    /// The ledger up to now; the load goes on.
    pub fn ledger(&self) -> Ledger {
        self.book.ledger()
    }

    /// Lets each writer finish the attempt that it is at, and returns the ledger.
    pub async fn stop(self) -> Ledger {
        self.book.close();
        self.finished().await
    }

    /// Waits until the bounds are reached, and returns the ledger.
    ///
    /// The direct writers stop when the last writer has.
    pub async fn finished(mut self) -> Ledger {
        self.crew.done().await;
        self.book.ledger()
    }
}

fn open_book(options: &LoadOptions) -> Result<Arc<Book>> {
    ensure!(options.writers > 0 || !options.strays.is_empty(), "a load needs at least one writer");
    ensure!(options.records_max > 0 && !options.duration_max.is_zero(), "a load needs bounds above zero");
    let shape = RecordShape { key_prefix: options.key_prefix.clone(), pad_bytes: options.pad_bytes };
    Ok(Arc::new(Book::new(shape, usize::from(options.writers), options.strays.len())))
}
