//! Why a partition's batch was not taken, and the error code that says so.

use machines::partition::AppendError;
use model::ErrorCode;
use wire::batch::{BatchError, ProduceError, RecordError};

use crate::api::leaders::NotHere;
use crate::intercept::Stopped;

/// The bytes of a record of the oldest format, of no key and no value.
const LEAST_RECORD: i32 = 14;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    NotHere(#[from] NotHere),
    #[error("this replica does not lead the partition")]
    NotLeader,
    #[error("the replica is offline")]
    Offline,
    #[error("the disk is full")]
    NoRoom,
    #[error("the leader was lost before it answered")]
    Gone,
    #[error("the replicas did not take it in time")]
    TimedOut,
    #[error("clients do not write to internal topics")]
    InternalTopic,
    #[error("acks must be -1, 0 or 1")]
    RequiredAcks,
    #[error("a transactional batch without a transactional id")]
    NoTransactionalId,
    #[error("transactional batches of more than one producer")]
    SeveralProducers,
    #[error("zstd needs version 7 of the request")]
    ZstdTooOld,
    #[error("no batch for the partition")]
    NoBatch,
    #[error("{0}")]
    Unreadable(#[from] ProduceError),
    #[error("{error}")]
    Batch { error: ProduceError, log_start: i64 },
    #[error("a batch of {size} bytes does not fit a segment of {max}")]
    LargerThanSegment { size: usize, max: i32 },
    #[error(
        "larger than {limit} bytes when decompressed, which is the most of a topic that has an interceptor"
    )]
    NotHeldWhole { limit: usize },
    #[error("{0}")]
    Intercepted(Stopped),
    #[error("{error}")]
    Append { error: AppendError, log_start: i64 },
}

impl Refusal {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            // A topic that was made anew is, to a producer, not the one it means.
            Refusal::NotHere(NotHere::OtherId) => ErrorCode::UnknownTopicId,
            Refusal::NotHere(not_here) => not_here.code(),
            Refusal::NotLeader | Refusal::Gone | Refusal::Intercepted(Stopped::Away) => {
                ErrorCode::NotLeaderOrFollower
            }
            // Clients try again.
            Refusal::Offline | Refusal::NoRoom => ErrorCode::KafkaStorageError,
            Refusal::TimedOut => ErrorCode::RequestTimedOut,
            Refusal::InternalTopic => ErrorCode::InvalidTopicException,
            Refusal::RequiredAcks => ErrorCode::InvalidRequiredAcks,
            Refusal::NoTransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Refusal::SeveralProducers => ErrorCode::InvalidProducerIdMapping,
            Refusal::ZstdTooOld => ErrorCode::UnsupportedCompressionType,
            Refusal::Intercepted(Stopped::Failed | Stopped::Batch(_)) => {
                ErrorCode::UnknownServerError
            }
            Refusal::Intercepted(Stopped::Rejected { .. }) | Refusal::NoBatch => {
                ErrorCode::InvalidRecord
            }
            Refusal::Unreadable(error) | Refusal::Batch { error, .. } => batch_code(error),
            Refusal::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            Refusal::NotHeldWhole { .. } => ErrorCode::MessageTooLarge,
            Refusal::Append { error, .. } => error.code(),
        }
    }

    /// Whether the same batch may be taken when it comes again, for all that is known of it.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Refusal::NotHere(_)
                | Refusal::NotLeader
                | Refusal::Offline
                | Refusal::NoRoom
                | Refusal::Gone
                | Refusal::Intercepted(Stopped::Away)
        )
    }

    /// Kafka tells where the log starts only beside errors that it found while appending.
    pub(super) fn log_start(&self) -> i64 {
        match self {
            Refusal::Batch {
                error: ProduceError::Corrupt(_) | ProduceError::TooLarge { .. },
                ..
            }
            | Refusal::Append {
                error: AppendError::NotLeader | AppendError::FencedLeaderEpoch { .. },
                ..
            } => -1,
            Refusal::Batch { error, .. } if error.grows_too_large() => -1,
            Refusal::Batch { log_start, .. } | Refusal::Append { log_start, .. } => *log_start,
            _ => -1,
        }
    }

    /// Kafka says more than the code where it finds no batch's header, and where single records are at fault.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Refusal::Unreadable(ProduceError::Corrupt(BatchError::InvalidLength(length)))
                if *length < LEAST_RECORD =>
            {
                let least = format!("is less than the minimum record overhead ({LEAST_RECORD})");
                Some(format!("Record size {length} {least}"))
            }
            Refusal::Unreadable(ProduceError::Corrupt(BatchError::UnknownMagic(magic))) => {
                Some(format!("Invalid magic found in record: {magic}"))
            }
            Refusal::Intercepted(Stopped::Away) => None,
            Refusal::Intercepted(stopped) => Some(stopped.to_string()),
            Refusal::NotHeldWhole { .. } => Some(self.to_string()),
            _ => (!self.records().is_empty()).then(|| self.to_string()),
        }
    }

    /// The single records at fault, by their index in the batch, and why.
    pub(super) fn records_at_fault(&self) -> Vec<(i32, String)> {
        match self {
            Refusal::Intercepted(Stopped::Rejected { index, reason }) => {
                vec![(*index, reason.clone())]
            }
            _ => self.records().iter().map(|error| (error.index(), error.to_string())).collect(),
        }
    }

    fn records(&self) -> &[RecordError] {
        match self {
            Refusal::Batch {
                error:
                    ProduceError::InvalidTimestamp(records) | ProduceError::InvalidRecords(records),
                ..
            } => records,
            _ => &[],
        }
    }
}

/// What Kafka stumbles over before it looks at partitions: a length or magic that no batch ever had.
pub(super) fn is_no_batch(error: &BatchError) -> bool {
    match error {
        BatchError::InvalidLength(length) => *length < LEAST_RECORD,
        error => matches!(error, BatchError::UnknownMagic(_)),
    }
}

fn batch_code(error: &ProduceError) -> ErrorCode {
    match error {
        // A bomb is whole, but larger than what is taken.
        error if error.grows_too_large() => ErrorCode::MessageTooLarge,
        ProduceError::Undecodable(_) => ErrorCode::UnknownServerError,
        ProduceError::Corrupt(_) => ErrorCode::CorruptMessage,
        ProduceError::Invalid(_) | ProduceError::InvalidRecords(_) => ErrorCode::InvalidRecord,
        ProduceError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        ProduceError::InvalidTimestamp(_) => ErrorCode::InvalidTimestamp,
    }
}
