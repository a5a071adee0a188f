//! From what was found to the response: small pieces are copied into it, large ones stay in their files.

use bytes::Bytes;
use log::{FileSlice, InMemory};
use machines::fetch_session::TopicKey;
use model::ErrorCode;
use partitions::Isolation;
use wire::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use wire::{FetchResponse, Records};

use super::look::{Look, Looks};
use super::sessions::Session;
use super::{Params, Target, topic_ref};
use crate::Broker;
use crate::api::Answer;
use crate::api::leaders::Leaders;

/// What is not longer is read: below that, a write of its own for the file costs more than the copy.
pub(super) const COPIED: usize = 16 * 1024;
/// Clients that speak an older version do not know KAFKA_STORAGE_ERROR.
const STORAGE_ERROR_SINCE: i16 = 6;
const LEADERS_SINCE: i16 = 16;

pub(super) struct Responding<'a> {
    pub(super) broker: &'a Broker,
    pub(super) version: i16,
    pub(super) listener: &'a str,
}

impl Responding<'_> {
    pub(super) fn respond(
        &self,
        params: &Params,
        session: Session,
        targets: Vec<Target>,
        mut looks: Looks,
    ) -> Answer<FetchResponse> {
        looks.each.iter_mut().for_each(copy_small);
        let told =
            match session.finish(self.broker, params.follower.is_some(), &targets, &looks.each) {
                Ok(told) => told,
                Err(error) => {
                    let error_code = error.code();
                    return Answer::Response(FetchResponse { error_code, ..Default::default() });
                }
            };
        let mut response = FetchResponse { session_id: told.session_id, ..Default::default() };
        let (mut files, mut pins) = (Vec::new(), 0);
        let mut leaders: Option<Leaders<'_>> = None;
        let mut last: Option<TopicKey> = None;
        for (at, (target, mut look)) in targets.into_iter().zip(looks.each).enumerate() {
            if !told.sends(at) {
                continue;
            }
            let mut partition = self.partition(params, &target, &look);
            self.count_out(params, &target, &look);
            let in_memory = look.in_memory.take();
            pins += in_memory.as_ref().map_or(0, |bytes| bytes.pins);
            partition.records = Some(records(look.slice, in_memory, &mut files));
            if self.version >= LEADERS_SINCE && names_leader(look.error) {
                let leaders =
                    leaders.get_or_insert_with(|| Leaders::new(self.broker, self.listener));
                let key = &target.wanted.key;
                let (leader_id, leader_epoch) = leaders.of(topic_ref(&key.topic), key.partition);
                partition.current_leader =
                    LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
            }
            let topic = target.wanted.key.topic;
            if last.as_ref() != Some(&topic) {
                response.responses.push(topic_response(&topic));
                last = Some(topic);
            }
            if let Some(topic) = response.responses.last_mut() {
                topic.partitions.push(partition);
            }
        }
        response.node_endpoints = endpoints(leaders);
        Answer::WithFiles(response, files, pins)
    }

    fn count_out(&self, params: &Params, target: &Target, look: &Look) {
        let (Some(handle), Some(slice)) = (&target.handle, &look.slice) else { return };
        let bytes = slice.len as u64;
        match params.follower {
            Some(_) => self.broker.hosted.traffic().replication_bytes_out.add(bytes),
            None => handle.traffic().bytes_out.add(bytes),
        }
    }

    fn partition(&self, params: &Params, target: &Target, look: &Look) -> PartitionData {
        let error = match look.error {
            ErrorCode::KafkaStorageError if self.version < STORAGE_ERROR_SINCE => {
                ErrorCode::NotLeaderOrFollower
            }
            other => other,
        };
        let committed = params.isolation == Isolation::Committed && error == ErrorCode::None;
        PartitionData {
            partition_index: target.wanted.key.partition,
            error_code: error.code(),
            high_watermark: look.high_watermark,
            last_stable_offset: look.last_stable_offset,
            log_start_offset: look.log_start_offset,
            // Kafka does not ask for them where it does not know the partition, and says that there are none.
            aborted_transactions: (committed || target.is_unknown())
                .then(|| look.aborted.iter().map(aborted).collect()),
            diverging_epoch: look.diverging.map_or_else(Default::default, |end| EpochEndOffset {
                epoch: end.epoch.0,
                end_offset: end.end_offset,
                ..Default::default()
            }),
            preferred_read_replica: look.preferred.map_or(-1, |id| id.0),
            ..Default::default()
        }
    }
}

/// Reads a small piece. One that cannot be read makes the partition's answer an error.
fn copy_small(look: &mut Look) {
    let small = |slice: &&FileSlice| slice.len <= COPIED;
    let Some(slice) = look.slice.as_ref().filter(small).filter(|_| look.in_memory.is_none()) else {
        return;
    };
    match slice.read() {
        Ok(bytes) => look.in_memory = Some(InMemory { bytes: vec![bytes], pins: 0 }),
        Err(error) => {
            tracing::error!(%error, "a fetch could not be read");
            *look = Look::refused(ErrorCode::KafkaStorageError);
        }
    }
}

fn records(
    slice: Option<FileSlice>,
    in_memory: Option<InMemory>,
    files: &mut Vec<FileSlice>,
) -> Records {
    match (in_memory, slice) {
        (Some(there), _) => Records::Chain(there.bytes),
        (None, Some(slice)) => {
            let token = files.len() as u64;
            let len = u32::try_from(slice.len).unwrap_or(u32::MAX);
            files.push(slice);
            Records::External { len, token }
        }
        (None, None) => Records::Bytes(Bytes::new()),
    }
}

fn aborted(txn: &log::AbortedTransaction) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: txn.producer_id.0,
        first_offset: txn.first_offset,
        ..Default::default()
    }
}

fn names_leader(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
}

fn topic_response(topic: &TopicKey) -> FetchableTopicResponse {
    match topic {
        TopicKey::Name(name) => {
            FetchableTopicResponse { topic: name.as_ref().to_owned(), ..Default::default() }
        }
        TopicKey::Id(id) => FetchableTopicResponse { topic_id: *id, ..Default::default() },
    }
}

fn endpoints(leaders: Option<Leaders<'_>>) -> Vec<NodeEndpoint> {
    leaders.into_iter().flat_map(Leaders::nodes).map(endpoint).collect()
}

fn endpoint(node: crate::api::leaders::Node) -> NodeEndpoint {
    NodeEndpoint {
        node_id: node.id,
        host: node.host,
        port: node.port,
        rack: node.rack,
        ..Default::default()
    }
}
