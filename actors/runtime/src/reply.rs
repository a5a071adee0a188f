//! Replies that travel inside a message and may be parked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::address::AskError;
use crate::map::Map;
use crate::world::World;

/// The one who owed the answer dropped it: it failed, was stopped, or lost the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was dropped")]
pub struct Dropped;

/// Takes answers as they come: a connection hands out one sink and tells answers apart by token, without a channel each.
pub trait ReplySink<T>: Send + Sync {
    fn deliver(&self, token: u64, answer: Result<T, Dropped>);
}

impl<T, F: Fn(u64, Result<T, Dropped>) + Send + Sync> ReplySink<T> for F {
    fn deliver(&self, token: u64, answer: Result<T, Dropped>) {
        self(token, answer);
    }
}

/// Owes one answer. Dropping it answers [`Dropped`].
pub struct Reply<T>(Option<Target<T>>);

enum Target<T> {
    Oneshot(oneshot::Sender<T>),
    Sink(Arc<dyn ReplySink<T>>, u64),
}

impl<T> Reply<T> {
    pub fn new() -> (Reply<T>, Answer<T>) {
        let (sender, receiver) = oneshot::channel();
        (Reply(Some(Target::Oneshot(sender))), Answer(receiver))
    }

    pub fn to_sink(sink: Arc<dyn ReplySink<T>>, token: u64) -> Reply<T> {
        Reply(Some(Target::Sink(sink, token)))
    }

    pub fn send(mut self, answer: T) {
        match self.0.take() {
            Some(Target::Oneshot(sender)) => drop(sender.send(answer)),
            Some(Target::Sink(sink, token)) => sink.deliver(token, Ok(answer)),
            None => {}
        }
    }

    /// Whether nobody waits any more. A sink always does.
    pub fn is_closed(&self) -> bool {
        matches!(&self.0, Some(Target::Oneshot(sender)) if sender.is_closed())
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(Target::Sink(sink, token)) = self.0.take() {
            sink.deliver(token, Err(Dropped));
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The other end of a [`Reply`].
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    pub async fn get(self) -> Result<T, Dropped> {
        self.0.await.map_err(|_| Dropped)
    }

    /// As [`Answer::get`]; who gives up waiting may wait again.
    pub async fn come(&mut self) -> Result<T, Dropped> {
        (&mut self.0).await.map_err(|_| Dropped)
    }

    pub async fn within(self, world: &World, limit: Duration) -> Result<T, AskError> {
        match world.timeout(limit, self.get()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Dropped)) => Err(AskError::Dropped),
            Err(_) => Err(AskError::TimedOut),
        }
    }
}

/// Replies that wait for something, in the order of their keys, up to a bound.
#[derive(Debug)]
pub struct Parked<K: Ord, T> {
    waiting: Map<K, Reply<T>>,
    bound: usize,
}

/// The bound is reached, or the key taken: the reply comes back.
#[derive(Debug)]
pub struct Full<T>(pub Reply<T>);

impl<K: Ord, T> Parked<K, T> {
    pub fn new(bound: usize) -> Parked<K, T> {
        Parked { waiting: Map::new(), bound }
    }

    pub fn park(&mut self, key: K, reply: Reply<T>) -> Result<(), Full<T>> {
        if self.waiting.len() >= self.bound || self.waiting.contains_key(&key) {
            return Err(Full(reply));
        }
        self.waiting.insert(key, reply);
        Ok(())
    }

    /// Whether there was one under this key.
    pub fn answer(&mut self, key: &K, answer: T) -> bool {
        let reply = self.waiting.remove(key);
        let found = reply.is_some();
        if let Some(reply) = reply {
            reply.send(answer);
        }
        found
    }

    pub fn take(&mut self, key: &K) -> Option<Reply<T>> {
        self.waiting.remove(key)
    }

    /// All whose key is less than `key`, in order.
    pub fn take_below(&mut self, key: &K) -> Map<K, Reply<T>>
    where
        K: Clone,
    {
        let rest = self.waiting.split_off(key);
        std::mem::replace(&mut self.waiting, rest)
    }

    pub fn take_all(&mut self) -> Map<K, Reply<T>> {
        std::mem::take(&mut self.waiting)
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
