use std::time::Duration;

use crate::actor::Message;
use crate::address::Ref;
use crate::map::Map;
use crate::shell::Envelope;
use crate::world::{Bulkhead, Task};

/// Names a running timer of one actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(u64);

enum Due<M> {
    Once(M),
    Every(Duration, Box<dyn FnMut() -> M + Send>),
}

pub(crate) struct Timers<M: Message> {
    running: Map<TimerId, (Due<M>, Task)>,
    next: u64,
    bulkhead: Bulkhead,
}

/// What a timer that fired is for.
pub(crate) enum Fired<M> {
    /// The message, and the period after which it is due again, once this one is handled.
    Message(M, Option<Duration>),
    Cancelled,
}

impl<M: Message> Timers<M> {
    pub(crate) fn new(bulkhead: Bulkhead) -> Self {
        Timers { running: Map::new(), next: 0, bulkhead }
    }

    pub(crate) fn once(&mut self, me: &Ref<M>, after: Duration, message: M) -> TimerId {
        self.add(me, after, Due::Once(message))
    }

    pub(crate) fn every(
        &mut self,
        me: &Ref<M>,
        period: Duration,
        message: impl FnMut() -> M + Send + 'static,
    ) -> TimerId {
        self.add(me, period, Due::Every(period, Box::new(message)))
    }

    fn add(&mut self, me: &Ref<M>, after: Duration, due: Due<M>) -> TimerId {
        let id = TimerId(self.next);
        self.next += 1;
        let task = self.arm(me, after, id);
        self.running.insert(id, (due, task));
        id
    }

    fn arm(&self, me: &Ref<M>, after: Duration, id: TimerId) -> Task {
        let (world, mailbox) = (me.identity.world.clone(), me.mailbox.clone());
        me.identity.world.spawn(self.bulkhead, async move {
            world.sleep(after).await;
            let _ = mailbox.send_message(Envelope::Timer(id));
        })
    }

    pub(crate) fn rearm(&mut self, me: &Ref<M>, after: Duration, id: TimerId) {
        if self.running.contains_key(&id) {
            let task = self.arm(me, after, id);
            if let Some(entry) = self.running.get_mut(&id) {
                entry.1 = task;
            }
        }
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        if let Some((_, task)) = self.running.remove(&id) {
            task.abort();
        }
    }

    pub(crate) fn fired(&mut self, id: TimerId) -> Fired<M> {
        match self.running.remove(&id) {
            Some((Due::Once(message), _)) => Fired::Message(message, None),
            Some((Due::Every(period, mut make), task)) => {
                let message = make();
                self.running.insert(id, (Due::Every(period, make), task));
                Fired::Message(message, Some(period))
            }
            None => Fired::Cancelled,
        }
    }
}

impl<M: Message> Drop for Timers<M> {
    fn drop(&mut self) {
        for (_, task) in self.running.values() {
            task.abort();
        }
    }
}
