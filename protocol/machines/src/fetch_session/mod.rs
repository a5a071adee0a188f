//! Fetch sessions: what a consumer or follower asked for is remembered, so that it sends, and is sent, changes only.
//!
//! A table of decisions without IO, bounded in sessions; its owner guards it. Source: KIP-227; `FetchManager`,
//! `FetchSession`, `FetchSessionCacheShard` of Kafka's server module.

mod fetcher;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::topic::MAX_NAME_LENGTH;
use model::{ErrorCode, Uuid};

pub use fetcher::{FetcherSession, SessionError, SessionRequest};

/// The id of "no session".
pub const NO_SESSION: i32 = 0;
/// Asks for a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// Asks for no session, and closes the one named.
pub const FINAL_EPOCH: i32 = -1;

/// The epoch that follows: it wraps to 1, as 0 means "new".
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        negative if negative < 0 => FINAL_EPOCH,
        i32::MAX => 1,
        other => other + 1,
    }
}

/// A topic as the request names it: by id from version 13 on. All partitions that are named under one name share it.
#[derive(Debug, Clone, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// Long names are told apart only where they are not one.
impl PartialEq for TopicKey {
    fn eq(&self, other: &TopicKey) -> bool {
        match (self, other) {
            (TopicKey::Name(one), TopicKey::Name(other)) => Arc::ptr_eq(one, other) || one == other,
            (TopicKey::Id(one), TopicKey::Id(other)) => one == other,
            _ => false,
        }
    }
}

impl TopicKey {
    /// No topic can have such a name: no session remembers it.
    fn is_too_long(&self) -> bool {
        matches!(self, TopicKey::Name(name) if name.len() > MAX_NAME_LENGTH)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchKey {
    pub topic: TopicKey,
    pub partition: i32,
}

/// What a client wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    pub key: FetchKey,
    pub fetch_offset: i64,
    pub log_start_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What a response would say of one partition; [`FetchSessions::finish`] tells whether it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub has_records: bool,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub error: bool,
    /// A diverging epoch or a preferred read replica: always sent.
    pub must_send: bool,
}

impl Answered {
    /// The high watermark that the client has from this. An impossible one, so that the partition is sent again, where that is none:
    /// it does not look for it in an error, nor does a follower that has to cut its log (and would wait for another record in Kafka).
    fn heard(&self) -> i64 {
        if self.error || self.must_send { -1 } else { self.high_watermark }
    }
}

/// What a fetch goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// No session: everything asked for is answered.
    Sessionless(Vec<FetchPartition>),
    /// Everything asked for is answered, and a session is opened if there is room.
    Full(Vec<FetchPartition>),
    /// The session's partitions; only changes are answered.
    Incremental { session_id: i32, epoch: i32, partitions: Vec<FetchPartition> },
}

/// A fetch request's own view of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub session_id: i32,
    pub epoch: i32,
    pub uses_topic_ids: bool,
    pub partitions: Vec<FetchPartition>,
    pub forgotten: Vec<FetchKey>,
}

#[derive(Debug)]
struct Cached {
    wanted: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
}

impl Cached {
    /// Whether the answer must be sent; where it must, it becomes what the client knows.
    fn update(&mut self, answered: &Answered) -> bool {
        let changed = answered.has_records
            || answered.error
            || answered.must_send
            || self.high_watermark != answered.high_watermark
            || self.log_start_offset != answered.log_start_offset;
        self.high_watermark = answered.heard();
        self.log_start_offset = answered.log_start_offset;
        changed
    }
}

#[derive(Debug)]
struct Session {
    privileged: bool,
    uses_topic_ids: bool,
    created_ms: i64,
    last_used_ms: i64,
    epoch: i32,
    /// In the order they are served: one that was sent records goes to the end.
    order: BTreeMap<u64, FetchKey>,
    partitions: BTreeMap<FetchKey, (u64, Cached)>,
    next: u64,
}

