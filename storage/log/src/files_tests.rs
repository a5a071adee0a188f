use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, SimDisk, SimDiskOptions};
use model::producers::{ProducerEntry, Producers, RememberedBatch};
use model::{BrokerEpoch, NodeId, ProducerEpoch, ProducerId, TopicPartition, Uuid};

use crate::producer_snapshot::{encode_producer_snapshot, write_producer_snapshot};
use crate::testing::{check_indexes, dir, open};
use crate::*;

fn disk_with_dir() -> Arc<dyn Disk> {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk
}

fn text(disk: &Arc<dyn Disk>, name: &str) -> String {
    String::from_utf8(disk.read(&Path::new("/data").join(name), 1 << 20).unwrap()).unwrap()
}

fn put(disk: &Arc<dyn Disk>, name: &str, text: &str) {
    disk.replace(&Path::new("/data").join(name), text.as_bytes()).unwrap();
}

#[test]
fn offset_checkpoints_are_kafkas_text() {
    let disk = disk_with_dir();
    let path = Path::new("/data").join(RECOVERY_POINT_CHECKPOINT);
    assert!(read_offset_checkpoint(&*disk, &path).unwrap().is_empty());
    let offsets = BTreeMap::from([
        (TopicPartition::new("a-b", 1), 42),
        (TopicPartition::new("orders", 0), i64::MAX),
    ]);
    let written = offset_checkpoint(&offsets);
    assert_eq!(written, "0\n2\na-b 1 42\norders 0 9223372036854775807\n");
    put(&disk, RECOVERY_POINT_CHECKPOINT, &written);
    assert_eq!(read_offset_checkpoint(&*disk, &path).unwrap(), offsets);
    for broken in ["1\n0\n", "0\n2\na 1 2\n", "0\nx\n", "0\n1\na 1\n", "0\n1\na b 3\n", "0"] {
        put(&disk, RECOVERY_POINT_CHECKPOINT, broken);
        let read = read_offset_checkpoint(&*disk, &path);
        assert!(matches!(read, Err(CheckpointError::Malformed { .. })), "{broken:?}");
    }
    put(&disk, RECOVERY_POINT_CHECKPOINT, "");
    assert!(read_offset_checkpoint(&*disk, &path).unwrap().is_empty());
}

