//! From an answer to the partitions: each takes in what came for it, or is brought to where it can be fetched again.
//!
//! Source: `AbstractFetcherThread.processFetchRequest`, `fetchOffsetAndTruncate`.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use machines::fetch_session::{FetchKey, TopicKey};
use machines::partition::EpochEnd;
use model::{ErrorCode, LeaderEpoch};
use runtime::{Answer, Ref, Reply};
use wire::Records;
use wire::batch::{BatchError, RecordBatch, batches};
use wire::fetch_response::{FetchableTopicResponse, PartitionData};

use super::Key;
use super::assigned::Assigned;
use super::fetcher::FetcherMsg;
use super::leader::{AskError, EARLIEST, LATEST, Leader};
use crate::partition::{Cut, FollowError, FollowResult, PartitionMsg, Replicate, Truncate};

/// For the syncs of partitions that wait for them, all together: a disk that is well needs less.
const PATIENCE: Duration = Duration::from_millis(500);

/// What an answer says of one partition.
pub(super) struct Found {
    pub(super) key: FetchKey,
    pub(super) data: PartitionData,
}

impl Found {
    pub(super) fn size(&self) -> usize {
        match &self.data.records {
            Some(Records::Bytes(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

pub(super) fn found(topics: Vec<FetchableTopicResponse>) -> Vec<Found> {
    let each = topics.into_iter().flat_map(|topic| {
        let id = topic.topic_id;
        topic.partitions.into_iter().map(move |data| {
            let key = FetchKey { topic: TopicKey::Id(id), partition: data.partition_index };
            Found { key, data }
        })
    });
    each.collect()
}

/// What became of one partition.
pub(super) enum Took {
    Taken {
        lag: i64,
    },
    /// Its actor has failed, or is not there.
    Down,
    Refused(FollowError),
    /// It is fetched again after a while.
    Retry(String),
    /// The leader has a newer leader epoch, of which this broker is to hear: as usual where leaders change.
    Fenced,
    /// There is no use in trying again.
    Failed(String),
}

/// Tells the fetcher when it is done, also where it is not: a fetcher must not wait for ever.
pub(super) struct Task(Option<Ref<FetcherMsg>>);

impl Task {
    pub(super) fn new(to: Ref<FetcherMsg>) -> Task {
        Task(Some(to))
    }

    pub(super) async fn done(mut self, message: FetcherMsg) {
        if let Some(to) = self.0.take() {
            let _ = to.send(message).await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            let _ = to.send_now(FetcherMsg::Lost);
        }
    }
}

/// A partition, what was asked for it and what came.
pub(super) type Taking = (Key, Assigned, i64, PartitionData);

/// A partition whose actor has what came, and tells when it has taken that in.
pub(super) struct Asked {
    pub(super) key: Key,
    pub(super) leader_epoch: LeaderEpoch,
    /// The leader's.
    high_watermark: i64,
    answer: Answer<FollowResult>,
}

impl Asked {
    pub(super) async fn took(&mut self) -> Took {
        match self.answer.come().await {
            Ok(Ok(end)) => Took::Taken { lag: (self.high_watermark - end.offset).max(0) },
            Ok(Err(error)) => Took::Refused(error),
            Err(_) => Took::Down,
        }
    }
}

/// All take in what came at the same time; then those are brought back whose offset the leader does not have. Who waits for its disk
/// for longer is late, and nobody waits for it here.
pub(super) async fn take_all(
    leader: &mut Leader,
    taking: Vec<Taking>,
) -> (Vec<(Key, LeaderEpoch, Took)>, Vec<Asked>) {
    let mut results = Vec::with_capacity(taking.len());
    let mut waiting = Vec::with_capacity(taking.len());
    let mut out_of_range = Vec::new();
    let mut sort = |key, leader_epoch, begun| match begun {
        Begun::Asked(answer, high_watermark) => {
            waiting.push(Asked { key, leader_epoch, high_watermark, answer });
            true
        }
        Begun::Over(took) => {
            results.push((key, leader_epoch, took));
            true
        }
        Begun::OutOfRange => false,
    };
    for (key, assigned, offset, data) in taking {
        if !sort(key, assigned.leader_epoch, begin(&assigned, offset, data).await) {
            out_of_range.push((key, assigned));
        }
    }
    for (key, assigned) in out_of_range {
        sort(key, assigned.leader_epoch, bring_back(leader, &assigned).await);
    }
    let mut late = Vec::new();
    let mut patience = pin!(leader.world.sleep(PATIENCE));
    let mut is_over = false;
    for mut asked in waiting {
        let took = tokio::select! {
            biased;
            took = asked.took() => Some(took),
            () = ready(()), if is_over => None,
            () = &mut patience, if !is_over => {
                is_over = true;
                None
            }
        };
        match took {
            Some(took) => results.push((asked.key, asked.leader_epoch, took)),
            None => late.push(asked),
        }
    }
    (results, late)
}

enum Begun {
    /// With the leader's high watermark.
    Asked(Answer<FollowResult>, i64),
    OutOfRange,
    Over(Took),
}

async fn begin(assigned: &Assigned, offset: i64, data: PartitionData) -> Begun {
    let error = ErrorCode::from_code(data.error_code);
    match error {
        ErrorCode::None => {}
        ErrorCode::OffsetOutOfRange => return Begun::OutOfRange,
        ErrorCode::FencedLeaderEpoch => return Begun::Over(Took::Fenced),
        ErrorCode::OffsetMovedToTieredStorage => {
            let why = "the leader has moved it to tiered storage, which is not supported";
            return Begun::Over(Took::Failed(why.to_owned()));
        }
        other => return Begun::Over(Took::Retry(other.name().to_owned())),
    }
    let diverging = EpochEnd {
        epoch: LeaderEpoch(data.diverging_epoch.epoch),
        end_offset: data.diverging_epoch.end_offset,
    };
    if diverging.epoch.0 >= 0 {
        return truncate(assigned, Cut::Diverging(diverging)).await;
    }
    let bytes = match data.records {
        Some(Records::Bytes(bytes)) => bytes,
        _ => Bytes::new(),
    };
    let batches = match checked(bytes) {
        Ok(batches) => batches,
        Err(error) => return Begun::Over(Took::Retry(error.to_string())),
    };
    let (reply, answer) = Reply::new();
    let asked = Box::new(Replicate {
        leader_epoch: assigned.leader_epoch,
        fetch_offset: offset,
        batches,
        high_watermark: data.high_watermark,
        log_start_offset: data.log_start_offset,
        reply,
    });
    match assigned.handle.address().send(PartitionMsg::Replicate { asked }).await {
        Ok(()) => Begun::Asked(answer, data.high_watermark),
        Err(_) => Begun::Over(Took::Down),
    }
}

/// Slices of the answer; the last one may be cut off.
fn checked(bytes: Bytes) -> Result<Vec<RecordBatch>, BatchError> {
    batches(bytes)
        .map(|batch| {
            let batch = batch?;
            batch.verify_crc()?;
            Ok(batch)
        })
        .collect()
}

async fn truncate(assigned: &Assigned, to: Cut) -> Begun {
    let (reply, answer) = Reply::new();
    let asked = Box::new(Truncate { leader_epoch: assigned.leader_epoch, to, reply });
    match assigned.handle.address().send(PartitionMsg::Truncate { asked }).await {
        Ok(()) => Begun::Asked(answer, -1),
        Err(_) => Begun::Over(Took::Down),
    }
}

/// The leader does not have the offset: its log ends before it, after an unclean election; or begins behind it, as this replica was
/// away for long.
async fn bring_back(leader: &mut Leader, assigned: &Assigned) -> Begun {
    let (of, epoch) = (&assigned.handle.topic_partition, assigned.leader_epoch);
    let end = assigned.handle.log_end_offset();
    let cut = async {
        let leaders_end = leader.offset(of, epoch, LATEST).await?;
        if leaders_end < end {
            return Ok(Some(Cut::Offset(leaders_end)));
        }
        let start = leader.offset(of, epoch, EARLIEST).await?;
        Ok::<_, AskError>((start > end).then_some(Cut::StartAnew(start)))
    };
    Begun::Over(match cut.await {
        // It went on meanwhile, and has the offset by now.
        Ok(None) => Took::Taken { lag: 0 },
        Ok(Some(cut)) => return truncate(assigned, cut).await,
        Err(AskError::Refused(ErrorCode::FencedLeaderEpoch)) => Took::Fenced,
        Err(error) => Took::Retry(error.to_string()),
    })
}
