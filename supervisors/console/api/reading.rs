//! Records of a partition, a piece at a time: each piece is bounded in records, bytes and time.

use std::time::Duration;

use bytes::Bytes;
use wire::batch::{BatchError, Record, RecordBatch, batches};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{FetchRequest, FetchResponse};

use super::topics::error;
use super::{ApiError, Seen};

pub(super) const FETCH: i32 = 1 << 20;
/// Of a batch that is compressed.
const MAX_DECOMPRESSED: usize = 32 << 20;
/// Of all that is read for one answer, decompressed; the last batch may be beyond it.
const MAX_READ: usize = 16 << 20;
const LONGEST: Duration = Duration::from_secs(2);

/// What to read.
pub(super) struct Wanted<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) from: i64,
    /// Up to here, without it.
    pub(super) until: i64,
    pub(super) limit: usize,
    /// In key, value or headers; in small letters.
    pub(super) search: &'a [u8],
    /// What one fetch asks for; a single batch may be larger.
    pub(super) bytes: i32,
}

#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) records: Vec<T>,
    /// Where to go on.
    pub(super) next: i64,
    /// Records that were looked at.
    pub(super) scanned: usize,
    /// There is nothing more to read now, or nothing more was wanted.
    pub(super) at_end: bool,
    pub(super) start: i64,
    pub(super) end: i64,
    /// Decompressed.
    bytes: usize,
    /// At a batch that cannot be read.
    pub(super) stopped: Option<Stopped>,
}

#[derive(Debug)]
pub(super) struct Stopped {
    /// The first offset that was not read.
    pub(super) at: i64,
    pub(super) why: String,
}

/// Of each record that is wanted, what `keep` makes of it: its batch is not kept for its sake.
pub(super) async fn read<T>(
    seen: &Seen,
    wanted: &Wanted<'_>,
    keep: impl Fn(&Record) -> T,
) -> Result<Read<T>, ApiError> {
    let deadline = seen.world.mono() + LONGEST;
    // Nobody closes it.
    let _reading = seen.cluster.reading.acquire().await;
    let mut read = Read::beginning(wanted.from);
    loop {
        let fetched = fetch(seen, wanted, read.next).await?;
        (read.start, read.end) = (fetched.log_start, fetched.high_watermark);
        let before = read.next;
        let enough = read.take(wanted, fetched.records, &keep, || seen.world.mono() >= deadline);
        let end = wanted.until.min(read.end);
        read.at_end = read.next >= end;
        // A broker that has nothing where there should be something is not asked for ever.
        let stands = read.next == before;
        if enough || read.at_end || stands {
            return Ok(read);
        }
        tokio::task::yield_now().await;
    }
}

impl<T> Read<T> {
    fn beginning(offset: i64) -> Read<T> {
        Read {
            records: Vec::new(),
            next: offset,
            scanned: 0,
            at_end: false,
            start: 0,
            end: 0,
            bytes: 0,
            stopped: None,
        }
    }

    /// Takes what is wanted; whether that is enough.
    fn take(
        &mut self,
        wanted: &Wanted<'_>,
        bytes: Bytes,
        keep: &impl Fn(&Record) -> T,
        is_late: impl Fn() -> bool,
    ) -> bool {
        for batch in batches(bytes) {
            let (taken, behind) = match &batch {
                Ok(batch) => {
                    (self.take_batch(wanted, batch, keep, &is_late), batch.header().next_offset())
                }
                Err(why) => (Err(why.clone()), self.next),
            };
            match taken {
                Ok(false) => {}
                Ok(true) => return true,
                Err(why) => {
                    self.stopped = Some(Stopped { at: self.next, why: why.to_string() });
                    // As far as its header can be believed, who goes on does so behind it.
                    if (self.next..=self.end).contains(&behind) {
                        self.next = behind;
                    }
                    return true;
                }
            }
            if self.bytes >= MAX_READ || self.records.len() == wanted.limit || is_late() {
                return true;
            }
        }
        is_late()
    }

    fn take_batch(
        &mut self,
        wanted: &Wanted<'_>,
        batch: &RecordBatch,
        keep: &impl Fn(&Record) -> T,
        is_late: impl Fn() -> bool,
    ) -> Result<bool, BatchError> {
        let header = batch.header();
        self.bytes += batch.size();
        if header.next_offset() <= self.next {
            return Ok(false);
        }
        batch.verify_crc()?;
        if !header.is_control() {
            let records = batch.records(MAX_DECOMPRESSED)?;
            self.bytes += records.size().saturating_sub(batch.size());
            for record in records {
                let record = record?;
                if record.offset < self.next {
                    continue;
                }
                if record.offset >= wanted.until || self.records.len() == wanted.limit {
                    return Ok(true);
                }
                self.next = record.offset + 1;
                self.scanned += 1;
                if holds(&record, wanted.search) {
                    self.records.push(keep(&record));
                }
                if self.scanned.is_multiple_of(256) && is_late() {
                    return Ok(true);
                }
            }
        }
        self.next = header.next_offset();
        Ok(false)
    }
}

