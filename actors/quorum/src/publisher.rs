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
    /// Wall clock of the newest record, which a snapshot names.
    last_ms: i64,
}

impl Actor for MetadataPublisher {
    const KIND: &'static str = "metadata-publisher";
    type Msg = PublisherMsg;
    type Args = PublisherArgs;

    async fn start(cx: &mut Cx<Self>, args: PublisherArgs) -> Result<Self, Failure> {
        let me = cx.me().clone();
        let sink = Arc::new(move |event| {
            // One that has ended subscribes anew when it is restarted.
            let _ = me.send_now(PublisherMsg::Raft(event));
        });
        args.raft.send(RaftMsg::Subscribe { sink }).await?;
        if let Some(interval) = args.snapshots.max_interval {
            cx.every(interval.max(Duration::from_secs(1)), || PublisherMsg::SnapshotDue);
        }
        let clock = SnapshotClock::new(args.snapshots, cx.world().now());
        Ok(MetadataPublisher { loader: MetadataLoader::default(), clock, last_ms: 0, args })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: PublisherMsg) -> Outcome {
        match msg {
            PublisherMsg::Raft(event) => self.follow(cx, event)?,
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
    fn follow(&mut self, cx: &Cx<Self>, event: RaftEvent) -> Outcome {
        let committed = match event {
            RaftEvent::Snapshot { offset, epoch, records, committed } => {
                self.loader = MetadataLoader::default();
                for record in records.iter() {
                    self.loader.replay(record, offset - 1, epoch)?;
                }
                self.loader.skip_to(offset - 1, epoch);
                committed
            }
            RaftEvent::Batch { base_offset, next_offset, epoch, records, bytes, committed } => {
                self.share();
                for (offset, record) in (base_offset..).zip(&records) {
                    self.loader.replay(record, offset, epoch)?;
                }
                if records.is_empty() {
                    self.loader.skip_to(next_offset - 1, epoch);
                } else {
                    self.clock.committed(bytes);
                    self.last_ms = cx.world().now().wall_ms;
                }
                committed
            }
            RaftEvent::Bootstrap { .. }
            | RaftEvent::Leading { .. }
            | RaftEvent::NotLeading { .. } => return Ok(()),
        };
        // An image on the way there would show a cluster without the topics that come later: their replicas would be strays.
        let image = self.loader.image();
        if committed > 0 && image.provenance.offset + 1 >= committed {
            self.args.images.publish(image.clone());
        }
        Ok(())
    }

    /// Where the controller has come as far, its image takes the place of this one, which says the same (RE-1).
    fn share(&mut self) {
        let settled = self.args.settled.get();
        let image = self.loader.image();
        if settled.provenance == image.provenance && self.loader.transaction_start().is_none() {
            debug_assert!(settled.same_content(image), "the controller decided on something else");
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
