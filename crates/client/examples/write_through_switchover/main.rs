//! Writes to a Redis group for a while, through whatever happens to its primary, and says how long the slowest write
//! took. The caller of `Writer::write` sees latency and no error.
//!
//! ```text
//! cargo run -p primacy-client --example write_through_switchover -- 127.0.0.1:7101,127.0.0.1:7111 features 10
//! primacy switchover features        # meanwhile, in another terminal
//! ```

#![allow(clippy::print_stdout, reason = "it is a program for people")]

mod writer;

use primacy_client::Client;
use std::error::Error;
use std::time::{Duration, Instant};
use writer::Writer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let (Some(endpoints), Some(group)) = (args.next(), args.next()) else {
        return Err("usage: write_through_switchover HOST:PORT,... GROUP [SECONDS]".into());
    };
    let seconds = args.next().map_or(Ok(10), |s| s.parse())?;
    let client = Client::connect(endpoints.split(',')).await?;
    let mut writer = Writer::new(client, group.clone());

    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut count, mut slowest, mut last_address) = (0u64, Duration::ZERO, None);
    while Instant::now() < end {
        let begun = Instant::now();
        let command = redis::cmd("SET").arg(format!("written:{}", count % 10_000)).arg(count).to_owned();
        writer.write(&command, Duration::from_secs(30)).await?;
        slowest = slowest.max(begun.elapsed());
        count += 1;
        let address = writer.address().map(str::to_owned);
        if address != last_address {
            println!(
                "write {count} went to {} after {:.1?}",
                address.as_deref().unwrap_or("-"),
                begun.elapsed()
            );
            last_address = address;
        }
    }
    println!("{count} writes to {group}, no error, the slowest took {slowest:.1?}");
    Ok(())
}
