//! MetadataPublisher: follows the metadata log and shows the node what it says, as an image that costs nothing to hold.
//!
//! Supervisor: `quorum`. It also has the snapshots written: it is the one who knows what one must say.

use std::sync::Arc;
use std::time::Duration;

use machines::consensus::{OffsetAndEpoch, SnapshotClock, SnapshotPolicy};
use machines::metadata::{MetadataImage, MetadataLoader};
use model::Now;
use runtime::{Actor, Address, Cx, Failure, Outcome, Publisher};

use crate::raft::{RaftEvent, RaftMsg};

#[derive(Clone)]
pub struct PublisherArgs {
    pub raft: Address<RaftMsg>,
    pub images: Arc<Publisher<MetadataImage>>,
    /// What a controller on this node has of the same log.
    pub settled: Arc<Publisher<MetadataImage>>,
    pub snapshots: SnapshotPolicy,
}

pub enum PublisherMsg {
    Raft(RaftEvent),
    SnapshotDue,
}

runtime::messages!(PublisherMsg { Raft, SnapshotDue });

pub struct MetadataPublisher {
    args: PublisherArgs,
    loader: MetadataLoader,
    clock: SnapshotClock,
    /// Of the newest record, unix milliseconds: a snapshot names it, and is given up that long after.
    last_ms: i64,
}

impl Actor for MetadataPublisher {
    const KIND: &'static str = "metadata-publisher";
    type Msg = PublisherMsg;
    type Args = PublisherArgs;

    async fn start(cx: &mut Cx<Self>, args: PublisherArgs) -> Result<Self, Failure> {
        let me = cx.me().clone();
        let sink = Arc::new(move |event| me.send_now(PublisherMsg::Raft(event)).is_ok());
        args.raft.send(RaftMsg::Subscribe { sink }).await?;
        if let Some(interval) = args.snapshots.max_interval {
            cx.every(interval.max(Duration::from_secs(1)), || PublisherMsg::SnapshotDue);
        }
        let clock = SnapshotClock::new(args.snapshots, cx.world().now());
        Ok(MetadataPublisher { loader: MetadataLoader::default(), clock, last_ms: 0, args })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PublisherMsg) -> Outcome {
        match msg {
            PublisherMsg::Raft(event) => self.follow(event)?,
            PublisherMsg::SnapshotDue => {}
        }
        if let Some(message) = self.snapshot_if_due(cx.world().now()) {
            self.args.raft.send(message).await?;
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        let image = self.loader.image();
        format!("offset {}, {} topics", image.provenance.offset, image.topics.len())
    }
}

impl MetadataPublisher {
    fn follow(&mut self, event: RaftEvent) -> Outcome {
        let committed = match event {
            RaftEvent::Snapshot { offset, epoch, timestamp_ms, records, committed } => {
                self.loader = MetadataLoader::default();
                for record in records.iter() {
                    self.loader.replay(record, offset - 1, epoch)?;
                }
                self.loader.skip_to(offset - 1, epoch);
                self.last_ms = timestamp_ms;
                committed
            }
            RaftEvent::Batch {
                base_offset,
                next_offset,
                epoch,
                timestamp_ms,
                records,
                bytes,
                committed,
            } => {
                self.share();
                for (offset, record) in (base_offset..).zip(&records) {
                    self.loader.replay(record, offset, epoch)?;
                }
                if records.is_empty() {
                    self.loader.skip_to(next_offset - 1, epoch);
                } else {
                    self.clock.committed(bytes);
                }
                self.last_ms = timestamp_ms;
                committed
            }
            RaftEvent::Bootstrap { .. }
            | RaftEvent::Leading { .. }
            | RaftEvent::NotLeading { .. } => return Ok(()),
        };
        // An image on the way there would show a cluster without the topics that come later: their replicas would be strays.
        let image = self.loader.image();
        // A leader that is new knows less of what is committed than was shown before this actor started anew.
        let shown = self.args.images.get().provenance.offset;
        if committed > 0 && image.provenance.offset + 1 >= committed.max(shown + 1) {
            self.args.images.publish(image.clone());
        }
        Ok(())
    }

