//! Which batches belong to transactions that were aborted, as a consumer that reads committed records finds out.

use super::Header;
use std::collections::BTreeSet;

/// The aborted transactions that one answer named.
#[derive(Debug, Default)]
pub(crate) struct Aborted {
    /// Where each begins, and its producer; the next one last.
    coming: Vec<(i64, i64)>,
    open: BTreeSet<i64>,
}

impl Aborted {
    /// From pairs of a producer and the first offset of its transaction.
    pub(crate) fn new(transactions: Vec<(i64, i64)>) -> Aborted {
        let mut coming: Vec<_> =
            transactions.into_iter().map(|(producer, first)| (first, producer)).collect();
        coming.sort_unstable_by(|a, b| b.cmp(a));
        Aborted { coming, open: BTreeSet::new() }
    }

    /// Whether this batch, each being asked about in order, is to be hidden.
    pub(crate) fn covers(&mut self, batch: &Header) -> bool {
        while let Some((_, producer)) = self.coming.pop_if(|(first, _)| *first < batch.end()) {
            self.open.insert(producer);
        }
        if batch.is_control() {
            self.open.remove(&batch.producer_id);
            return false;
        }
        batch.is_transactional() && self.open.contains(&batch.producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: i64, producer_id: i64, attributes: i16) -> Header {
        let (last_offset_delta, count) = (0, 1);
        Header { base_offset, size: 70, attributes, last_offset_delta, max_timestamp: 0, producer_id, count }
    }

    #[test]
    fn a_transaction_is_hidden_from_its_first_record_to_its_marker() {
        const RECORDS: i16 = 0x10;
        const MARKER: i16 = 0x30;
        let mut aborted = Aborted::new(vec![(7, 12), (7, 2)]);
        let batches = [
            (batch(1, 7, RECORDS), false),
            (batch(2, 7, RECORDS), true),
            (batch(3, 8, RECORDS), false),
            (batch(4, 7, RECORDS), true),
            (batch(5, 7, MARKER), false),
            (batch(6, 7, RECORDS), false),
            (batch(12, 7, RECORDS), true),
            (batch(13, 7, 0), false),
        ];
        for (batch, hidden) in batches {
            assert_eq!(aborted.covers(&batch), hidden, "{batch:?}");
        }
    }
}
