//! OffsetFetch, API key 9.
//!
//! Versions: 1–10 (v2 all topics at once, v7 only what is stable, v8 several groups, v10 topic ids).
//! Source: `KafkaApis.handleOffsetFetchRequest`, `GroupCoordinatorService.fetchOffsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machines::groups::{
    GroupReply, GroupRequest, fetch_groups, fetch_response, offset_fetch_error,
};
use machines::metadata::MetadataImage;
use model::{ErrorCode, Uuid};
use wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use wire::{OffsetFetchRequest, OffsetFetchResponse};

use super::room::{Built, Room, TooLong};
use super::{Answer, Answering, RequestContext, Staged, bounded, too_many};
use crate::Broker;

/// From this version on topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 10;

pub(crate) struct OffsetFetch;

impl Staged for OffsetFetch {
    type Request = OffsetFetchRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: OffsetFetchRequest,
    ) -> Answering<OffsetFetchResponse> {
        let require_stable = request.require_stable;
        let asked = fetch_groups(request, cx.version);
        let topics = || asked.iter().flat_map(|group| group.topics.iter().flatten());
        let partitions: usize = topics().map(|topic| topic.partition_indexes.len()).sum();
        let repeated: usize = asked.iter().map(repeated).sum();
        let refused = too_many(asked.len() + topics().count() + partitions).or_else(|| {
            (repeated > MAX_REPEATED).then(|| format!("{repeated} partitions named more than once"))
        });
        match refused {
            Some(why) => Box::pin(std::future::ready(Answer::Close(why))),
            None => bounded(answer(broker.clone(), cx, require_stable, asked)),
        }
    }
}

/// Kafka answers a partition as often as it is named. To name one more than once helps nobody, and each may have metadata.
const MAX_REPEATED: usize = 1_000;

/// How often the group's request names a partition that it has named before.
fn repeated(group: &OffsetFetchRequestGroup) -> usize {
    // Long names are compared once for each topic.
    let mut seen: BTreeMap<(&str, Uuid), BTreeSet<i32>> = BTreeMap::new();
    let mut repeated = 0;
    for topic in group.topics.iter().flatten() {
        let seen = seen.entry((&topic.name, topic.topic_id)).or_default();
        repeated += topic.partition_indexes.iter().filter(|index| !seen.insert(**index)).count();
    }
    repeated
}

async fn answer(
    broker: Arc<Broker>,
    cx: RequestContext,
    require_stable: bool,
    mut asked: Vec<OffsetFetchRequestGroup>,
) -> Result<Built<OffsetFetchResponse>, TooLong> {
    let version = cx.version;
    let groups_here = broker.groups.holding(cx.credit);
    let image = broker.metadata.get();
    let by_id = version >= TOPIC_IDS_SINCE;
    let resolved =
        asked.iter_mut().map(|group| if by_id { resolve(&image, group) } else { Vec::new() });
    let refused: Vec<_> = resolved.collect();
    let mut names = BTreeSet::new();
    let once = asked.iter().all(|group| names.insert(group.group_id.as_str()));
    // All at once holds no more than there is; what is named again is asked again, as Kafka does, but when there is room for it.
    let at_once = if once { asked.len() } else { 1 };
    let (mut room, mut groups) = (Room::new(&broker), Vec::new());
    let mut refused = refused.into_iter();
    for some in asked.chunks(at_once.max(1)) {
        let request = |group: &OffsetFetchRequestGroup| {
            let ask = GroupRequest::OffsetFetch { group: group.clone(), require_stable, version };
            (group.group_id.clone(), ask)
        };
        let replies = groups_here.ask_several(some.iter().map(request).collect()).await;
        for ((group, reply), refused) in some.iter().zip(replies).zip(refused.by_ref()) {
            let answer = match reply {
                GroupReply::OffsetFetch(answer) => answer,
                _ => offset_fetch_error(group, ErrorCode::UnknownServerError, version),
            };
            let answer = complete(&image, group, answer, refused, version);
            room.take(size(&answer)).await?;
            groups.push(answer);
        }
    }
    Ok(room.holds(fetch_response(groups, version)))
}

/// In memory.
fn size(group: &OffsetFetchResponseGroup) -> usize {
    let partition = |partition: &OffsetFetchResponsePartitions| {
        size_of_val(partition) + partition.metadata.as_ref().map_or(0, String::len)
    };
    let topic = |topic: &OffsetFetchResponseTopics| {
        let partitions: usize = topic.partitions.iter().map(partition).sum();
        size_of_val(topic) + topic.name.len() + partitions
    };
    size_of_val(group) + group.group_id.len() + group.topics.iter().map(topic).sum::<usize>()
}

/// Names the topics; those that do not exist are taken out, and answered.
fn resolve(
    image: &MetadataImage,
    group: &mut OffsetFetchRequestGroup,
) -> Vec<OffsetFetchResponseTopics> {
    let mut refused = Vec::new();
    let Some(topics) = &mut group.topics else { return refused };
    topics.retain_mut(|topic| match image.topics.by_id(topic.topic_id) {
        Some(known) => {
            topic.name.clone_from(&known.name);
            true
        }
        None => {
            refused.push(refuse(topic, ErrorCode::UnknownTopicId));
            false
        }
    });
    refused
}

fn refuse(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions =
        topic.partition_indexes.iter().map(|partition_index| OffsetFetchResponsePartitions {
            partition_index: *partition_index,
            committed_offset: -1,
            error_code: error.code(),
            ..Default::default()
        });
    OffsetFetchResponseTopics {
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// What was refused comes last; and what was asked for as all has ids by which it can be named.
fn complete(
    image: &MetadataImage,
    group: &OffsetFetchRequestGroup,
    mut answer: OffsetFetchResponseGroup,
    refused: Vec<OffsetFetchResponseTopics>,
    version: i16,
) -> OffsetFetchResponseGroup {
    if answer.error_code != 0 {
        return answer;
    }
    if version >= TOPIC_IDS_SINCE && group.topics.is_none() {
        for topic in answer.topics.iter_mut().filter(|topic| topic.topic_id.is_zero()) {
            topic.topic_id = image.topics.id_of(&topic.name).unwrap_or_default();
        }
        answer.topics.retain(|topic| !topic.topic_id.is_zero());
    }
    answer.topics.extend(refused);
    answer
}
