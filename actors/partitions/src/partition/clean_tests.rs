use std::sync::Arc;
use std::time::Duration;

use log::LogToClean;
use model::settings::{CleanupPolicy, TopicConfig};
use runtime::{Answer, Reply};
use wire::batch::BatchBuilder;
use wire::compression::{Codec, Compression};

use super::PartitionMsg;
use super::tests::Replica;
use crate::cleaner::{Buffers, CleanRequest, CleanerTurns, PassFailed, PassResult};
use crate::room::Room;

const RECORDS: i64 = 40;

/// A replica of a `compact,delete` topic in the middle of a pass, at a byte a second.
struct Compacting {
    replica: Replica,
    turns: Arc<CleanerTurns>,
    pass: Answer<PassResult>,
}

fn begin_pass(replica: &Replica, turns: &Arc<CleanerTurns>, end: i64) -> Answer<PassResult> {
    let turn = turns.take(0, 1, Duration::ZERO).unwrap();
    turn.throttle().set_rate(1.0);
    let (reply, pass) = Reply::new();
    let to_clean = LogToClean {
        first_dirty_offset: replica.handle.log_start_offset(),
        first_uncleanable_offset: end,
        checkpoint_is_invalid: false,
        clean_bytes: 0,
        cleanable_bytes: 1,
        compaction_delay_ms: 0,
    };
    let checkpoint = replica.handle.cleaned();
    let buffers = Buffers { dedupe_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1 << 16 };
    let asked = CleanRequest { to_clean, checkpoint, buffers, turn, reply };
    replica.tell(PartitionMsg::Clean { asked: Box::new(asked) });
    pass
}

impl Compacting {
    async fn start() -> Compacting {
        let replica = Replica::start().await;
        replica.tell(PartitionMsg::Configure {
            config: Arc::new(TopicConfig {
                cleanup_policy: CleanupPolicy { compact: true, delete: true },
                segment_bytes: 1000,
                retention_bytes: 1 << 30,
                retention_ms: -1,
                flush_messages: 1,
                ..TopicConfig::default()
            }),
        });
        replica.lead(0);
        for _ in 0..RECORDS {
            replica.append_value(&[7; 200]).get().await.unwrap().unwrap();
        }
        let turns = Arc::new(CleanerTurns::default());
        let pass = begin_pass(&replica, &turns, RECORDS);
        Compacting { replica, turns, pass }
    }

    async fn ended(self) -> (Replica, PassResult) {
        (self.replica, end_of(self.pass).await)
    }
}

async fn end_of(pass: Answer<PassResult>) -> PassResult {
    let ended = tokio::time::timeout(Duration::from_secs(60), pass.get()).await;
    ended.expect("the pass goes on").unwrap()
}

#[tokio::test]
async fn a_pass_makes_way_for_early_retention() {
    let compacting = Compacting::start().await;
    compacting.replica.tell(PartitionMsg::MakeRoom { share: 0.0 });
    let (replica, ended) = compacting.ended().await;
    assert_eq!(ended, Err(PassFailed::Aborted));
    // What came after it is answered after it.
    assert_eq!(replica.append().get().await.unwrap().unwrap().base_offset, RECORDS);
    assert_eq!(replica.handle.log_start_offset(), RECORDS);
}

/// Under load there is something to delete whenever room is looked for.
#[tokio::test]
async fn of_two_passes_one_comes_to_its_end_whatever_retention_wants() {
    let Compacting { replica, turns, pass } = Compacting::start().await;
    replica.tell(PartitionMsg::MakeRoom { share: 0.0 });
    assert_eq!(end_of(pass).await, Err(PassFailed::Aborted));
    for makes_way in [false, true] {
        for _ in 0..RECORDS {
            replica.append_value(&[7; 200]).get().await.unwrap().unwrap();
        }
        let (start, end) = (replica.handle.log_start_offset(), replica.handle.log_end_offset());
        let pass = begin_pass(&replica, &turns, end);
        replica.tell(PartitionMsg::MakeRoom { share: 0.0 });
        replica.append().get().await.unwrap().unwrap();
        turns.throttle.set_rate(f64::MAX);
        let ended = end_of(pass).await;
        assert_eq!(ended == Err(PassFailed::Aborted), makes_way, "{ended:?}");
        assert!(ended.is_ok() != makes_way, "{ended:?}");
        // What was put off is done then.
        replica.append().get().await.unwrap().unwrap();
        assert!(replica.handle.log_start_offset() > start);
    }
}

#[tokio::test]
async fn a_pass_goes_on_where_retention_would_give_nothing_up() {
    let compacting = Compacting::start().await;
    compacting.replica.tell(PartitionMsg::MakeRoom { share: 0.5 });
    assert_eq!(compacting.replica.append().get().await.unwrap().unwrap().base_offset, RECORDS);
    compacting.turns.throttle.set_rate(f64::MAX);
    let (_, ended) = compacting.ended().await;
    assert!(ended.unwrap().invalid_messages_read > 0, "these records have no keys");
}

/// It gives back more than it takes.
#[tokio::test]
async fn a_pass_goes_on_where_the_disk_is_full_and_what_it_writes_next_fits() {
    let compacting = Compacting::start().await;
    let dir = compacting.replica.handle.log_dir();
    dir.set_usable(1 << 20);
    dir.set_room(Room::Full);
    compacting.turns.throttle.set_rate(f64::MAX);
    let (_, ended) = compacting.ended().await;
    assert!(ended.unwrap().invalid_messages_read > 0, "these records have no keys");
}

/// Some 160 MiB of zeros in a few KiB.
#[tokio::test]
async fn the_largest_batch_that_its_topic_takes_is_compacted() {
    let replica = Replica::start().await;
    let config = TopicConfig {
        cleanup_policy: CleanupPolicy { compact: true, delete: false },
        max_message_bytes: 10 << 20,
        segment_bytes: 1000,
        flush_messages: 1,
        ..TopicConfig::default()
    };
    let largest = config.held_whole();
    replica.tell(PartitionMsg::Configure { config: Arc::new(config) });
    replica.lead(0);
    let keyed = |codec, value: &[u8]| {
        let mut builder = BatchBuilder::new(Compression::of(codec));
        builder.append(1, Some(b"key"), Some(value), &[]);
        builder.build().unwrap()
    };
    let batch = keyed(Codec::Zstd, &vec![0; largest - 100]);
    assert!(batch.records(largest).is_ok() && batch.records(largest - 200).is_err());
    let newer = keyed(Codec::None, &[7; 600]);
    for batch in [batch, newer.clone(), newer.clone(), newer] {
        replica.append_batch(batch).get().await.unwrap().unwrap();
    }
    let turns = Arc::new(CleanerTurns::default());
    let pass = begin_pass(&replica, &turns, 4);
    turns.throttle.set_rate(f64::MAX);
    let stats = end_of(pass).await.unwrap();
    assert_eq!((stats.messages_read, stats.messages_written), (3, 1));
}

#[tokio::test]
async fn a_pass_ends_where_the_disk_is_full() {
    let compacting = Compacting::start().await;
    compacting.replica.handle.log_dir().set_room(Room::Full);
    let (replica, ended) = compacting.ended().await;
    assert!(matches!(ended, Err(PassFailed::NoRoom(_))), "{ended:?}");
    let disk = replica.handle.log_dir().disk().clone();
    let files = disk.list(&replica.handle.log_dir().path.join("orders-0")).unwrap();
    assert!(!files.iter().any(|file| file.name.contains(".cleaned")), "{files:?}");
}
