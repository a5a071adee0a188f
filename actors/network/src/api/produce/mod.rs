//! Produce, API key 0.
//!
//! Versions: 3–13 (v7 zstd, v8 errors of single records, v10 the current leader, v13 topic ids). Order: batches are checked and put
//! into their leaders' mailboxes in the order of requests; only waiting for `acks` overlaps.
//! Source: `KafkaApis.handleProduceRequest`, `ReplicaManager.appendRecords`, `UnifiedLog.append`.
//! Not supported: transactions (a transactional batch is refused, as no transaction can have begun).

mod intercepted;
mod overtaking;
mod refusal;
mod respond;

use std::sync::Arc;
use std::time::Duration;

use machines::partition::{Acks, Origin};
use model::Uuid;
use model::settings::{TimestampType, TopicConfig};
use model::topic::is_internal_topic;
use partitions::{Append, AppendResult, PartitionHandle, Room, Standing};
use wire::batch::{
    self, AppendOrigin, BatchError, BatchHeader, ProduceError, RecordBatch, ValidatedBatch,
    ValidationRules, produced_batch,
};
use wire::compression::{Codec, Compression};
use wire::produce_request::TopicProduceData;
use wire::{ProduceRequest, ProduceResponse, Records};

use super::leaders::{TopicRef, find};
use super::room::Work;
use super::{Answer, Answering, RequestContext, Staged, too_many};
use crate::Broker;
use crate::intercept::{On, Patience};
use intercepted::Produced;
pub(crate) use overtaking::RefusedBatches;
use overtaking::{Named, Producer, producer_of};
use refusal::Refusal;

/// The client whose name lets it write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// From this version on batches may be compressed with zstd.
const ZSTD_SINCE: i16 = 7;

/// A batch that grows beyond this is checked as a blocking job, one at a time: it takes a core for up to a second.
const CHECKED_IN_PLACE: usize = 8 << 20;

pub(crate) struct Produce;

/// One topic of a request, and where its partitions stand.
struct Topic {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, Result<Stage, Refusal>)>,
}

enum Stage {
    Parsed {
        handle: Arc<PartitionHandle>,
        batch: RecordBatch,
    },
    Sent {
        handle: Arc<PartitionHandle>,
        answer: runtime::Answer<AppendResult>,
        time_ms: i64,
        /// Its producer, where it was sent behind a batch that was refused.
        behind: Option<Producer>,
    },
}

impl Stage {
    fn behind(&self) -> Option<Producer> {
        match self {
            Stage::Parsed { .. } => None,
            Stage::Sent { behind, .. } => *behind,
        }
    }
}

/// What holds for the request as a whole.
struct Params {
    acks: Option<Acks>,
    timeout: Duration,
}

impl Staged for Produce {
    type Request = ProduceRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: ProduceRequest,
    ) -> Answering<ProduceResponse> {
        let count = request.topic_data.iter().map(|topic| topic.partition_data.len()).sum();
        if let Some(why) = too_many(count) {
            return Box::pin(std::future::ready(Answer::Close(why)));
        }
        if has_null_records(&request) {
            return Box::pin(std::future::ready(Answer::Close("records of null".to_owned())));
        }
        let params = Params {
            acks: Acks::from_wire(request.acks),
            timeout: Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)),
        };
        let by_heads = refused_by_first_batches(&request);
        let mut topics = parse(broker, &cx, request);
        if let Some(refusal) = by_heads.or_else(|| refused_whole(params.acks, &topics)) {
            refuse_all(&mut topics, &refusal);
        } else {
            let mut sending = Sending {
                broker,
                cx: &cx,
                acks: params.acks,
                now_ms: broker.world.now().wall_ms,
                work: Work::default(),
                patience: Patience::default(),
            };
            for topic in &mut topics {
                for (index, partition) in &mut topic.partitions {
                    let named = Named { topic: &topic.name, topic_id: topic.id, partition: *index };
                    sending.send(named, partition).await;
                }
            }
        }
        // What the leaders hold of the frame has its own share in the credit: an answer that waits for those before it has none.
        let RequestContext { version, connection, .. } = cx;
        Box::pin(respond::respond(broker.clone(), version, connection, params, topics))
    }
}

/// The schema allows null; Kafka cannot read the size of it, and hangs up.
fn has_null_records(request: &ProduceRequest) -> bool {
    let mut partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.any(|partition| partition.records.is_none())
}

