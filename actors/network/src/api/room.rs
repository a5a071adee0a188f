//! The bound on answers that can grow out of proportion to their requests: Kafka answers a thing as often as it is named.

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
}

/// After so many parts of an answer that are made one by one, others have their turn on the thread.
const PARTS: usize = 100;

/// Makes an answer's parts, and lets others run now and then.
pub(super) async fn in_turns<T>(parts: impl Iterator<Item = T>) -> Vec<T> {
    let mut made = Vec::with_capacity(parts.size_hint().0);
    for part in parts {
        made.push(part);
        if made.len() % PARTS == 0 {
            tokio::task::yield_now().await;
        }
    }
    made
}

impl Room {
    pub(super) fn new() -> Room {
        Room { left: MAX_ANSWER, turn: 0 }
    }

    /// Accounts for a part of the answer, and lets others run now and then.
    pub(super) async fn take(&mut self, bytes: usize) -> Result<(), TooLong> {
        self.left = self.left.checked_sub(bytes).ok_or(TooLong)?;
        self.turn += bytes;
        if self.turn >= TURN {
            self.turn = 0;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
