//! The memory that requests may hold, over all connections of a node.

use std::sync::Arc;

use runtime::{Credit, Credits};

use super::frames::READ_SIZE;

/// The node's budget for bytes of requests. Connections take from it as bytes arrive, never for bytes that were only promised.
///
/// Many long frames, each half there, could hold all of it and wait for each other: then one at a time goes beyond.
#[derive(Debug, Clone)]
pub(crate) struct RequestMemory {
    bytes: Credits,
    beyond: Credits,
}

impl RequestMemory {
    pub(crate) fn new(limit: u64) -> Self {
        RequestMemory { bytes: Credits::new(limit), beyond: Credits::new(1) }
    }

    pub(crate) fn held(&self) -> Held {
        Held { memory: self.clone(), credits: Vec::new(), covered: 0, beyond: None }
    }

    pub(crate) fn credits(&self) -> &Credits {
        &self.bytes
    }
}

/// What a connection has taken for the frame that is under way.
#[derive(Debug)]
pub(crate) struct Held {
    memory: RequestMemory,
    credits: Vec<Credit>,
    covered: usize,
    beyond: Option<Credit>,
}

/// What a whole frame holds; given back when its request, and all that was made of it, is gone.
#[derive(Debug)]
pub(crate) struct FrameCredit {
    _credits: Vec<Credit>,
    _beyond: Option<Credit>,
}

impl Held {
    pub(crate) fn any(&self) -> bool {
        self.covered > 0
    }

    /// Waits until that many bytes of a long frame are covered.
    pub(crate) async fn extend_to(&mut self, bytes: usize) {
        while self.covered < bytes && self.beyond.is_none() {
            let missing = (bytes - self.covered).min(READ_SIZE);
            let step = u32::try_from(missing).unwrap_or(u32::MAX);
            if let Some(credit) = self.memory.bytes.try_take(step) {
                self.credits.push(credit);
                self.covered += missing;
                continue;
            }
            tokio::select! {
                biased;
                credit = self.memory.bytes.take(step) => {
                    self.credits.push(credit);
                    self.covered += missing;
                }
                beyond = self.memory.beyond.take(1) => self.beyond = Some(beyond),
            }
        }
    }

    /// The cover of a whole frame of this length.
    pub(crate) async fn cover(&mut self, length: usize) -> Arc<FrameCredit> {
        if self.covered < length && self.beyond.is_none() {
            let missing = u32::try_from(length - self.covered).unwrap_or(u32::MAX);
            self.credits.push(self.memory.bytes.take(missing).await);
        }
        self.covered = 0;
        Arc::new(FrameCredit {
            _credits: std::mem::take(&mut self.credits),
            _beyond: self.beyond.take(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn when_all_is_held_by_half_frames_one_goes_on() {
        let memory = RequestMemory::new(2 * READ_SIZE as u64);
        let (mut one, mut other) = (memory.held(), memory.held());
        one.extend_to(READ_SIZE).await;
        other.extend_to(READ_SIZE).await;
        one.extend_to(10 * READ_SIZE).await;
        assert!(one.beyond.is_some());
        let whole = one.cover(10 * READ_SIZE).await;
        drop(whole);
        other.extend_to(2 * READ_SIZE).await;
        assert!(other.beyond.is_none(), "what the first gave back is enough");
        drop(other);
        assert_eq!(memory.credits().used(), 0);
    }
}