/// What is wrong with the request, seen in the first batches up to one of a transaction, wherever they are to go.
/// Source: `RequestUtils.hasTransactionalRecords`, which comes before anything else.
fn refused_by_first_batches(request: &ProduceRequest) -> Option<Refusal> {
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    for bytes in partitions.filter_map(|partition| partition.records.as_ref()?.as_bytes()) {
        match BatchHeader::parse(bytes) {
            Ok(header) if header.is_transactional() && header.size() <= bytes.len() => {
                return request.transactional_id.is_none().then_some(Refusal::NoTransactionalId);
            }
            Err(error) if refusal::is_no_batch(&error) => {
                return Some(Refusal::Unreadable(error.into()));
            }
            _ => {}
        }
    }
    None
}

/// Finds each partition's replica and reads its batch's header.
fn parse(broker: &Broker, cx: &RequestContext, mut request: ProduceRequest) -> Vec<Topic> {
    merge_repeated(&mut request.topic_data);
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let partitions = Vec::with_capacity(data.partition_data.len());
        let mut topic = Topic { name: data.name, id: data.topic_id, partitions };
        for data in data.partition_data {
            let named = Named { topic: &topic.name, topic_id: topic.id, partition: data.index };
            let parsed = parse_one(broker, cx, named, data.records);
            topic.partitions.push((data.index, parsed));
        }
        topics.push(topic);
    }
    topics
}

/// Each topic once. Where a partition is named more than once, the last counts, as in Kafka.
fn merge_repeated(topics: &mut Vec<TopicProduceData>) {
    topics.sort_by(|a, b| (&a.name, a.topic_id).cmp(&(&b.name, b.topic_id)));
    topics.dedup_by(|again, first| {
        let same = (&again.name, again.topic_id) == (&first.name, first.topic_id);
        if same {
            first.partition_data.append(&mut again.partition_data);
        }
        same
    });
    for topic in topics {
        topic.partition_data.sort_by_key(|partition| partition.index);
        topic.partition_data.dedup_by(|later, kept| {
            let same = later.index == kept.index;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
    }
}

fn parse_one(
    broker: &Broker,
    cx: &RequestContext,
    named: Named<'_>,
    records: Option<Records>,
) -> Result<Stage, Refusal> {
    let topic = match cx.version {
        13.. => TopicRef::Id(named.topic_id),
        _ => TopicRef::Name(named.topic),
    };
    let found = find(broker, topic, named.partition);
    let bytes = records.as_ref().and_then(Records::as_bytes);
    if let Err(not_here) = found {
        if let Some(Ok(header)) = bytes.map(|bytes| BatchHeader::parse(bytes)) {
            cx.connection.refused.note(named, &header);
        }
        if not_here.is_unknown() {
            return Err(not_here.into());
        }
    }
    let bytes = bytes.ok_or(Refusal::NoBatch)?;
    let batch = produced_batch(bytes).map_err(|error| match error {
        // What is cut off is, to Kafka, not there.
        ProduceError::Corrupt(BatchError::Truncated { .. }) => Refusal::NoBatch,
        other => other.into(),
    })?;
    if cx.version < ZSTD_SINCE && batch.header().codec() == Ok(Codec::Zstd) {
        return Err(Refusal::ZstdTooOld);
    }
    let handle = found?;
    let admin = cx.client_id.as_deref() == Some(ADMIN_CLIENT);
    let topic = &handle.topic_partition.topic;
    // What is none of a journal would stop its durable actor.
    if (is_internal_topic(topic) || broker.durables.topic(topic).is_some()) && !admin {
        return Err(Refusal::InternalTopic);
    }
    Ok(Stage::Parsed { handle, batch })
}

/// What is wrong with the request, whichever the partition.
fn refused_whole(acks: Option<Acks>, topics: &[Topic]) -> Option<Refusal> {
    let mut producer = None;
    for (_, partition) in topics.iter().flat_map(|topic| &topic.partitions) {
        let Ok(Stage::Parsed { batch, .. }) = partition else { continue };
        let header = batch.header();
        if !header.is_transactional() {
            continue;
        }
        let this = (header.producer_id, header.producer_epoch);
        if header.has_producer_id() && *producer.get_or_insert(this) != this {
            return Some(Refusal::SeveralProducers);
        }
    }
    acks.is_none().then_some(Refusal::RequiredAcks)
}

fn refuse_all(topics: &mut [Topic], refusal: &Refusal) {
    for (_, partition) in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.is_ok() || !matches!(refusal, Refusal::RequiredAcks) {
            *partition = Err(refusal.clone());
        }
    }
}

/// A request's way into its leaders' mailboxes.
struct Sending<'a> {
    broker: &'a Broker,
    cx: &'a RequestContext,
    acks: Option<Acks>,
    now_ms: i64,
    work: Work,
    patience: Patience,
}

