//! Records of a partition, a piece at a time: each piece is bounded in records, bytes and time.

use std::time::Duration;

use bytes::Bytes;
use wire::batch::{Record, batches};
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::{FetchRequest, FetchResponse};

use super::topics::error;
use super::{ApiError, Seen};

pub(super) const FETCH: i32 = 1 << 20;
/// Of a batch that is compressed.
const MAX_DECOMPRESSED: usize = 32 << 20;
/// Of all that is read for one answer.
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
    let (records, next) = (Vec::new(), wanted.from);
    let mut read = Read { records, next, scanned: 0, at_end: false, start: 0, end: 0 };
    let mut bytes = 0;
    loop {
        let fetched = fetch(seen, wanted, read.next).await?;
        (read.start, read.end) = (fetched.log_start, fetched.high_watermark);
        bytes += fetched.records.len();
        let before = read.next;
        let enough = read.take(wanted, fetched.records, &keep, || seen.world.mono() >= deadline)?;
        let end = wanted.until.min(read.end);
        read.at_end = read.next >= end;
        // A broker that has nothing where there should be something is not asked for ever.
        let stands = read.next == before;
        if enough || read.at_end || stands || bytes >= MAX_READ {
            return Ok(read);
        }
        tokio::task::yield_now().await;
    }
}

impl<T> Read<T> {
    /// Takes what is wanted; whether that is enough.
    fn take(
        &mut self,
        wanted: &Wanted<'_>,
        bytes: Bytes,
        keep: &impl Fn(&Record) -> T,
        is_late: impl Fn() -> bool,
    ) -> Result<bool, ApiError> {
        for batch in batches(bytes) {
            let batch = batch.map_err(ApiError::elsewhere)?;
            let header = batch.header();
            if header.next_offset() <= self.next {
                continue;
            }
            batch.verify_crc().map_err(ApiError::elsewhere)?;
            if !header.is_control() {
                for record in batch.records(MAX_DECOMPRESSED).map_err(ApiError::elsewhere)? {
                    let record = record.map_err(ApiError::elsewhere)?;
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
        }
        Ok(is_late() || self.records.len() == wanted.limit)
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