impl Session {
    fn put(&mut self, wanted: FetchPartition, known: Option<&Answered>) {
        if let Some((_, cached)) = self.partitions.get_mut(&wanted.key) {
            // What was under way when its leader epoch changed may have been dropped by who asked.
            if cached.wanted.current_leader_epoch != wanted.current_leader_epoch {
                (cached.high_watermark, cached.log_start_offset) = (-1, -1);
            }
            let key = cached.wanted.key.clone();
            cached.wanted = FetchPartition { key, ..wanted };
            return;
        }
        let cached = Cached {
            high_watermark: known.map_or(-1, Answered::heard),
            log_start_offset: known.map_or(-1, |k| k.log_start_offset),
            wanted,
        };
        self.order.insert(self.next, cached.wanted.key.clone());
        self.partitions.insert(cached.wanted.key.clone(), (self.next, cached));
        self.next += 1;
    }

    fn forget(&mut self, key: &FetchKey) {
        if let Some((at, _)) = self.partitions.remove(key) {
            self.order.remove(&at);
        }
    }

    fn move_to_end(&mut self, key: &FetchKey) {
        let next = self.next;
        if let Some((at, _)) = self.partitions.get_mut(key)
            && let Some(key) = self.order.remove(at)
        {
            *at = next;
            self.order.insert(next, key);
            self.next += 1;
        }
    }

    fn wanted(&self) -> Vec<FetchPartition> {
        let cached = self.order.values().filter_map(|key| self.partitions.get(key));
        cached.map(|(_, cached)| cached.wanted.clone()).collect()
    }
}

/// Partitions that all sessions together may remember: a client can name many, and there are many clients.
pub const MAX_PARTITIONS: usize = 500_000;

/// The sessions of one node.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    max_partitions: usize,
    partitions: usize,
    /// A session unused for so long gives way to any other.
    eviction_ms: i64,
    sessions: BTreeMap<i32, Session>,
    by_last_use: BTreeSet<(i64, i32)>,
    evictions: u64,
}

impl FetchSessions {
    pub fn new(slots: usize, eviction_ms: i64) -> Self {
        Self::with_max_partitions(slots, eviction_ms, MAX_PARTITIONS)
    }

