//! What a real Kafka 4.4.0 wrote: a node that was formatted, started, given a topic of two partitions, and stopped.

use crate::consensus::ControlRecord;
use crate::metadata::{
    MetadataLoader, MetadataVersion, bootstrap_snapshot, initial_feature_levels, record_version,
};
use bytes::Bytes;
use model::Uuid;
use wire::MetadataRecord;
use wire::batch::{batches, parse_control_type};

const LOG: &[u8] = include_bytes!("../../tests/data/kafka-4.4.0-metadata.log");
const BOOTSTRAP: &[u8] = include_bytes!("../../tests/data/kafka-4.4.0-bootstrap.checkpoint");

enum Read {
    Control(ControlRecord),
    Metadata { record: MetadataRecord, offset: i64, epoch: i32 },
}

/// Every record, each of which must come out as the same bytes again.
fn read(file: &'static [u8]) -> Vec<Read> {
    let mut out = Vec::new();
    for batch in batches(Bytes::from_static(file)) {
        let batch = batch.unwrap();
        let header = *batch.header();
        for (at, record) in batch.records(1 << 20).unwrap().enumerate() {
            let record = record.unwrap();
            let value = record.value.unwrap();
            if header.is_control() {
                let kind = parse_control_type(&record.key.unwrap()).unwrap().unwrap();
                let control = ControlRecord::parse(kind, value.clone()).unwrap().unwrap();
                assert_eq!(control.value().unwrap(), value);
                out.push(Read::Control(control));
            } else {
                let (record, version) = MetadataRecord::decode(value.clone()).unwrap();
                assert_eq!(record_version(&record, MetadataVersion::LATEST), version, "{record:?}");
                assert_eq!(record.encode(version).unwrap(), value, "{record:?}");
                let (offset, epoch) = (header.base_offset + at as i64, header.leader_epoch);
                out.push(Read::Metadata { record, offset, epoch });
            }
        }
    }
    out
}

#[test]
fn a_log_of_kafkas_is_read_whole() {
    let mut loader = MetadataLoader::default();
    for read in read(LOG) {
        if let Read::Metadata { record, offset, epoch } = read {
            loader.replay(&record, offset, epoch).unwrap();
        }
    }
    let image = loader.image();
    assert_eq!((image.provenance.offset, image.provenance.epoch), (31, 1));
    assert_eq!(image.feature_level("share.version"), 2);
    let broker = image.broker(1).unwrap();
    assert_eq!((broker.epoch, broker.fenced, broker.in_controlled_shutdown), (12, true, true));
    let topic = image.topics.by_name("t1").unwrap();
    assert_eq!(topic.partitions.size(), 2);
    let partition = topic.partition(1).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (-1, 1, 1));
    assert_eq!((partition.isr.len(), partition.elr.as_slice()), (0, [1].as_slice()));
    assert_ne!(partition.directories[0], Uuid::ZERO);
    assert!(image.controllers.contains_key(&1));
}

#[test]
fn a_directory_is_formatted_as_kafka_formats_it() {
    let (mut header, mut records, mut footer) = (Vec::new(), Vec::new(), Vec::new());
    for read in read(BOOTSTRAP) {
        match read {
            Read::Metadata { record, .. } => records.push(record),
            Read::Control(control) if records.is_empty() => header.push(control),
            Read::Control(control) => footer.push(control),
        }
    }
    let [ControlRecord::SnapshotHeader(head)] = header.as_slice() else { panic!("{header:?}") };
    let levels =
        initial_feature_levels(&Default::default(), false, MetadataVersion::LATEST).unwrap();
    let ours = bootstrap_snapshot(&levels, None, head.last_contained_log_timestamp);
    assert_eq!((ours.header, ours.records, vec![ours.footer]), (header, records, footer));
}