#[test]
fn the_clean_shutdown_marker_tells_the_epoch() {
    let disk = disk_with_dir();
    let dir = Path::new("/data");
    assert_eq!(CleanShutdown::read(&*disk, dir).unwrap(), None);
    let marker = CleanShutdown { broker_epoch: Some(BrokerEpoch(17)) };
    marker.write(&*disk, dir).unwrap();
    assert_eq!(text(&disk, CLEAN_SHUTDOWN_FILE), r#"{"version":0,"brokerEpoch":17}"#);
    assert_eq!(CleanShutdown::read(&*disk, dir).unwrap(), Some(marker));
    put(&disk, CLEAN_SHUTDOWN_FILE, "");
    let unknown = CleanShutdown { broker_epoch: None };
    assert_eq!(CleanShutdown::read(&*disk, dir).unwrap(), Some(unknown));
    CleanShutdown::remove(&*disk, dir).unwrap();
    assert_eq!(CleanShutdown::read(&*disk, dir).unwrap(), None);
}

#[test]
fn a_partition_knows_its_topic() {
    let disk = disk_with_dir();
    let dir = Path::new("/data");
    assert_eq!(read_partition_metadata(&*disk, dir).unwrap(), None);
    let id = Uuid([7; 16]);
    write_partition_metadata(&*disk, dir, id).unwrap();
    assert_eq!(text(&disk, PARTITION_METADATA_FILE), format!("version: 0\ntopic_id: {id}"));
    assert_eq!(read_partition_metadata(&*disk, dir).unwrap(), Some(id));
    for broken in ["", "version: 1\ntopic_id: x", "version: 0\ntopic_id: !", "version: 0"] {
        put(&disk, PARTITION_METADATA_FILE, broken);
        assert!(read_partition_metadata(&*disk, dir).is_err(), "{broken:?}");
    }
}

#[test]
fn meta_properties_name_the_directory() {
    let disk = disk_with_dir();
    let dir = Path::new("/data");
    assert_eq!(MetaProperties::read(&*disk, dir).unwrap(), None);
    let properties = MetaProperties {
        cluster_id: Some("abc".to_owned()),
        node_id: Some(NodeId(3)),
        directory_id: Some(Uuid([9; 16])),
        other: BTreeMap::from([("more".to_owned(), "a=b".to_owned())]),
    };
    properties.write(&*disk, dir).unwrap();
    assert_eq!(MetaProperties::read(&*disk, dir).unwrap(), Some(properties));
    put(&disk, META_PROPERTIES_FILE, "version=0\nbroker.id=5\n");
    let old = MetaProperties::read(&*disk, dir).unwrap().unwrap();
    assert_eq!((old.node_id, old.cluster_id), (Some(NodeId(5)), None));
    for broken in ["", "version=1\n", "version=1\ncluster.id=x\nnode.id=-3\n", "version=7\n"] {
        put(&disk, META_PROPERTIES_FILE, broken);
        assert!(MetaProperties::read(&*disk, dir).is_err(), "{broken:?}");
    }
}

/// Eight batches that Kafka 4.4.0 wrote with an `index.interval.bytes` of 100, and the indexes beside them after a clean stop.
#[test]
fn indexes_are_kafkas_to_the_byte() {
    const LOG: &[u8] = include_bytes!("../tests/data/kafka-4.4.0-segment.log");
    const OFFSETS: &[u8] = include_bytes!("../tests/data/kafka-4.4.0-segment.index");
    const TIMES: &[u8] = include_bytes!("../tests/data/kafka-4.4.0-segment.timeindex");
    let config = || LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
    let file = |suffix| dir().join(format!("00000000000000000000.{suffix}"));
    let all: Result<Vec<_>, _> = wire::batch::batches(Bytes::from_static(LOG)).collect();
    let all = all.unwrap();
    let ours = disk_with_dir();
    let (mut log, _) = open(&ours, config(), true, 0);
    for batch in &all {
        log.append(std::slice::from_ref(batch), 0).unwrap();
    }
    log.close().unwrap();
    let read = |suffix| ours.read(&file(suffix), 1 << 20).unwrap();
    assert_eq!((&*read("log"), &*read("index"), &*read("timeindex")), (LOG, OFFSETS, TIMES));

    let theirs = disk_with_dir();
    theirs.create_dir_all(&dir()).unwrap();
    for (suffix, bytes) in [("log", LOG), ("index", OFFSETS), ("timeindex", TIMES)] {
        theirs.replace(&file(suffix), bytes).unwrap();
    }
    let (log, _) = open(&theirs, config(), true, all.len() as i64);
    check_indexes(&log);
    for batch in &all {
        let header = batch.header();
        let found = log.view().offset_for_timestamp(header.max_timestamp).unwrap().unwrap();
        assert_eq!(found.offset, header.base_offset);
        assert_eq!(
            log.view().read(header.base_offset, 1, true, i64::MAX).unwrap().first_batch,
            Some(*header)
        );
    }
}

#[test]
fn producer_snapshots_are_kafkas_to_the_byte() {
    let disk = disk_with_dir();
    let dir = Path::new("/data");
    let mut producers = Producers::default();
    let mut idle = ProducerEntry::new(ProducerEpoch(3), 9, 7000);
    idle.transaction_first_offset = Some(12);
    producers.restore(ProducerId(2), idle);
    let mut entry = ProducerEntry::new(ProducerEpoch(2), 7, 6000);
    for last_sequence in [24, 30] {
        let (last_offset, offset_delta, timestamp) = (400, 5, 6000);
        let batch = RememberedBatch { last_sequence, last_offset, offset_delta, timestamp };
        entry.remember(ProducerEpoch(2), batch);
    }
    producers.restore(ProducerId(1), entry);
    let bytes = encode_producer_snapshot(&producers);
    write_producer_snapshot(&*disk, dir, 401, &bytes).unwrap();
    let stored = |id: i64, epoch: i16, sequence: i32, offset: i64, delta: i32, rest: [i64; 3]| {
        let [timestamp, coordinator_epoch, first] = rest;
        let mut out = id.to_be_bytes().to_vec();
        out.extend(epoch.to_be_bytes());
        out.extend(sequence.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend(delta.to_be_bytes());
        out.extend(timestamp.to_be_bytes());
        out.extend((coordinator_epoch as i32).to_be_bytes());
        out.extend(first.to_be_bytes());
        out
    };
    let entries = [stored(1, 2, 30, 400, 5, [6000, 7, -1]), stored(2, 3, -1, -1, 0, [7000, 9, 12])];
    let counted = [&2i32.to_be_bytes()[..], &entries.concat()].concat();
    let crc = wire::batch::crc::crc32c(&counted).to_be_bytes();
    assert_eq!(bytes, [&[0, 1][..], &crc, &counted].concat());
    let read = read_producer_snapshot(&*disk, dir, 401).unwrap();
    assert_eq!(encode_producer_snapshot(&read), bytes);
    assert_eq!(read.first_ongoing_offset(), Some(12));
    let path = dir.join("00000000000000000401.snapshot");
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 4;
        disk.replace(&path, &broken).unwrap();
        assert!(read_producer_snapshot(&*disk, dir, 401).is_err(), "byte {at}");
    }
}
