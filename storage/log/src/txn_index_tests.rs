use std::path::Path;
use std::sync::Arc;

use disk::{Disk, Open, SimDisk, SimDiskOptions};
use model::ProducerId;

use crate::testing::*;
use crate::*;

fn txn(id: i64, first: i64, last: i64, stable: i64) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ProducerId(id),
        first_offset: first,
        last_offset: last,
        last_stable_offset: stable,
    }
}

#[test]
fn an_entry_is_kafkas_to_the_byte() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let path = Path::new("/00000000000000000000.txnindex");
    let index = txn_index::TxnIndex::none(path.to_owned());
    assert!(index.append(&*disk, txn(9, 2, 5, 6)).unwrap());
    assert!(!index.append(&*disk, txn(-1, 3, 7, i64::MAX)).unwrap());
    let words = [9i64, 2, 5, 6].map(i64::to_be_bytes).concat();
    let others = [-1i64, 3, 7, i64::MAX].map(i64::to_be_bytes).concat();
    let expected = [&[0, 0][..], &words, &[0, 0], &others].concat();
    assert_eq!(disk.read(path, 100).unwrap(), expected);
    let open = txn_index::TxnIndex::open(&*disk, path.to_owned()).unwrap();
    let mut read = Vec::new();
    open.for_each(|txn| {
        read.push(txn);
        true
    })
    .unwrap();
    assert_eq!(read, [txn(9, 2, 5, 6), txn(-1, 3, 7, i64::MAX)]);
}

#[test]
fn an_index_is_held_against_its_segment() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let path = Path::new("/00000000000000000010.txnindex");
    let index = txn_index::TxnIndex::none(path.to_owned());
    index.append(&*disk, txn(1, 4, 12, 13)).unwrap();
    index.append(&*disk, txn(2, 5, 14, 15)).unwrap();
    assert!(index.is_sound(10, 15).unwrap());
    assert!(!index.is_sound(13, 15).unwrap());
    assert!(!index.is_sound(10, 14).unwrap());
    let file = disk.open(path, Open::ReadWrite).unwrap();
    file.write_at(&[0, 1], 34).unwrap();
    assert!(!index.is_sound(10, 15).unwrap(), "an unknown version");
    file.write_at(&[0, 0], 34).unwrap();
    file.write_at(&[7], 68).unwrap();
    let torn = txn_index::TxnIndex::open(&*disk, path.to_owned()).unwrap();
    assert!(!torn.is_sound(10, 15).unwrap(), "a torn entry");
    torn.truncate_to(14).unwrap();
    assert!(torn.is_sound(10, 15).unwrap());
    assert_eq!(file.len().unwrap(), 34);
}

/// A log of three segments with aborted transactions in the first and the last.
fn log_with_transactions(disk: &Arc<dyn Disk>) -> Log {
    let (mut log, _) = open(disk, small(), true, 0);
    for segment in 0..3 {
        fill(&mut log, 4, 0);
        if segment < 2 {
            log.roll(0).unwrap();
        }
    }
    let add = |log: &Log, at: usize, txn| {
        log.segments[at].txn_index.append(&**disk, txn).unwrap();
    };
    add(&log, 0, txn(1, 0, 5, 3));
    add(&log, 0, txn(2, 3, 11, 12));
    add(&log, 2, txn(1, 14, 26, 20));
    add(&log, 2, txn(2, 20, 30, 31));
    log
}

#[test]
fn what_overlaps_a_range_is_collected_over_segments() {
    let disk: Arc<dyn Disk> = SimDisk::new(SimDiskOptions::default()).mount();
    let log = log_with_transactions(&disk);
    let view = log.view();
    let ids = |from, to| -> Vec<(i64, i64)> {
        let found = view.aborted_transactions(from, to).unwrap();
        found.iter().map(|txn| (txn.producer_id.0, txn.last_offset)).collect()
    };
    assert_eq!(ids(0, 3), [(1, 5)]);
    assert_eq!(ids(0, 4), [(1, 5), (2, 11)]);
    assert_eq!(ids(6, 12), [(2, 11)]);
    assert_eq!(ids(12, 14), []);
    assert_eq!(ids(12, 15), [(1, 26)]);
    assert_eq!(ids(0, 36), [(1, 5), (2, 11), (1, 26), (2, 30)]);
    assert_eq!(ids(27, 36), [(2, 30)]);
}

#[test]
fn an_index_is_cut_kept_and_removed_with_its_segment() {
    let disk: Arc<dyn Disk> = SimDisk::new(SimDiskOptions::default()).mount();
    let mut log = log_with_transactions(&disk);
    let all = |log: &Log| log.view().aborted_transactions(0, i64::MAX).unwrap().len();
    log.truncate_to(30, 0).unwrap();
    assert_eq!(all(&log), 3);
    let end = log.close().unwrap().offset;
    let (mut log, _) = open(&disk, small(), true, end);
    assert_eq!(all(&log), 3);
    log.truncate_to(20, 0).unwrap();
    assert_eq!(all(&log), 2);
    let _ = log.delete_segments_below(12, 0).unwrap();
    assert_eq!(all(&log), 0);
    let names = disk.list(&dir()).unwrap();
    assert!(!names.iter().any(|entry| entry.name.ends_with(".txnindex")), "{names:?}");
}
