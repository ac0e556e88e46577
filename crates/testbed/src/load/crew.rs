//! The clients of a load: tasks of the runtime that started it, or of a thread at a host of a WAN.
//!
//! A connection belongs to the network of the thread that creates it, and tasks wander between threads. So a crew at
//! a host has a runtime of one thread, and that thread is in the host's network.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::book::Book;
use super::{LoadOptions, Locate, stray, writer};
use crate::wan::Host;

/// Running clients. Dropping it stops them at once.
#[derive(Debug)]
pub(super) enum Crew {
    /// On the runtime of whoever started them.
    Here(JoinSet<()>),
    /// On a thread of their own.
    At {
        /// Dropping it stops them.
        _stay: oneshot::Sender<()>,
        done: oneshot::Receiver<()>,
    },
}

impl Crew {
    pub(super) fn here(options: LoadOptions, book: &Arc<Book>, locate: &Arc<dyn Locate>) -> Self {
        Self::Here(clients(options, book, locate))
    }

    pub(super) fn at<L: Locate + 'static>(
        host: &Host,
        options: LoadOptions,
        book: &Arc<Book>,
        locate: impl FnOnce() -> Result<Arc<L>> + Send + 'static,
    ) -> Result<Self> {
        let (stay, left) = oneshot::channel();
        let (finished, done) = oneshot::channel();
        let (started, start) = channel();
        let (host, book) = (host.clone(), book.clone());
        std::thread::Builder::new().name(format!("load at {}", host.name())).spawn(move || {
            let runtime = host
                .join()
                .and_then(|()| Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?));
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                let locate = match locate() {
                    Ok(locate) => locate,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let mut clients = clients(options, &book, &(locate as Arc<dyn Locate>));
                drop(started.send(Ok(())));
                tokio::select! {
                    () = all(&mut clients) => {}
                    _ = left => {}
                }
            });
            // Whoever waits sees the thread's connections closed.
            drop(runtime);
            let _ = finished.send(());
        })?;
        start.recv().map_err(|_| anyhow!("the thread of the load has ended"))??;
        Ok(Self::At { _stay: stay, done })
    }

    /// Waits until all have ended.
    pub(super) async fn done(&mut self) {
        match self {
            Self::Here(clients) => all(clients).await,
            // Without an answer the thread has panicked, and is done.
            Self::At { done, .. } => drop(done.await),
        }
    }
}

fn clients(options: LoadOptions, book: &Arc<Book>, locate: &Arc<dyn Locate>) -> JoinSet<()> {
    let options = Arc::new(options);
    let until = Instant::now() + options.duration_max;
    let mut clients = JoinSet::new();
    for index in 0..usize::from(options.writers) {
        clients.spawn(writer::run(index, options.clone(), book.clone(), locate.clone(), until));
    }
    for index in 0..options.strays.len() {
        clients.spawn(stray::run(index, options.clone(), book.clone(), until));
    }
    clients
}

async fn all(clients: &mut JoinSet<()>) {
    while clients.join_next().await.is_some() {}
}
