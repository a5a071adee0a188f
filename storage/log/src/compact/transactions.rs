//! Which transactions are open where the cleaner stands, and which markers must stay (Kafka: `CleanedTransactionMetadata`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use wire::batch::{BatchHeader, ControlRecordType};

use crate::txn_index::AbortedTransaction;

#[derive(Debug, Default)]
pub(crate) struct CleanedTransactions {
    ongoing_committed: BTreeSet<i64>,
    ongoing_aborted: BTreeMap<i64, OngoingAborted>,
    /// Those that begin further on, by first offset.
    ahead: BinaryHeap<Reverse<Ahead>>,
}

#[derive(Debug)]
struct OngoingAborted {
    txn: AbortedTransaction,
    batch_seen: bool,
}

#[derive(Debug)]
struct Ahead(AbortedTransaction);

impl Ahead {
    fn key(&self) -> (i64, i64) {
        (self.0.first_offset, self.0.producer_id.0)
    }
}

impl PartialEq for Ahead {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ahead {}

impl PartialOrd for Ahead {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ahead {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// What becomes of a control batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Marker {
    Discard,
    Keep,
    /// An abort marker whose transaction still has batches: its entry goes into the cleaned segment's index.
    KeepWithEntry(AbortedTransaction),
}

impl CleanedTransactions {
    pub fn add_aborted(&mut self, txns: impl IntoIterator<Item = AbortedTransaction>) {
        self.ahead.extend(txns.into_iter().map(|txn| Reverse(Ahead(txn))));
    }

    /// Whether batches were seen of a transaction of this producer that did not end yet.
    pub fn has_batches(&self, producer_id: i64) -> bool {
        let aborted = self.ongoing_aborted.get(&producer_id);
        self.ongoing_committed.contains(&producer_id) || aborted.is_some_and(|txn| txn.batch_seen)
    }

    fn begin_up_to(&mut self, offset: i64) {
        while self.ahead.peek().is_some_and(|Reverse(ahead)| ahead.0.first_offset <= offset) {
            let Some(Reverse(Ahead(txn))) = self.ahead.pop() else { return };
            let begun = OngoingAborted { txn, batch_seen: false };
            self.ongoing_aborted.entry(begun.txn.producer_id.0).or_insert(begun);
        }
    }

    /// Whether a data batch belongs to an aborted transaction, so that its records can go.
    pub fn on_batch(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        if let Some(aborted) = self.ongoing_aborted.get_mut(&header.producer_id) {
            aborted.batch_seen = true;
            return true;
        }
        self.ongoing_committed.insert(header.producer_id);
        false
    }

    /// `kind` is `None` for a batch whose record was cleaned away already.
    pub fn on_control_batch(
        &mut self,
        header: &BatchHeader,
        kind: Option<Option<ControlRecordType>>,
    ) -> Marker {
        self.begin_up_to(header.last_offset());
        match kind {
            None => Marker::Discard,
            Some(Some(ControlRecordType::Abort)) => {
                match self.ongoing_aborted.remove(&header.producer_id) {
                    Some(aborted) if aborted.batch_seen => Marker::KeepWithEntry(aborted.txn),
                    _ => Marker::Discard,
                }
            }
            Some(Some(ControlRecordType::Commit)) => {
                match self.ongoing_committed.remove(&header.producer_id) {
                    true => Marker::Keep,
                    false => Marker::Discard,
                }
            }
            Some(_) => Marker::Keep,
        }
    }
}
