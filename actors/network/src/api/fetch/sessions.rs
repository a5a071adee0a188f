//! A fetch's session: found before it reads, told afterwards what is sent.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use machines::fetch_session::{
    Answered, Begin, Begun, FetchKey, FetchPartition, NO_SESSION, TopicKey,
};
use model::{ErrorCode, Uuid};
use wire::FetchRequest;
use wire::fetch_request::FetchTopic;

use super::look::Look;
use super::{TOPIC_IDS_SINCE, Target};
use crate::Broker;

/// What a fetch goes on with.
pub(super) struct Session {
    pub(super) partitions: Vec<FetchPartition>,
    kind: Kind,
}

enum Kind {
    None,
    /// To be opened once there is an answer.
    Wanted {
        uses_topic_ids: bool,
    },
    Open {
        id: i32,
        epoch: i32,
    },
}

/// The session's id in the response, and which of the partitions are in it.
pub(super) struct Told {
    pub(super) session_id: i32,
    send: Option<Vec<bool>>,
}

impl Told {
    pub(super) fn sends(&self, at: usize) -> bool {
        self.send.as_ref().is_none_or(|send| send.get(at).copied().unwrap_or(false))
    }
}

pub(super) fn begin(
    broker: &Broker,
    version: i16,
    request: FetchRequest,
) -> Result<Session, ErrorCode> {
    let uses_topic_ids = version >= TOPIC_IDS_SINCE;
    let key = |name: String, id| match uses_topic_ids {
        true => TopicKey::Id(id),
        false => TopicKey::Name(name.into()),
    };
    let partitions = wanted(request.topics, key);
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        let topic_key = key(topic.topic, topic.topic_id);
        forgotten.extend(
            topic
                .partitions
                .into_iter()
                .map(|partition| FetchKey { topic: topic_key.clone(), partition }),
        );
    }
    let begin = Begin {
        session_id: request.session_id,
        epoch: request.session_epoch,
        uses_topic_ids,
        partitions,
        forgotten,
    };
    let now_ms = broker.world.now().wall_ms;
    let mut sessions = broker.sessions.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = sessions.table.begin(now_ms, begin)?;
    Ok(match begun {
        Begun::Sessionless(partitions) => Session { partitions, kind: Kind::None },
        Begun::Full(partitions) => Session { partitions, kind: Kind::Wanted { uses_topic_ids } },
        Begun::Incremental { session_id: id, epoch, partitions } => {
            Session { partitions, kind: Kind::Open { id, epoch } }
        }
    })
}

/// A partition by the place of its topic: names are compared once for each topic, as somebody may send long ones.
type Place = (usize, i32);

fn wanted(topics: Vec<FetchTopic>, key: impl Fn(String, Uuid) -> TopicKey) -> Vec<FetchPartition> {
    let count = topics.iter().map(|topic| topic.partitions.len()).sum();
    let (mut all, mut named) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut places = BTreeMap::new();
    for (at, topic) in topics.into_iter().enumerate() {
        let key = key(topic.topic, topic.topic_id);
        let place = *places.entry(key.clone()).or_insert(at);
        named.extend(topic.partitions.iter().map(|wanted| (place, wanted.partition)));
        all.extend(topic.partitions.into_iter().map(|wanted| FetchPartition {
            key: FetchKey { topic: key.clone(), partition: wanted.partition },
            fetch_offset: wanted.fetch_offset,
            log_start_offset: wanted.log_start_offset,
            max_bytes: wanted.partition_max_bytes,
            current_leader_epoch: wanted.current_leader_epoch,
            last_fetched_epoch: wanted.last_fetched_epoch,
        }));
    }
    if are_distinct(&named) { all } else { last_wanted(all, named) }
}

fn are_distinct(named: &[Place]) -> bool {
    if named.is_sorted_by(|one, next| one < next) {
        return true;
    }
    let mut sorted = named.to_vec();
    sorted.sort_unstable();
    sorted.is_sorted_by(|one, next| one < next)
}

/// Of a partition that is named more than once the last naming counts, at the place of the first, as in Kafka.
fn last_wanted(wanted: Vec<FetchPartition>, named: Vec<Place>) -> Vec<FetchPartition> {
    let mut places = BTreeMap::new();
    let mut last: Vec<FetchPartition> = Vec::new();
    for (partition, named) in wanted.into_iter().zip(named) {
        let place = *places.entry(named).or_insert(last.len());
        match last.get_mut(place) {
            Some(known) => *known = partition,
            None => last.push(partition),
        }
    }
    last
}

impl Session {
    /// Ends the fetch for its session. An error is the whole response's.
    pub(super) fn finish(
        self,
        broker: &Broker,
        follower: bool,
        targets: &[Target],
        looks: &[Look],
    ) -> Result<Told, ErrorCode> {
        let answered = || targets.iter().zip(looks).map(|(target, look)| (target, known(look)));
        let now_ms = broker.world.now().wall_ms;
        match self.kind {
            Kind::None => Ok(Told { session_id: NO_SESSION, send: None }),
            Kind::Wanted { uses_topic_ids } => {
                let open: Vec<_> =
                    answered().map(|(target, known)| (target.wanted.clone(), known)).collect();
                let mut sessions = broker.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                let crate::broker::Sessions { table, random } = &mut *sessions;
                let draw = || (random.next_u64() >> 33) as i32;
                let session_id = table.open(now_ms, follower, uses_topic_ids, open, draw);
                Ok(Told { session_id, send: None })
            }
            Kind::Open { id, epoch } => {
                let mut sessions = broker.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                let answered = answered().map(|(target, known)| (&target.wanted.key, known));
                let send = sessions.table.finish(id, epoch, answered)?;
                Ok(Told { session_id: id, send: Some(send) })
            }
        }
    }
}

fn known(look: &Look) -> Answered {
    Answered {
        has_records: look.slice.is_some(),
        high_watermark: look.high_watermark,
        log_start_offset: look.log_start_offset,
        error: look.error != ErrorCode::None,
        must_send: look.diverging.is_some() || look.preferred.is_some(),
    }
}
