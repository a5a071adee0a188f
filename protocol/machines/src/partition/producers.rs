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
    let Some(entry) = producers.entry(batch.producer_id).filter(|_| !unchecked) else {
        return Ok(());
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
    if origin == Origin::Client {
        check_sequence(entry, batch)?;
    }
    if entry.transaction_first_offset.is_some() && !batch.transactional {
        return Err(AppendError::InvalidTxnState {
            reason: "a non-transactional batch of a producer whose transaction is open",
        });
    }
    Ok(())
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