    /// Where the controller has come as far, its image takes the place of this one, which says the same (RE-1).
    fn share(&mut self) {
        let settled = self.args.settled.get();
        let image = self.loader.image();
        if settled.provenance == image.provenance && self.loader.transaction_start().is_none() {
            debug_assert_eq!(
                settled.differs_in(image),
                [""; 0],
                "RE-1: not what the controller has"
            );
            self.loader = MetadataLoader::from_image(MetadataImage::clone(&settled));
        }
    }

    fn snapshot_if_due(&mut self, now: Now) -> Option<RaftMsg> {
        self.clock.due(now)?;
        if self.loader.transaction_start().is_some() {
            return None;
        }
        self.clock.written(now);
        let image = self.loader.image();
        Some(RaftMsg::WriteSnapshot {
            id: OffsetAndEpoch {
                epoch: image.provenance.epoch,
                offset: image.provenance.offset + 1,
            },
            records: image.to_records(),
            version: image.metadata_version(),
            timestamp_ms: self.last_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use machines::metadata::MetadataVersion;
    use wire::{FeatureLevelRecord, MetadataRecord};

    use super::*;

    const SNAPSHOTS: SnapshotPolicy = SnapshotPolicy { max_record_bytes: 1, max_interval: None };
    const NOW: Now = Now::new(Duration::from_secs(100), 100_000);

    /// As it starts, with what those before it showed.
    fn publisher(images: &Arc<Publisher<MetadataImage>>) -> MetadataPublisher {
        let args = PublisherArgs {
            raft: Address::vacant(),
            images: images.clone(),
            settled: shown(),
            snapshots: SNAPSHOTS,
        };
        let clock = SnapshotClock::new(SNAPSHOTS, NOW);
        MetadataPublisher { args, loader: MetadataLoader::default(), clock, last_ms: 0 }
    }

    fn shown() -> Arc<Publisher<MetadataImage>> {
        Arc::new(runtime::watch(MetadataImage::default()).0)
    }

    fn batch(base_offset: i64, committed: i64) -> RaftEvent {
        let level = FeatureLevelRecord {
            name: "metadata.version".to_owned(),
            feature_level: MetadataVersion::LATEST.0,
            ..Default::default()
        };
        RaftEvent::Batch {
            base_offset,
            next_offset: base_offset + 1,
            epoch: 1,
            timestamp_ms: 77,
            records: vec![MetadataRecord::FeatureLevel(level)],
            bytes: 50,
            committed,
        }
    }

    /// Its retention is counted from there, on each node and after each restart alike.
    #[test]
    fn a_snapshot_is_as_old_as_the_newest_record_in_it() {
        let mut publisher = publisher(&shown());
        publisher.follow(batch(0, 1)).unwrap();
        let Some(RaftMsg::WriteSnapshot { id, timestamp_ms, .. }) = publisher.snapshot_if_due(NOW)
        else {
            panic!("no snapshot")
        };
        assert_eq!((id.offset, timestamp_ms), (1, 77));
    }

    /// The replicas of a topic that an image does not know yet would be deleted.
    #[test]
    fn what_was_shown_is_not_taken_back_where_a_new_leader_knows_less_of_what_is_committed() {
        let images = shown();
        let offset = || images.get().provenance.offset;
        let mut first = publisher(&images);
        (0..3).for_each(|n| first.follow(batch(n, n + 1)).unwrap());
        assert_eq!(offset(), 2);
        let mut next = publisher(&images);
        for n in 0..2 {
            next.follow(batch(n, 2)).unwrap();
            assert_eq!(offset(), 2);
        }
        next.follow(batch(2, 3)).unwrap();
        next.follow(batch(3, 4)).unwrap();
        assert_eq!(offset(), 3);
    }
}
