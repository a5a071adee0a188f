//! What was answered lately, so that a command that is asked again is not decided again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::ask::AskId;
use crate::map::Map;

const MOST: usize = 65_536;
const MOST_BYTES: usize = 16 << 20;
/// In milliseconds. The topic's records are not compacted away before, so that an owner that loads knows these answers too.
pub const KEPT_MS: i64 = 600_000;

#[derive(Default)]
pub(super) struct Answers {
    known: Map<AskId, (Arc<str>, Option<Bytes>)>,
    order: VecDeque<(i64, AskId)>,
    bytes: usize,
}

impl Answers {
    /// What was answered; nothing, where it was decided without a reply.
    pub(super) fn get(&self, id: &AskId, key: &str) -> Option<&Option<Bytes>> {
        self.known.get(id).filter(|(of, _)| **of == *key).map(|(_, answer)| answer)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn add(&mut self, at_ms: i64, id: AskId, key: &Arc<str>, answer: Option<Bytes>) {
        self.bytes += size(&answer);
        if let Some((_, before)) = self.known.insert(id, (key.clone(), answer)) {
            self.bytes -= size(&before);
        }
        self.order.push_back((at_ms, id));
        while let Some((oldest_ms, oldest)) = self.order.front().copied() {
            let full = self.order.len() > MOST || self.bytes > MOST_BYTES;
            if !full && oldest_ms >= at_ms.saturating_sub(KEPT_MS) {
                return;
            }
            self.order.pop_front();
            if let Some((_, answer)) = self.known.remove(&oldest) {
                self.bytes -= size(&answer);
            }
        }
    }
}

fn size(answer: &Option<Bytes>) -> usize {
    answer.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::*;

    fn id(sequence: u64) -> AskId {
        AskId { asker: Uuid([1; 16]), sequence }
    }

    #[test]
    fn the_oldest_make_room_by_number_bytes_and_age() {
        let key: Arc<str> = "key".into();
        let mut answers = Answers::default();
        for n in 0..=MOST as u64 {
            answers.add(0, id(n), &key, Some(Bytes::from_static(b"x")));
        }
        assert_eq!((answers.get(&id(0), "key"), answers.len()), (None, MOST));
        assert!(answers.get(&id(1), "key").is_some());
        answers.add(0, id(1 << 40), &key, Some(Bytes::from(vec![0; MOST_BYTES])));
        assert_eq!((answers.len(), answers.bytes), (1, MOST_BYTES));
        answers.add(KEPT_MS + 1, id(2), &key, Some(Bytes::from_static(b"y")));
        assert_eq!((answers.len(), answers.bytes), (1, 1));
    }

    #[test]
    fn an_id_answers_for_its_key_alone() {
        let mut answers = Answers::default();
        answers.add(0, id(1), &"a".into(), Some(Bytes::from_static(b"x")));
        assert_eq!(answers.get(&id(1), "b"), None);
    }
}
