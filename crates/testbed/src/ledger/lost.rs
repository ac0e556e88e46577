//! The loss: records that were acknowledged and are not there any more.

use std::time::Instant;

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;

use super::{Ack, Ledger, Page, RecordShape};
use crate::redis_address::RedisAddress;

const ENTRIES_PER_READ: u64 = 10_000;

/// A record that was acknowledged and is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRecord {
    /// Index of the writer.
    pub writer: usize,
    /// Number of the record in the writer's sequence.
    pub n: u64,
    /// When it was acknowledged.
    pub at: Instant,
    /// Who acknowledged it.
    pub member: String,
    /// Its bytes in the replication stream.
    pub bytes: u64,
}

/// All records that were acknowledged and are missing on a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// One writer after the other, in the order of their numbers.
    pub records: Vec<LostRecord>,
}

impl Lost {
    /// How many.
    pub fn count(&self) -> u64 {
        self.records.len() as u64
    }

    /// How many bytes of the replication stream they were. The stream also carries what was not acknowledged, so a
    /// loss that is reported in bytes of the stream is at least this.
    pub fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.bytes).sum()
    }

    /// Those that were acknowledged after `from` and up to `to`: the part that belongs to one event.
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        let within = |record: &&LostRecord| record.at > from && record.at <= to;
        Self { records: self.records.iter().filter(within).cloned().collect() }
    }
}

impl Ledger {
    /// Compares the ledger with what the server at `primary` has. The load may go on meanwhile.
    ///
    /// # Errors
    /// When the lists cannot be read: the loss is then unknown.
    pub async fn lost(&self, primary: &RedisAddress) -> Result<Lost> {
        let mut connection = primary.connect().await?;
        let mut lost = Lost::default();
        for (writer, page) in self.writers.iter().enumerate() {
            let survived =
                survivors(&mut connection, &self.shape.key(writer), page).await.with_context(|| {
                    format!("cannot read the records of writer {writer} from {}", primary.address)
                })?;
            for entry in page.entries.iter().filter(|entry| !survived[entry.n as usize]) {
                let Ack { n, at, member, .. } = self.ack(writer, entry);
                let bytes = self.shape.stream_bytes(writer, n);
                lost.records.push(LostRecord { writer, n, at, member: member.to_owned(), bytes });
            }
        }
        Ok(lost)
    }
}

/// For each number up to the last that was acknowledged: whether the list has it.
async fn survivors(connection: &mut MultiplexedConnection, key: &str, page: &Page) -> Result<Vec<bool>> {
    let last = page.entries.last().map_or(0, |entry| entry.n) as usize;
    let mut survived = vec![false; last + 1];
    let mut start = 0;
    loop {
        let stop = start + ENTRIES_PER_READ - 1;
        let values: Vec<String> =
            redis::cmd("LRANGE").arg(key).arg(start).arg(stop).query_async(connection).await?;
        for n in values.iter().filter_map(|value| number_of(value)) {
            if let Some(slot) = survived.get_mut(n) {
                *slot = true;
            }
        }
        // A writer that goes on only appends, so a short read is the end of what matters.
        if (values.len() as u64) < ENTRIES_PER_READ {
            return Ok(survived);
        }
        start += ENTRIES_PER_READ;
    }
}

fn number_of(value: &str) -> Option<usize> {
    value.split(':').next()?.parse().ok()
}

impl RecordShape {
    /// The list of a writer.
    pub(crate) fn key(&self, writer: usize) -> String {
        format!("{}:{writer}", self.key_prefix)
    }

    /// The value of record `n`.
    pub(crate) fn value(&self, n: u64) -> String {
        let mut value = format!("{n}:");
        value.extend(std::iter::repeat_n('x', self.pad_bytes));
        value
    }

    /// Bytes of `RPUSH key value` as Redis writes it to its replicas.
    fn stream_bytes(&self, writer: usize, n: u64) -> u64 {
        let value_bytes = n.to_string().len() + 1 + self.pad_bytes;
        let bulk = |bytes: usize| 1 + bytes.to_string().len() + 2 + bytes + 2;
        ("*3\r\n".len() + bulk("RPUSH".len()) + bulk(self.key(writer).len()) + bulk(value_bytes)) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_command() {
        let shape = RecordShape { key_prefix: "load".into(), pad_bytes: 3 };
        let wire = "*3\r\n$5\r\nRPUSH\r\n$6\r\nload:7\r\n$6\r\n12:xxx\r\n";
        assert_eq!(shape.value(12), "12:xxx");
        assert_eq!(shape.stream_bytes(7, 12), wire.len() as u64);
    }
}
