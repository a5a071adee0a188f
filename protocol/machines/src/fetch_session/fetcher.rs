//! The fetcher's half of a fetch session: what its leader was told, so that a request names only what has changed since.
//!
//! Source: KIP-227; `FetchSessionHandler` of Kafka's clients.

use std::collections::{BTreeMap, BTreeSet};

use model::ErrorCode;

use super::{FetchKey, FetchPartition, INITIAL_EPOCH, NO_SESSION, next_epoch};

/// What one request says of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    pub session_id: i32,
    pub epoch: i32,
    pub partitions: Vec<FetchPartition>,
    pub forgotten: Vec<FetchKey>,
}

/// Why an answer does not fit the session: the next request opens a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("{}", .0.name())]
    Refused(ErrorCode),
    #[error("the answer names a partition that is not in the session")]
    Unasked,
    #[error("the answer to a full request lacks a partition")]
    Missing,
}

/// A session as its fetcher knows it.
#[derive(Debug, Default)]
pub struct FetcherSession {
    session_id: i32,
    /// Of the next request.
    epoch: i32,
    wanted: BTreeMap<FetchKey, FetchPartition>,
    /// Wanted otherwise than the leader was told.
    changed: BTreeSet<FetchKey>,
    /// No longer wanted, and the leader does not know.
    forgotten: BTreeSet<FetchKey>,
    /// The leader knows of them, by this session.
    told: BTreeSet<FetchKey>,
    /// Of them the leader's last word came to nothing.
    unheard: BTreeSet<FetchKey>,
}

impl FetcherSession {
    /// Fetches a partition, or fetches it otherwise, from the next request on.
    pub fn want(&mut self, partition: FetchPartition) {
        let key = &partition.key;
        if self.wanted.get(key) == Some(&partition) {
            return;
        }
        self.forgotten.remove(key);
        self.changed.insert(key.clone());
        self.wanted.insert(key.clone(), partition);
    }

    /// Fetches a partition no longer.
    pub fn forget(&mut self, key: &FetchKey) {
        if self.wanted.remove(key).is_some() {
            self.changed.remove(key);
            if self.told.contains(key) {
                self.forgotten.insert(key.clone());
            }
        }
    }

    /// What the leader said of a partition was not taken in, and in one session it says only what has changed since: what it knows to
    /// be committed would not be heard of before there is another record. Either the leader comes to forget the partition, or the
    /// next request opens another session.
    pub fn unheard(&mut self, key: &FetchKey) {
        self.unheard.insert(key.clone());
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub fn partitions(&self) -> impl Iterator<Item = &FetchPartition> {
        self.wanted.values()
    }

    pub fn get(&self, key: &FetchKey) -> Option<&FetchPartition> {
        self.wanted.get(key)
    }

    /// The next request. It must be [`answered`](Self::answered) or [`failed`](Self::failed) before another is made.
    pub fn request(&mut self) -> SessionRequest {
        let unheard = std::mem::take(&mut self.unheard);
        if unheard.iter().any(|key| self.told.contains(key) && !self.forgotten.contains(key)) {
            self.begin_anew();
        }
        let full = self.epoch == INITIAL_EPOCH;
        let changed = std::mem::take(&mut self.changed);
        let forgotten = std::mem::take(&mut self.forgotten);
        if full {
            self.told = self.wanted.keys().cloned().collect();
        } else {
            self.told.retain(|key| !forgotten.contains(key));
            self.told.extend(changed.iter().cloned());
        }
        SessionRequest {
            session_id: self.session_id,
            epoch: self.epoch,
            partitions: match full {
                true => self.wanted.values().cloned().collect(),
                false => changed.iter().filter_map(|key| self.wanted.get(key)).cloned().collect(),
            },
            forgotten: if full { Vec::new() } else { forgotten.into_iter().collect() },
        }
    }

    /// Takes the answer's error code, session id and the partitions that it names.
    ///
    /// # Errors
    /// Nothing in the answer may be used.
    pub fn answered<'a>(
        &mut self,
        error: ErrorCode,
        session_id: i32,
        named: impl Iterator<Item = &'a FetchKey>,
    ) -> Result<(), SessionError> {
        if error != ErrorCode::None {
            if error == ErrorCode::FetchSessionIdNotFound {
                self.session_id = NO_SESSION;
            }
            self.begin_anew();
            return Err(SessionError::Refused(error));
        }
        let named: BTreeSet<&FetchKey> = named.collect();
        let full = self.epoch == INITIAL_EPOCH;
        let unfit = if named.iter().any(|key| !self.told.contains(*key)) {
            Some(SessionError::Unasked)
        } else if full && named.len() < self.told.len() {
            Some(SessionError::Missing)
        } else {
            None
        };
        if let Some(unfit) = unfit {
            if full {
                self.session_id = NO_SESSION;
            }
            self.begin_anew();
            return Err(unfit);
        }
        if session_id == NO_SESSION {
            self.session_id = NO_SESSION;
            self.begin_anew();
        } else {
            self.session_id = session_id;
            self.epoch = next_epoch(self.epoch);
        }
        Ok(())
    }

    /// The last request has no answer: whether the leader took it nobody knows.
    pub fn failed(&mut self) {
        self.begin_anew();
    }

    /// The next request names the session that there may be, which the leader then closes.
    fn begin_anew(&mut self) {
        self.epoch = INITIAL_EPOCH;
        self.told.clear();
        self.changed.clear();
        self.forgotten.clear();
    }
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::super::TopicKey;
    use super::*;