fn holds(record: &Record, wanted: &[u8]) -> bool {
    let holds = |bytes: &[u8]| {
        let mut places = bytes.windows(wanted.len());
        places.any(|place| place.eq_ignore_ascii_case(wanted))
    };
    wanted.is_empty()
        || record.key.as_deref().is_some_and(holds)
        || record.value.as_deref().is_some_and(holds)
        || record.headers.iter().any(|h| holds(&h.key) || h.value.as_deref().is_some_and(holds))
}

struct Fetched {
    records: Bytes,
    log_start: i64,
    high_watermark: i64,
}

/// Of the partition's leader.
async fn fetch(seen: &Seen, wanted: &Wanted<'_>, offset: i64) -> Result<Fetched, ApiError> {
    let missing = || ApiError::missing("there is no such partition");
    let image = seen.image();
    let topic = image.topics.by_name(wanted.topic).ok_or_else(missing)?;
    let partition = topic.partition(wanted.partition).ok_or_else(missing)?;
    if !partition.has_leader() {
        return Err(ApiError::elsewhere("the partition has no leader"));
    }
    let request = FetchRequest {
        max_wait_ms: 0,
        max_bytes: wanted.bytes,
        topics: vec![FetchTopic {
            topic: topic.name.clone(),
            topic_id: topic.id,
            partitions: vec![FetchPartition {
                partition: wanted.partition,
                fetch_offset: offset,
                partition_max_bytes: wanted.bytes,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    fetched(seen.cluster.ask(partition.leader, &request).await?)
}

fn fetched(answer: FetchResponse) -> Result<Fetched, ApiError> {
    let partition = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
    let code = partition.as_ref().map_or(answer.error_code, |partition| partition.error_code);
    match partition {
        Some(partition) if code == 0 => Ok(Fetched {
            log_start: partition.log_start_offset,
            high_watermark: partition.high_watermark,
            records: partition
                .records
                .as_ref()
                .and_then(wire::Records::as_bytes)
                .cloned()
                .unwrap_or_default(),
        }),
        _ => Err(ApiError::elsewhere(error(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use wire::batch::BatchBuilder;
    use wire::compression::{Codec, Compression};

    /// Of records that have so many bytes each, all zero.
    fn batch(base: i64, records: usize, size: usize) -> Vec<u8> {
        batch_in(Codec::Zstd, base, records, size)
    }

    fn batch_in(codec: Codec, base: i64, records: usize, size: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::of(codec)).base_offset(base);
        for _ in 0..records {
            builder.append(1, None, Some(&vec![0; size]), &[]);
        }
        builder.build().expect("a batch").to_bytes().to_vec()
    }

    fn take(bytes: Vec<u8>, is_late: impl Fn() -> bool) -> Read<i64> {
        let wanted = Wanted {
            topic: "orders",
            partition: 0,
            from: 0,
            until: i64::MAX,
            limit: 200,
            search: b"nowhere",
            bytes: FETCH,
        };
        let mut read = Read::beginning(0);
        read.end = 1000;
        assert!(read.take(&wanted, bytes.into(), &|record| record.offset, is_late));
        read
    }

    #[test]
    fn what_comes_out_of_compressed_batches_counts() {
        let batches: Vec<u8> = (0..100).flat_map(|at| batch(at, 1, 4 << 20)).collect();
        assert!(batches.len() < FETCH as usize, "one fetch has them all");
        let read = take(batches, || false);
        assert_eq!((read.scanned, read.next), (4, 4), "{} bytes", read.bytes);
    }

    #[test]
    fn what_is_not_compressed_counts_once() {
        let batches: Vec<u8> =
            (0..6).flat_map(|at| batch_in(Codec::None, at, 1, 4 << 20)).collect();
        let read = take(batches, || false);
        assert_eq!((read.scanned, read.next), (4, 4), "{} bytes", read.bytes);
    }

    #[test]
    fn after_each_batch_it_is_seen_how_late_it_is() {
        let looks = Cell::new(0);
        let batches: Vec<u8> = (0..100).flat_map(|at| batch(at, 1, 10)).collect();
        let read = take(batches, || looks.replace(looks.get() + 1) == 2);
        assert_eq!(read.next, 3);
    }

    #[test]
    fn before_a_batch_that_cannot_be_read_all_is_told() {
        let mut batches = [batch(0, 2, 10), batch(2, 3, 10), batch(5, 1, 10)];
        *batches[1].last_mut().expect("bytes") ^= 1;
        let read = take(batches.concat(), || false);
        let stopped = read.stopped.expect("it is told");
        assert_eq!((read.scanned, stopped.at), (2, 2));
        assert!(stopped.why.contains("corrupt"), "{}", stopped.why);
        assert_eq!(read.next, 5, "who goes on does so behind it");

        // What it says of itself is not believed beyond the log's end.
        let mut wild = batch(0, 1, 10);
        wild[23..27].copy_from_slice(&i32::MAX.to_be_bytes());
        let read = take(wild, || false);
        assert_eq!((read.next, read.stopped.map(|stopped| stopped.at)), (0, Some(0)));
    }
}