    fn with_max_partitions(slots: usize, eviction_ms: i64, max_partitions: usize) -> Self {
        FetchSessions {
            slots,
            max_partitions,
            partitions: 0,
            eviction_ms,
            sessions: BTreeMap::new(),
            by_last_use: BTreeSet::new(),
            evictions: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Starts a fetch: finds its session and applies what the request changes in it.
    ///
    /// # Errors
    /// The error code of the whole response, where the session is unknown, out of step, or names topics the other way.
    pub fn begin(&mut self, now_ms: i64, begin: Begin) -> Result<Begun, ErrorCode> {
        if begin.epoch == INITIAL_EPOCH || begin.epoch == FINAL_EPOCH {
            self.remove(begin.session_id);
            return Ok(match begin.epoch {
                FINAL_EPOCH => Begun::Sessionless(begin.partitions),
                _ => Begun::Full(begin.partitions),
            });
        }
        let session =
            self.sessions.get_mut(&begin.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != begin.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != begin.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if begin.partitions.iter().any(|wanted| wanted.key.topic.is_too_long()) {
            self.remove(begin.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let before = session.partitions.len();
        for wanted in &begin.partitions {
            session.put(wanted.clone(), None);
        }
        for key in &begin.forgotten {
            session.forget(key);
        }
        let (after, epoch) = (session.partitions.len(), next_epoch(session.epoch));
        self.partitions = self.partitions - before + after;
        if self.partitions > self.max_partitions {
            self.remove(begin.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if after == 0 {
            self.remove(begin.session_id);
            return Ok(Begun::Sessionless(begin.partitions));
        }
        session.epoch = epoch;
        let partitions = session.wanted();
        let begun = Begun::Incremental { session_id: begin.session_id, epoch, partitions };
        self.touch(begin.session_id, now_ms);
        Ok(begun)
    }

    /// Opens a session for a full fetch that was answered, under an id drawn by the caller.
    ///
    /// Returns [`NO_SESSION`] where there is no room and nobody less worthy, and where a name is longer than any topic's.
    /// `random` is called until it gives a free id.
    pub fn open(
        &mut self,
        now_ms: i64,
        privileged: bool,
        uses_topic_ids: bool,
        answered: Vec<(FetchPartition, Answered)>,
        mut random: impl FnMut() -> i32,
    ) -> i32 {
        let too_long = answered.iter().any(|(wanted, _)| wanted.key.topic.is_too_long());
        let room = self.sessions.len() < self.slots;
        let too_many = self.partitions + answered.len() > self.max_partitions;
        if answered.is_empty()
            || too_long
            || too_many
            || !(room || self.evict_for(now_ms, privileged, answered.len()))
        {
            return NO_SESSION;
        }
        let id = loop {
            let id = random() & i32::MAX;
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            privileged,
            uses_topic_ids,
            created_ms: now_ms,
            last_used_ms: now_ms,
            epoch: next_epoch(INITIAL_EPOCH),
            order: BTreeMap::new(),
            partitions: BTreeMap::new(),
            next: 0,
        };
        for (wanted, known) in answered {
            session.put(wanted, Some(&known));
        }
        self.partitions += session.partitions.len();
        self.sessions.insert(id, session);
        self.by_last_use.insert((now_ms, id));
        id
    }

    /// Ends an incremental fetch: tells of each answer whether it must be sent.
    ///
    /// # Errors
    /// The session went on (or away) under another request meanwhile.
    pub fn finish<'a>(
        &mut self,
        session_id: i32,
        epoch: i32,
        answered: impl Iterator<Item = (&'a FetchKey, Answered)>,
    ) -> Result<Vec<bool>, ErrorCode> {
        let session = self
            .sessions
            .get_mut(&session_id)
            .filter(|session| session.epoch == epoch)
            .ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        let mut send = Vec::with_capacity(answered.size_hint().0);
        for (key, answer) in answered {
            let cached = session.partitions.get_mut(key);
            let must = cached.is_some_and(|(_, cached)| cached.update(&answer));
            if must && answer.has_records {
                session.move_to_end(key);
            }
            send.push(must);
        }
        Ok(send)
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.by_last_use.remove(&(session.last_used_ms, id));
            self.partitions -= session.partitions.len();
        }
    }

    fn touch(&mut self, id: i32, now_ms: i64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.by_last_use.remove(&(session.last_used_ms, id));
            session.last_used_ms = now_ms;
            self.by_last_use.insert((now_ms, id));
        }
    }

    /// Makes room for a session: a stale one goes, else the smallest that the newcomer outweighs. Followers' sessions are
    /// privileged: only after `eviction_ms` does one of them, or any session that young, become a candidate.
    fn evict_for(&mut self, now_ms: i64, privileged: bool, size: usize) -> bool {
        let Some((last_used_ms, oldest)) = self.by_last_use.first().copied() else { return false };
        if now_ms - last_used_ms > self.eviction_ms {
            self.remove(oldest);
            self.evictions += 1;
            return true;
        }
        let settled = |session: &Session| now_ms - session.created_ms > self.eviction_ms;
        let candidate = self
            .sessions
            .iter()
            .filter(|(_, s)| settled(s) || (privileged && !s.privileged))
            .map(|(id, s)| (s.privileged, s.partitions.len(), *id))
            .min();
        match candidate {
            Some((other_privileged, other_size, id))
                if (privileged, size) >= (other_privileged, other_size) =>
            {
                self.remove(id);
                self.evictions += 1;
                true
            }
            _ => false,
        }
    }
}
