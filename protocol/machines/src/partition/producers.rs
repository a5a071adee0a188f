//! What a partition accepts of a producer: its epoch, sequences and transaction must fit what is known of it.
//!
//! Source: `ProducerAppendInfo` of Kafka's storage module; KIP-98, KIP-890.

use model::producers::{BatchInfo, ProducerEntry, Producers, increment_sequence};

use super::{AppendError, Origin};

/// Whether a batch may follow what is known of its producer.
pub(super) fn check(
    producers: &Producers,
    batch: &BatchInfo,
    origin: Origin,
) -> Result<(), AppendError> {
    let unchecked = !batch.has_producer() || (batch.control && batch.marker.is_none());
    if unchecked {
        return Ok(());
    }
    let Some(entry) = producers.entry(batch.producer_id) else {
        return check_first(batch, origin);
    };
    check_epoch(entry, batch, origin)?;
    if let Some(marker) = batch.marker {
        if entry.coordinator_epoch > marker.coordinator_epoch && origin != Origin::Replication {
            return Err(AppendError::TransactionCoordinatorFenced {
                given: marker.coordinator_epoch,
                known: entry.coordinator_epoch,
            });
        }
        return Ok(());
    }
    if origin.is_client() {
        check_sequence(entry, batch)?;
    }
    if entry.transaction_first_offset.is_some() && !batch.transactional {
        return Err(AppendError::InvalidTxnState {
            reason: "a non-transactional batch of a producer whose transaction is open",
        });
    }
    Ok(())
}

/// Of a producer that is not known any sequence is taken, as its records may have been deleted; but not before one that is yet to come.
fn check_first(batch: &BatchInfo, origin: Origin) -> Result<(), AppendError> {
    let given = batch.base_sequence;
    match origin {
        Origin::ClientBehind(expected) if given > expected => {
            Err(AppendError::OutOfOrderSequence { given, expected })
        }
        _ => Ok(()),
    }
}

fn check_epoch(
    entry: &ProducerEntry,
    batch: &BatchInfo,
    origin: Origin,
) -> Result<(), AppendError> {
    if batch.producer_epoch < entry.epoch && origin != Origin::Replication {
        return Err(AppendError::InvalidProducerEpoch {
            given: batch.producer_epoch,
            known: entry.epoch,
        });
    }
    Ok(())
}

fn check_sequence(entry: &ProducerEntry, batch: &BatchInfo) -> Result<(), AppendError> {
    if entry.epoch.0 < 0 {
        return Ok(());
    }
    let expected = if batch.producer_epoch == entry.epoch {
        increment_sequence(entry.last_sequence(), 1)
    } else {
        0
    };
    if batch.base_sequence == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence { given: batch.base_sequence, expected })
}
