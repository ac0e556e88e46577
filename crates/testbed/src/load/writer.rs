//! A writer: one sequence of records, each retried until a primary acknowledges it.

use std::sync::Arc;
use std::time::Instant;

use super::book::Book;
use super::link::{Failure, Links};
use super::{LoadOptions, Locate, Target};

pub(super) async fn run(
    index: usize,
    options: Arc<LoadOptions>,
    book: Arc<Book>,
    locate: Arc<dyn Locate>,
    until: Instant,
) {
    let links = Links::new(options.credentials.clone(), options.connect_timeout, options.response_timeout);
    let mut writer = Writer { index, options, book: book.clone(), locate, until, links, primary: None };
    for n in 1..=writer.options.records_max {
        if !writer.write(n).await {
            break;
        }
        if let Some(pace) = writer.options.pace {
            tokio::time::sleep(pace).await;
        }
    }
    book.writer_done();
}

struct Writer {
    index: usize,
    options: Arc<LoadOptions>,
    book: Arc<Book>,
    locate: Arc<dyn Locate>,
    until: Instant,
    links: Links,
    /// Where the last record was acknowledged.
    primary: Option<Target>,
}

impl Writer {
    /// Writes record `n` until it is acknowledged; false when the load ended first.
    async fn write(&mut self, n: u64) -> bool {
        let mut command = redis::cmd("RPUSH");
        command.arg(self.book.shape.key(self.index)).arg(self.book.shape.value(n));
        let mut failed: Option<Target> = None;
        let mut attempts = 0_u32;
        loop {
            if self.book.is_closed() || Instant::now() >= self.until {
                return false;
            }
            if attempts > 1 {
                tokio::time::sleep(self.options.retry_pause).await;
            }
            attempts += 1;
            let Some(target) = self.find_primary(failed.as_ref()).await else { continue };
            match self.links.write(&target, &command).await {
                Ok(written) => {
                    self.book.acknowledged(self.index, &target.member, n, &written);
                    self.primary = Some(target);
                    return true;
                }
                Err((failure, reason)) => {
                    self.book.failed(self.index, reason);
                    if failure == Failure::Refused {
                        self.book.refused(self.index, &target.member);
                    }
                    failed = Some(target);
                }
            }
        }
    }

    async fn find_primary(&mut self, failed: Option<&Target>) -> Option<Target> {
        if let Some(primary) = self.primary.take() {
            return Some(primary);
        }
        match self.locate.locate(failed).await {
            Ok(target) => Some(target),
            Err(error) => {
                self.book.failed(self.index, format!("{error:#}"));
                None
            }
        }
    }
}
