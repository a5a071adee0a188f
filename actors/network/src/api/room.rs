//! The bound on answers that can grow out of proportion to their requests: Kafka answers a thing as often as it is named.

use std::sync::Arc;

use runtime::{Credit, Credits, Held};

use crate::Broker;

/// What an answer may hold in memory, in bytes. Far above what a client of good will asks for at once.
const MAX_ANSWER: usize = 100 << 20;
/// After this much of an answer, others have their turn on the thread.
const TURN: usize = 64 << 10;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an answer of more than {MAX_ANSWER} bytes")]
pub(super) struct TooLong;

/// What an answer that is being built may still come to.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    turn: usize,
    /// One answer at a time is large, over all connections.
    large: Credits,
    alone: Option<Credit>,
}

/// An answer that is not encoded yet.
pub(super) struct Built<R> {
    pub(super) answer: R,
    pub(super) alone: Option<Credit>,
}

/// After so many parts of an answer that are made one by one, others have their turn on the thread.
const PARTS: usize = 100;

/// Lets others run now and then, however many parts an answer has.
#[derive(Debug, Default)]
pub(super) struct Turns(usize);

impl Turns {
    /// One more part is made.
    pub(super) async fn made(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(PARTS) {
            tokio::task::yield_now().await;
        }
    }
}

/// Memory for an answer about the cluster, which is as long as there are things in it: waited for where it is much, and kept until
/// the answer is encoded. One that is larger than the whole budget is built alone.
pub(super) async fn memory_for(broker: &Broker, bytes: usize) -> Option<Held> {
    if bytes < TURN {
        return None;
    }
    Some(Arc::new(broker.cluster_answers.take(u32::try_from(bytes).unwrap_or(u32::MAX)).await))
}

/// Answers to requests that name less are not accounted for: each connection has one under way.
const FEW: usize = 4096;
/// What an answer takes for a thing that is named, beside its name: values, and a message.
const NAMED: usize = 512;

/// Whether [`memory_for_named`] is to be waited for.
pub(super) fn names_many(named: usize) -> bool {
    named >= FEW
}

/// Memory for an answer to a request that names so many things: as [`memory_for`], but of a budget of its own, as some such answers
/// wait for the controller or for coordinators.
pub(super) async fn memory_for_named(broker: &Broker, named: usize) -> Credit {
    broker.named_answers.take(u32::try_from(named * NAMED).unwrap_or(u32::MAX)).await
}

/// Work on one request that is done in place, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Work {
    since: usize,
}

impl Work {
    /// Bytes that are worked on between two turns of others.
    const TURN: usize = 1 << 20;
    /// What each piece costs beside its bytes, as bytes.
    const PIECE: usize = 4 << 10;

    /// Accounts for a piece of so many bytes that is done, and lets others run now and then.
    pub(super) async fn done(&mut self, bytes: usize) {
        self.since += Work::PIECE + bytes;
        if self.since >= Work::TURN {
            self.since = 0;
            tokio::task::yield_now().await;
        }
    }
}

impl Room {
    pub(super) fn new(broker: &Broker) -> Room {
        Room { left: MAX_ANSWER, turn: 0, large: broker.large_answers.clone(), alone: None }
    }

    /// Accounts for a part of the answer, and lets others run now and then. An answer that becomes large waits for its turn.
    pub(super) async fn take(&mut self, bytes: usize) -> Result<(), TooLong> {
        self.left = self.left.checked_sub(bytes).ok_or(TooLong)?;
        self.turn += bytes;
        if self.turn < TURN {
            return Ok(());
        }
        self.turn = 0;
        match &self.alone {
            Some(_) => tokio::task::yield_now().await,
            None => self.alone = Some(self.large.take(1).await),
        }
        Ok(())
    }

    /// The answer, with the turn that it has, to be kept until it is encoded: from then on it is accounted for as one.
    pub(super) fn holds<R>(self, answer: R) -> Built<R> {
        Built { answer, alone: self.alone }
    }
}
