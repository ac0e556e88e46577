//! A direct writer: bound to one member, it tries to write there all the time, whoever is primary.
//!
//! It stands for the client that never heard of the change, and finds members that accept writes when they must not.

use std::sync::Arc;
use std::time::Instant;

use super::LoadOptions;
use super::book::Book;
use super::link::{Failure, Links};

pub(super) async fn run(index: usize, options: Arc<LoadOptions>, book: Arc<Book>, until: Instant) {
    let Some(target) = options.strays.get(index) else { return };
    let mut links = Links::new(options.credentials.clone(), options.stray_timeout, options.stray_timeout);
    let key = format!("{}:stray:{}", options.key_prefix, target.member);
    let mut n = 0;
    while !book.is_closed() && !book.writers_are_done() && Instant::now() < until {
        // One key, set again and again: a direct writer must not make the data grow.
        let mut command = redis::cmd("SET");
        command.arg(&key).arg(n);
        match links.write(target, &command).await {
            Ok(written) => {
                book.stray_acknowledged(index, &target.member, n, &written);
                n += 1;
            }
            Err((Failure::Refused, _)) => book.stray_refused(index, &target.member),
            Err((Failure::Silent, _)) => {}
        }
        tokio::time::sleep(options.stray_pace).await;
    }
}
