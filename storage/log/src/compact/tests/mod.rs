//! What a pass leaves of a log.

mod crash;
mod failing;
mod lives;
mod plan;
mod producers;
mod random;
mod retention;
mod segments;
mod transactions;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use disk::{Disk, SimDisk, SimDiskOptions};
use wire::batch::{
    BatchBuilder, BatchHeader, ControlRecordType, EndTxnMarker, Record, RecordBatch, control_batch,
};
use wire::compression::{Codec, Compression};

use crate::testing::{dir, open, small};
use crate::*;

const POLICY: CompactionPolicy = CompactionPolicy {
    min_compaction_lag_ms: 0,
    max_compaction_lag_ms: i64::MAX,
    min_cleanable_dirty_ratio: 0.5,
};

/// `delete.retention.ms`.
const RETENTION: i64 = 100;

fn config() -> LogConfig {
    LogConfig { compacted: true, ..small() }
}

fn options(now_ms: i64) -> CompactionOptions {
    CompactionOptions {
        dedupe_buffer_bytes: 24 * 1000,
        load_factor: 0.9,
        io_buffer_bytes: 1000,
        uncompressed_bytes: 1 << 20,
        group_bytes: u64::MAX,
        delete_retention_ms: RETENTION,
        hash_key: [1, 2],
        high_watermark: i64::MAX,
        active_producers: BTreeMap::new(),
        now_ms,
    }
}

/// A log that is cleaned now and then, and how far it was.
struct Compacted {
    sim: SimDisk,
    disk: Arc<dyn Disk>,
    log: Log,
    checkpoint: Option<i64>,
}

impl Compacted {
    fn new(config: LogConfig) -> Compacted {
        let sim = SimDisk::new(SimDiskOptions::default());
        let disk = sim.mount();
        let (log, _) = open(&disk, config, true, 0);
        Compacted { sim, disk, log, checkpoint: None }
    }

    /// A batch of keys and values at the log's end.
    fn put(&mut self, records: &[(&str, Option<&str>)]) -> i64 {
        self.append(Codec::None, records, |builder| builder)
    }

    fn append(
        &mut self,
        codec: Codec,
        records: &[(&str, Option<&str>)],
        configure: impl FnOnce(BatchBuilder) -> BatchBuilder,
    ) -> i64 {
        let base = self.log.log_end_offset();
        let builder = BatchBuilder::new(Compression::of(codec)).base_offset(base).leader_epoch(1);
        let mut builder = configure(builder);
        for (at, (key, value)) in records.iter().enumerate() {
            let timestamp = 1000 + base + at as i64;
            builder.append(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
        }
        self.log.append(&[builder.build().unwrap()], 0).unwrap();
        base
    }

    /// Ends a producer's transaction: an abort goes into the transaction index.
    fn end_txn(&mut self, producer: i64, kind: ControlRecordType) -> i64 {
        let base = self.log.log_end_offset();
        let marker = EndTxnMarker { coordinator_epoch: 0 }.encode();
        let configure = |builder: BatchBuilder| {
            let builder = builder.base_offset(base).leader_epoch(1).transactional(true);
            builder.producer(producer, 0, -1)
        };
        let batch = control_batch(configure, 1000 + base, kind, &marker).unwrap();
        self.log.append(&[batch], 0).unwrap();
        base
    }

    fn roll(&mut self) {
        self.log.roll(0).unwrap();
    }

    fn to_clean(&self, now_ms: i64) -> LogToClean {
        let end = self.log.log_end_offset();
        self.log.view().to_clean(&POLICY, self.checkpoint, end, &*self.disk, now_ms).unwrap()
    }

    /// A whole pass; its end offset becomes the checkpoint.
    fn clean(&mut self, now_ms: i64) -> CleanerStats {
        self.clean_with(options(now_ms))
    }

    fn clean_with(&mut self, options: CompactionOptions) -> CleanerStats {
        let to_clean = self.to_clean(options.now_ms);
        self.clean_range(&to_clean, options)
    }

    /// Over all that there is: a pass leaves alone what is not durable.
    fn pass(&mut self, to_clean: &LogToClean, options: CompactionOptions) -> Compaction {
        self.log.sync().unwrap();
        self.log.compaction(to_clean, options).unwrap()
    }

    fn clean_range(&mut self, to_clean: &LogToClean, options: CompactionOptions) -> CleanerStats {
        let mut pass = self.pass(to_clean, options);
        loop {
            match pass.run(|_| ControlFlow::Continue(())).unwrap() {
                Progress::Paused => {}
                Progress::Cleaned(cleaned) => {
                    self.log.replace_segments(cleaned).unwrap().run().unwrap();
                }
                Progress::Done { end_offset } => {
                    self.checkpoint = Some(end_offset);
                    return pass.stats();
                }
            }
        }
    }

    fn headers(&self) -> Vec<BatchHeader> {
        batches(&self.log.view()).iter().map(|batch| *batch.header()).collect()
    }

    /// Keys and values, in order.
    fn pairs(&self) -> Vec<(String, Option<String>)> {
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let pair = |record: Record| (text(record.key.unwrap()), record.value.map(text));
        records(&self.log.view()).into_iter().map(pair).collect()
    }

    fn keys(&self) -> Vec<String> {
        self.pairs().into_iter().map(|(key, _)| key).collect()
    }

    fn file_names(&self) -> Vec<String> {
        self.disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    /// Closes and opens: what is there must be what was seen.
    fn reopen(self) -> Compacted {
        let Compacted { sim, disk, log, checkpoint } = self;
        let before = batches(&log.view());
        let config = log.config().clone();
        log.close().unwrap();
        let (log, report) = open(&disk, config, true, 0);
        assert_eq!(report, Recovered::default());
        assert_eq!(batches(&log.view()), before);
        Compacted { sim, disk, log, checkpoint }
    }
}

fn batches(view: &LogView) -> Vec<RecordBatch> {
    let mut found = Vec::new();
    view.batches_from(0)
        .for_each(|batch| {
            batch.verify_crc().unwrap();
            found.push(batch.detached());
            true
        })
        .unwrap();
    found
}

/// The records of all data batches.
fn records(view: &LogView) -> Vec<Record> {
    let batches = batches(view).into_iter().filter(|batch| !batch.header().is_control());
    batches.flat_map(|batch| batch.records(1 << 20).unwrap()).map(Result::unwrap).collect()
}