    fn key(partition: i32) -> FetchKey {
        FetchKey { topic: TopicKey::Id(Uuid::from_u128(7)), partition }
    }

    fn at(partition: i32, fetch_offset: i64) -> FetchPartition {
        FetchPartition {
            key: key(partition),
            fetch_offset,
            log_start_offset: 0,
            max_bytes: 100,
            current_leader_epoch: 1,
            last_fetched_epoch: -1,
        }
    }

    fn answer(session: &mut FetcherSession, id: i32, named: &[i32]) -> Result<(), SessionError> {
        let named: Vec<FetchKey> = named.iter().map(|partition| key(*partition)).collect();
        session.answered(ErrorCode::None, id, named.iter())
    }

    fn opened() -> FetcherSession {
        let mut session = FetcherSession::default();
        session.want(at(0, 10));
        session.want(at(1, 20));
        let first = session.request();
        assert_eq!((first.session_id, first.epoch), (NO_SESSION, INITIAL_EPOCH));
        assert_eq!(first.partitions, [at(0, 10), at(1, 20)]);
        answer(&mut session, 5, &[0, 1]).unwrap();
        session
    }

    #[test]
    fn after_the_first_answer_only_changes_are_sent() {
        let mut session = opened();
        session.want(at(0, 10));
        session.want(at(1, 21));
        session.want(at(2, 0));
        let second = session.request();
        assert_eq!((second.session_id, second.epoch), (5, 1));
        assert_eq!(second.partitions, [at(1, 21), at(2, 0)]);
        assert_eq!(second.forgotten, []);
        answer(&mut session, 5, &[2]).unwrap();
        session.forget(&key(1));
        let third = session.request();
        assert_eq!((third.epoch, third.partitions, third.forgotten), (2, vec![], vec![key(1)]));
        answer(&mut session, 5, &[]).unwrap();
        assert_eq!(session.request().forgotten, []);
    }

    #[test]
    fn what_comes_and_goes_between_two_requests_is_not_told() {
        let mut session = opened();
        session.want(at(7, 0));
        session.forget(&key(7));
        session.forget(&key(0));
        session.want(at(0, 11));
        let next = session.request();
        assert_eq!((next.partitions, next.forgotten), (vec![at(0, 11)], vec![]));
    }

    #[test]
    fn what_was_not_taken_in_is_asked_for_by_a_new_session_unless_the_leader_forgot_it() {
        let mut session = opened();
        session.unheard(&key(1));
        let next = session.request();
        assert_eq!((next.session_id, next.epoch), (5, INITIAL_EPOCH));
        assert_eq!((next.partitions, next.forgotten), (vec![at(0, 10), at(1, 20)], vec![]));
        answer(&mut session, 6, &[0, 1]).unwrap();

        session.unheard(&key(1));
        session.forget(&key(1));
        let next = session.request();
        assert_eq!((next.session_id, next.epoch, next.forgotten), (6, 1, vec![key(1)]));
        answer(&mut session, 6, &[]).unwrap();
        session.want(at(1, 20));
        let next = session.request();
        assert_eq!((next.epoch, next.partitions), (2, vec![at(1, 20)]));
        answer(&mut session, 6, &[1]).unwrap();

        // Forgotten, and wanted again before the leader heard of it.
        session.unheard(&key(1));
        session.forget(&key(1));
        session.want(at(1, 21));
        let next = session.request();
        assert_eq!((next.session_id, next.epoch), (6, INITIAL_EPOCH));
    }

    #[test]
    fn a_session_that_is_gone_is_opened_anew_with_everything() {
        let mut session = opened();
        session.request();
        let gone = ErrorCode::FetchSessionIdNotFound;
        session.answered(gone, 0, [].into_iter()).unwrap_err();
        let next = session.request();
        assert_eq!((next.session_id, next.epoch, next.partitions.len()), (NO_SESSION, 0, 2));
    }

    #[test]
    fn after_a_failure_the_old_session_is_named_so_that_it_is_closed() {
        for fail in [
            |session: &mut FetcherSession| session.failed(),
            |session: &mut FetcherSession| {
                let error = ErrorCode::InvalidFetchSessionEpoch;
                session.answered(error, 0, [].into_iter()).unwrap_err();
            },
            |session: &mut FetcherSession| {
                assert_eq!(answer(session, 5, &[9]), Err(SessionError::Unasked));
            },
        ] {
            let mut session = opened();
            session.forget(&key(1));
            session.request();
            fail(&mut session);
            let next = session.request();
            assert_eq!((next.session_id, next.epoch), (5, INITIAL_EPOCH));
            assert_eq!((next.partitions, next.forgotten), (vec![at(0, 10)], vec![]));
        }
    }

    #[test]
    fn a_full_answer_names_every_partition() {
        let mut session = FetcherSession::default();
        session.want(at(0, 1));
        session.want(at(1, 1));
        session.request();
        assert_eq!(answer(&mut session, 5, &[0]), Err(SessionError::Missing));
        assert_eq!(session.request().session_id, NO_SESSION);
    }

    #[test]
    fn a_leader_without_room_for_sessions_is_told_everything_each_time() {
        let mut session = FetcherSession::default();
        session.want(at(0, 1));
        for _ in 0..3 {
            let request = session.request();
            assert_eq!((request.session_id, request.epoch), (NO_SESSION, INITIAL_EPOCH));
            assert_eq!(request.partitions.len(), 1);
            answer(&mut session, NO_SESSION, &[0]).unwrap();
        }
    }
}