impl Sending<'_> {
    /// Checks a batch whole and puts it into its leader's mailbox.
    async fn send(&mut self, named: Named<'_>, partition: &mut Result<Stage, Refusal>) {
        let Some(acks) = self.acks else { return };
        match std::mem::replace(partition, Err(Refusal::Gone)) {
            Ok(Stage::Parsed { handle, batch }) => {
                let cx = self.cx;
                let refused = &cx.connection.refused;
                let header = *batch.header();
                let origin = refused.origin(named, &header);
                *partition = self.append(acks, origin, handle, batch).await;
                if partition.as_ref().is_err_and(Refusal::may_pass) {
                    refused.note(named, &header);
                }
            }
            other => *partition = other,
        }
    }

    async fn append(
        &mut self,
        acks: Acks,
        origin: Origin,
        handle: Arc<PartitionHandle>,
        batch: RecordBatch,
    ) -> Result<Stage, Refusal> {
        let (broker, now_ms) = (self.broker, self.now_ms);
        handle.traffic().produced.add(1);
        let topic = &handle.topic_partition.topic;
        if handle.log_dir().room() == Room::Full && !is_internal_topic(topic) {
            return Err(Refusal::NoRoom);
        }
        match &*handle.standing() {
            Standing::Leader(_) => {}
            Standing::Starting | Standing::Follower(_) => return Err(Refusal::NotLeader),
            Standing::Offline { .. } => return Err(Refusal::Offline),
        }
        let config = handle.config();
        let log_start = handle.log_start_offset();
        let mut rules = rules(&config, now_ms);
        let fetched_whole = broker.interceptors.of(topic, On::Fetch).is_some();
        if fetched_whole {
            rules.max_uncompressed_size = rules.max_rebuilt_size;
        }
        let validated = validate(broker, batch, rules).await?;
        // What is refused may have been looked at to the end.
        let looked_at = validated.as_ref().map_or(CHECKED_IN_PLACE, |batch| batch.looked_at);
        self.work.done(looked_at).await;
        let validated = validated.map_err(|error| match error {
            error if fetched_whole && error.grows_too_large() => {
                Refusal::NotHeldWhole { limit: rules.max_rebuilt_size }
            }
            error => Refusal::Batch { error, log_start },
        })?;
        let batch = match broker.interceptors.of(topic, On::Produce) {
            None => validated.batch,
            Some(stop) => {
                let until = self.patience.until(broker.world.mono());
                let produced = Produced { broker, cx: self.cx, handle: &handle, rules, until };
                Box::pin(produced.pass(&stop, validated.batch, log_start)).await?
            }
        };
        let (size, max) = (batch.size(), config.segment_bytes);
        if usize::try_from(max).is_ok_and(|max| size > max) {
            return Err(Refusal::LargerThanSegment { size, max });
        }
        let time_ms = match config.message_timestamp_type {
            TimestampType::CreateTime => -1,
            TimestampType::LogAppendTime => now_ms,
        };
        let behind = matches!(origin, Origin::ClientBehind(_)).then(|| producer_of(batch.header()));
        let held = Some(self.cx.credit.clone());
        let append = Append { batch, acks, origin, leader_epoch: None, held };
        let answer =
            handle.append(append).await.map_err(|error| Refusal::Append { error, log_start })?;
        Ok(Stage::Sent { handle, answer, time_ms, behind })
    }
}

async fn validate(
    broker: &Broker,
    batch: RecordBatch,
    rules: ValidationRules,
) -> Result<Result<ValidatedBatch, ProduceError>, Refusal> {
    let limit = rules.max_uncompressed_size;
    let in_place = ValidationRules { max_uncompressed_size: limit.min(CHECKED_IN_PLACE), ..rules };
    let validated = batch::validate_produce(batch.clone(), &in_place);
    if limit <= CHECKED_IN_PLACE || !validated.as_ref().is_err_and(ProduceError::grows_too_large) {
        return Ok(validated);
    }
    let _turn = broker.large_batches.take(1).await;
    let check = move || batch::validate_produce(batch, &rules);
    broker.world.blocking("check a large batch", check).await.map_err(|_| Refusal::Gone)
}

fn rules(config: &TopicConfig, now_ms: i64) -> ValidationRules {
    let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
    let allowed = size(config.max_decompressed_message_bytes);
    let held = config.held_whole();
    ValidationRules {
        origin: AppendOrigin::Client,
        now_ms,
        timestamp_type: match config.message_timestamp_type {
            TimestampType::CreateTime => batch::TimestampType::CreateTime,
            TimestampType::LogAppendTime => batch::TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.message_timestamp_before_max_ms,
        timestamp_after_max_ms: config.message_timestamp_after_max_ms,
        compacted: config.cleanup_policy.compact,
        compression: Compression::of_topic(config),
        max_batch_size: size(config.max_message_bytes),
        max_uncompressed_size: if config.cleanup_policy.compact { held } else { allowed },
        max_rebuilt_size: held,
    }
}
