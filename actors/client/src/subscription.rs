//! The appends to a partition, told to an actor: read from its log, so that who is slow gets them later, and is told where the log has
//! lost them by then.

use std::time::Duration;

use model::TopicPartition;
use runtime::{Actor, Cx, Message, Ref};

use crate::client::Client;
use crate::consumer::{ConsumeError, ConsumerConfig, Reset, Start};
use crate::feed::{Fed, Feeding};

/// A partition that cannot be read is looked at again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// What a subscriber is told, in the order of the log.
#[derive(Debug)]
pub enum Appended {
    /// They count against the room of the subscriber until they are dropped; it gets no more when that is full.
    Records(Fed),
    /// These offsets are not in the log any more. Where `to` lies before `from`, the log was cut: what was told from `to` on is not in
    /// it, and others come in its place; also where it reaches as far again.
    Missed { from: i64, to: i64 },
    /// The partition cannot be read, or for a second could not be, as where it has no leader; it is tried again. Told once, unless there is
    /// another reason that trying does not mend, until it is [readable](Appended::Readable).
    Unreadable(ConsumeError),
    /// It can be read again.
    Readable,
}

impl Client {
    /// Tells an actor of what is appended to a partition, once it is committed, until the actor ends; wherever the partition's leader
    /// is. An actor that restarts subscribes anew: that a log was cut before then is told to nobody.
    pub fn subscribe<A: Actor>(
        &self,
        cx: &mut Cx<A>,
        partition: TopicPartition,
        start: Start,
        message: impl Fn(Appended) -> A::Msg + Send + 'static,
    ) {
        let (client, me) = (self.clone(), cx.me().clone());
        cx.spawn_task(async move {
            let config = ConsumerConfig { reset: Reset::Fail, ..ConsumerConfig::default() };
            let mut consumer = client.consumer(config).noticing_cuts();
            // Nobody has committed for it.
            let start = if start == Start::Committed { Start::Earliest } else { start };
            consumer.assign(partition.clone(), start);
            let feeding = Feeding::new(consumer);
            let mut telling = Telling { client, partition, feeding, me, message, told: None };
            while telling.round().await.is_some() {}
        });
    }
}

/// Who reads for a subscriber, which is gone where there is nothing.
struct Telling<M: Message, F> {
    client: Client,
    partition: TopicPartition,
    feeding: Feeding,
    me: Ref<M>,
    message: F,
    /// Why the partition cannot be read, as far as the subscriber knows.
    told: Option<ConsumeError>,
}

impl<M: Message, F: Fn(Appended) -> M> Telling<M, F> {
    async fn tell(&mut self, what: Appended) -> Option<()> {
        self.me.send((self.message)(what)).await.ok()
    }

    async fn round(&mut self) -> Option<()> {
        match self.feeding.round().await {
            Ok(all) => {
                self.tell_of_trouble().await?;
                for records in all {
                    let fed = self.feeding.hand_out(records).await;
                    self.tell(Appended::Records(fed)).await?;
                }
                Some(())
            }
            Err(error) => match self.go_on(error).await {
                Ok(None) => Some(()),
                Ok(Some((from, to))) => self.tell(Appended::Missed { from, to }).await,
                Err(error) => self.fails(error).await,
            },
        }
    }

    async fn tell_of_trouble(&mut self) -> Option<()> {
        let now = self.client.world().mono();
        let what = match (self.feeding.consumer.trouble(&self.partition), &self.told) {
            (Some((since, why)), None) if now >= *since + PAUSE => {
                self.told = Some(why.clone());
                Appended::Unreadable(why.clone())
            }
            (None, Some(_)) => {
                self.told = None;
                Appended::Readable
            }
            _ => return Some(()),
        };
        self.tell(what).await
    }

    /// What no try of the consumer's own mends.
    async fn fails(&mut self, error: ConsumeError) -> Option<()> {
        self.feeding.consumer.note_trouble(&self.partition, error.clone());
        if self.told.as_ref() != Some(&error) {
            self.told = Some(error.clone());
            self.tell(Appended::Unreadable(error)).await?;
        }
        self.client.world().sleep(PAUSE).await;
        Some(())
    }

    /// From where there is a log, or to where it has parted from what was told: what is missed by that.
    async fn go_on(&mut self, error: ConsumeError) -> Result<Option<(i64, i64)>, ConsumeError> {
        let (consumer, of) = (&mut self.feeding.consumer, &self.partition);
        let (from, to) = match error {
            ConsumeError::Parted { epoch, end, .. } => {
                let Some(from) = consumer.position(of) else { return Ok(None) };
                (from, consumer.part(of, (epoch, end), from))
            }
            ConsumeError::OutOfRange { offset: from, .. } => {
                let earliest = consumer.offset_of(of, Reset::Earliest).await?;
                let latest = consumer.offset_of(of, Reset::Latest).await?;
                if earliest <= from && from <= latest {
                    // Not for the offset's sake: it knows no epoch as new as the last that was read.
                    (from, consumer.part_from_last(of).unwrap_or(from).max(earliest))
                } else {
                    consumer.forget_epochs(of);
                    (from, if from < earliest { earliest } else { latest })
                }
            }
            error => return Err(error),
        };
        consumer.assign(of.clone(), Start::Offset(to));
        Ok((from != to).then_some((from, to)))
    }
}
