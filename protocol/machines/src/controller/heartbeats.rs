//! What the active controller knows of the brokers' sessions. Not in the log: a new controller gives every broker a new session.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Now;

#[derive(Debug, Clone, PartialEq)]
struct Session {
    broker_epoch: i64,
    /// None where it has no session that could end.
    contact: Option<Duration>,
    metadata_offset: i64,
    shutdown_offset: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Heartbeats {
    sessions: BTreeMap<i32, Session>,
}

impl Heartbeats {
    /// A new epoch is a new process: what is known of the old one is void.
    pub fn registered(&mut self, broker_id: i32, broker_epoch: i64) {
        let new =
            Session { broker_epoch, contact: None, metadata_offset: -1, shutdown_offset: None };
        let session = self.sessions.entry(broker_id).or_insert_with(|| new.clone());
        if session.broker_epoch != broker_epoch {
            *session = new;
        }
    }

    pub fn remove(&mut self, broker_id: i32) {
        self.sessions.remove(&broker_id);
    }

    pub fn contact(
        &mut self,
        broker_id: i32,
        broker_epoch: i64,
        metadata_offset: i64,
        at: Duration,
    ) {
        if let Some(session) =
            self.sessions.get_mut(&broker_id).filter(|s| s.broker_epoch == broker_epoch)
        {
            session.contact = Some(at);
            session.metadata_offset = metadata_offset;
        }
    }

    pub fn fenced(&mut self, broker_id: i32) {
        if let Some(session) = self.sessions.get_mut(&broker_id) {
            session.contact = None;
            session.shutdown_offset = None;
        }
    }

    /// The first offset stays: what came later has no leader on it.
    pub fn shutting_down(&mut self, broker_id: i32, offset: i64) {
        if let Some(session) = self.sessions.get_mut(&broker_id) {
            session.shutdown_offset.get_or_insert(offset);
        }
    }

    pub fn shutdown_offset(&self, broker_id: i32) -> Option<i64> {
        self.sessions.get(&broker_id)?.shutdown_offset
    }

    pub fn has_valid_session(
        &self,
        broker_id: i32,
        broker_epoch: i64,
        now: Now,
        timeout: Duration,
    ) -> bool {
        let session = self.sessions.get(&broker_id).filter(|s| s.broker_epoch == broker_epoch);
        session
            .and_then(|s| s.contact)
            .is_some_and(|contact| now.mono.saturating_sub(contact) < timeout)
    }

    /// Those whose session has run out, with their epochs.
    pub fn expired(&self, now: Now, timeout: Duration) -> impl Iterator<Item = (i32, i64)> {
        let expired = move |s: &Session| {
            s.contact.is_some_and(|contact| now.mono.saturating_sub(contact) >= timeout)
        };
        self.sessions.iter().filter(move |(_, s)| expired(s)).map(|(id, s)| (*id, s.broker_epoch))
    }

    /// How far the slowest has read, of those that this holds of.
    pub fn lowest_offset(&self, active: impl Fn(i32) -> bool) -> Option<i64> {
        let counted = self.sessions.iter().filter(|(id, _)| active(**id));
        counted.map(|(_, s)| s.metadata_offset).min()
    }
}
