//! The memory of answers that their peers have not taken yet, over all connections of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Answers of this many bytes together are each connection's own: the kernel takes most of them at once.
pub(crate) const SMALL_ANSWER: usize = 16 << 10;

/// The node's budget for answers that are longer. An answer is there before it can wait for room, so that beyond the limit
/// connections make room instead: first the one whose answer has been unread for longest.
#[derive(Debug, Clone)]
pub(crate) struct AnswerMemory {
    limit: usize,
    unread: Arc<Mutex<Unread>>,
}

#[derive(Debug, Default)]
struct Unread {
    used: usize,
    next: u64,
    /// By age. Dropping the sender tells the connection.
    held: BTreeMap<u64, (usize, oneshot::Sender<()>)>,
}

/// What a connection holds of it; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Claim {
    memory: AnswerMemory,
    id: u64,
    gives_way: oneshot::Receiver<()>,
}

impl AnswerMemory {
    pub(crate) fn new(limit: u64) -> AnswerMemory {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        AnswerMemory { limit, unread: Arc::default() }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what an answer holds. One that is larger than the limit passes alone.
    pub(crate) fn hold(&self, bytes: usize) -> Claim {
        let (told, gives_way) = oneshot::channel();
        let mut unread = self.unread();
        let id = unread.next;
        unread.next += 1;
        unread.used = unread.used.saturating_add(bytes);
        unread.held.insert(id, (bytes, told));
        while unread.used > self.limit && unread.held.len() > 1 {
            let Some((_, (oldest, _))) = unread.held.pop_first() else { break };
            unread.used -= oldest;
        }
        drop(unread);
        Claim { memory: self.clone(), id, gives_way }
    }
}

impl Claim {
    /// Ends when the connection must make room for others.
    pub(crate) async fn gives_way(&mut self) {
        let _ = (&mut self.gives_way).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut unread = self.memory.unread();
        if let Some((bytes, _)) = unread.held.remove(&self.id) {
            unread.used -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_make_room_until_the_newest_fits() {
        let memory = AnswerMemory::new(100);
        let (mut first, mut second, third) = (memory.hold(60), memory.hold(30), memory.hold(10));
        assert!(
            first.gives_way.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty)
        );
        let fourth = memory.hold(70);
        first.gives_way().await;
        second.gives_way().await;
        assert_eq!(memory.unread().used, 80);
        let fifth = memory.hold(1000);
        assert_eq!(memory.unread().used, 1000, "it passes alone");
        drop((first, second, third, fourth, fifth));
        assert_eq!(memory.unread().used, 0);
    }
}
