//! Reading a segment file from what is known of it to its end, keeping what is whole.

use disk::{Disk, DiskError, DiskFile, Open};
use std::path::Path;
use wire::batch::{BatchError, BatchHeader, HEADER_LEN, NO_LEADER_EPOCH, NO_TIMESTAMP};

use crate::config::LogConfig;
use crate::epochs::LeaderEpochs;
use crate::error::{OpenError, ReadError};
use crate::index::{
    ActiveIndex, Index, OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry, read_offset_entry,
    read_time_entry,
};
use crate::log::Active;
use crate::names::{OFFSET_INDEX, TIME_INDEX, file_name};
use crate::scan::HeaderScan;
use crate::view::TimestampOffset;

/// An index file that is longer was not cut after a crash and tells nothing.
const MAX_INDEX_FILE: usize = 64 << 20;

/// A segment as far as it is whole.
pub(crate) struct Scanned {
    pub index: Index,
    pub active: Active,
    /// Bytes behind it that are not whole.
    pub invalid: u64,
    /// The highest leader epoch of the batches looked at.
    pub epoch: i32,
    /// Its index was made anew.
    pub rebuilt: bool,
}

/// How to scan.
pub(crate) struct Scan<'a> {
    pub file: &'a dyn DiskFile,
    pub base: i64,
    pub size: u64,
    pub config: &'a LogConfig,
    pub now_ms: i64,
    /// Check every CRC; without, the batches are known to be whole.
    pub verify: bool,
    /// Epochs never descend in a log (LO-2): a batch of a lower one was truncated once, and came back.
    pub min_epoch: i32,
}

impl Scan<'_> {
    /// Reads on from the last entry of an index that is right as far as it goes.
    pub fn run(
        &self,
        index: Index,
        mut epochs: Option<&mut LeaderEpochs>,
    ) -> Result<Scanned, OpenError> {
        let mut state = self.start(index)?;
        let scan = if self.verify { HeaderScan::verified } else { HeaderScan::new };
        let mut scan = scan(self.file, state.active.size, self.size);
        loop {
            let header = match scan.next() {
                Ok(Some((_, header))) => header,
                Ok(None) => break,
                Err(ReadError::Corrupt { source: BatchError::LegacyMagic(magic), .. })
                    if legacy_is_whole(self.file, state.active.size, self.size)? =>
                {
                    let path = self.file.path().to_owned();
                    return Err(OpenError::LegacyFormat {
                        path,
                        position: state.active.size,
                        magic,
                    });
                }
                Err(ReadError::Disk(error)) => return Err(error.into()),
                Err(_) => break,
            };
            let fits = header.base_offset >= state.active.next_offset
                && header.last_offset() - self.base <= i64::from(i32::MAX)
                && (header.leader_epoch < 0 || header.leader_epoch >= state.epoch);
            if header.validate().is_err() || !fits {
                break;
            }
            self.note(&mut state, &header);
            if let Some(epochs) = epochs.as_deref_mut() {
                epochs.note(&header);
            }
        }
        state.invalid = self.size - state.active.size;
        Ok(state)
    }

    /// The state in front of the batch that the index ends with.
    fn start(&self, index: Index) -> Result<Scanned, OpenError> {
        let mut active = Active::new(self.base, self.now_ms);
        let mut head = [0; HEADER_LEN];
        if self.size >= HEADER_LEN as u64 {
            self.file.read_exact_at(&mut head, 0)?;
            active.first_timestamp = BatchHeader::parse(&head).ok().map(|h| h.max_timestamp);
        }
        if let Some(last) = index.last_offset_entry() {
            active.size = u64::from(last.position);
            self.file.read_exact_at(&mut head, active.size)?;
            active.next_offset = BatchHeader::parse(&head).map_or(self.base, |h| h.base_offset);
        }
        if let Some(last) = index.last_time_entry() {
            let offset = self.base + i64::from(last.relative);
            active.max = TimestampOffset { timestamp: last.timestamp, offset, leader_epoch: None };
            active.indexed_timestamp = last.timestamp;
        }
        Ok(Scanned { index, active, invalid: 0, epoch: self.min_epoch, rebuilt: false })
    }

    fn note(&self, state: &mut Scanned, header: &BatchHeader) {
        state.active.note(header, self.base, &state.index, self.config.index_interval_bytes);
        state.epoch = state.epoch.max(header.leader_epoch);
    }
}

impl Scanned {
    pub fn empty(base: i64, now_ms: i64) -> Scanned {
        Scanned {
            index: Index::Active(Box::default()),
            active: Active::new(base, now_ms),
            invalid: 0,
            epoch: NO_LEADER_EPOCH,
            rebuilt: false,
        }
    }
}

impl Active {
    /// Brings index and ends up to a batch at the segment's end. The order is Kafka's: an entry is for the batch that comes
    /// after more than an interval of bytes.
    pub fn note(&mut self, header: &BatchHeader, base: i64, index: &Index, interval: u32) {
        let relative = |offset: i64| (offset - base) as u32;
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if header.max_timestamp > self.max.timestamp {
            self.max = TimestampOffset {
                timestamp: header.max_timestamp,
                offset: header.last_offset(),
                leader_epoch: None,
            };
        }
        if let Index::Active(index) = index
            && self.bytes_since_index > u64::from(interval)
        {
            let position = self.size as u32;
            index.push_offset(OffsetEntry { relative: relative(header.last_offset()), position });
            self.index_timestamp(index, base);
            self.bytes_since_index = 0;
        }
        self.next_offset = header.next_offset();
        self.size += header.size() as u64;
        self.bytes_since_index += header.size() as u64;
    }

    /// Puts the largest timestamp into the time index, if it is not there yet.
    pub fn index_timestamp(&mut self, index: &ActiveIndex, base: i64) {
        if self.max.timestamp > self.indexed_timestamp {
            self.indexed_timestamp = self.max.timestamp;
            let relative = (self.max.offset - base) as u32;
            index.push_time(TimeEntry { timestamp: self.max.timestamp, relative });
        }
    }
}

/// A segment's index files, if they make sense throughout.
pub(crate) fn load_index(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    file: &dyn DiskFile,
    synced: bool,
) -> Result<Option<ActiveIndex>, DiskError> {
    let read =
        |suffix| unless_useless(disk.read(&dir.join(file_name(base, suffix)), MAX_INDEX_FILE));
    let (Some(offsets), Some(times)) = (read(OFFSET_INDEX)?, read(TIME_INDEX)?) else {
        return Ok(None);
    };
    if offsets.len() % OFFSET_ENTRY != 0 || times.len() % TIME_ENTRY != 0 {
        return Ok(None);
    }
    let size = file.len()?;
    let index = ActiveIndex::default();
    let mut last = OffsetEntry { relative: 0, position: 0 };
    for at in 0..offsets.len() / OFFSET_ENTRY {
        let entry = read_offset_entry(&offsets, at);
        let sound = entry.relative >= last.relative
            && entry.position > last.position
            && u64::from(entry.position) + HEADER_LEN as u64 <= size;
        if !sound {
            return Ok(None);
        }
        index.push_offset(entry);
        last = entry;
    }
    let mut newest = TimeEntry { timestamp: NO_TIMESTAMP, relative: 0 };
    for at in 0..times.len() / TIME_ENTRY {
        let entry = read_time_entry(&times, at);
        if entry.timestamp <= newest.timestamp || entry.relative < newest.relative {
            return Ok(None);
        }
        index.push_time(entry);
        newest = entry;
    }
    if last.position > 0
        && (!leads_to_its_batch(file, base, last)? || newest.timestamp < first_timestamp(file)?)
    {
        return Ok(None);
    }
    Ok(Some(index.all_written(synced)))
}

/// With its first entry an index has the largest timestamp up to there.
fn first_timestamp(file: &dyn DiskFile) -> Result<i64, DiskError> {
    let mut head = [0; HEADER_LEN];
    file.read_exact_at(&mut head, 0)?;
    Ok(BatchHeader::parse(&head).map_or(NO_TIMESTAMP, |header| header.max_timestamp))
}

fn leads_to_its_batch(
    file: &dyn DiskFile,
    base: i64,
    entry: OffsetEntry,
) -> Result<bool, DiskError> {
    let mut head = [0; HEADER_LEN];
    file.read_exact_at(&mut head, u64::from(entry.position))?;
    Ok(BatchHeader::parse(&head)
        .is_ok_and(|header| header.last_offset() == base + i64::from(entry.relative)))
}

/// What the last entries of a closed segment's index files say.
struct LastIndexed {
    /// Of a batch; the segment's begin where there is no entry.
    position: u64,
    timestamp: i64,
}

/// None where they do not look right, by their sizes and last entries.
fn last_indexed(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    size: u64,
) -> Result<Option<LastIndexed>, DiskError> {
    let path = |suffix| dir.join(file_name(base, suffix));
    let len = |suffix| unless_useless(disk.metadata(&path(suffix)));
    let (Some(offsets), Some(times)) = (len(OFFSET_INDEX)?, len(TIME_INDEX)?) else {
        return Ok(None);
    };
    if offsets.len % OFFSET_ENTRY as u64 != 0 || times.len % TIME_ENTRY as u64 != 0 {
        return Ok(None);
    }
    let mut last = LastIndexed { position: 0, timestamp: NO_TIMESTAMP };
    if let Some(at) = offsets.len.checked_sub(OFFSET_ENTRY as u64) {
        let mut bytes = [0; OFFSET_ENTRY];
        disk.open(&path(OFFSET_INDEX), Open::Read)?.read_exact_at(&mut bytes, at)?;
        last.position = u64::from(read_offset_entry(&bytes, 0).position);
        if !(1..size).contains(&last.position) {
            return Ok(None);
        }
    }
    if let Some(at) = times.len.checked_sub(TIME_ENTRY as u64) {
        let mut bytes = [0; TIME_ENTRY];
        disk.open(&path(TIME_INDEX), Open::Read)?.read_exact_at(&mut bytes, at)?;
        last.timestamp = read_time_entry(&bytes, 0).timestamp;
    }
    Ok(Some(last))
}

/// The offset behind the last batch of a closed segment, by its index files; none where they do not look right, or lack what an
/// index of entries `interval` bytes apart would have.
pub(crate) fn closed_end(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    (file, size): (&dyn DiskFile, u64),
    interval: u32,
) -> Result<Option<i64>, OpenError> {
    let Some(last) = last_indexed(disk, dir, base, size)? else { return Ok(None) };
    let walked = || -> Result<Option<i64>, ReadError> {
        let first = HeaderScan::new(file, 0, size).next()?;
        if first.is_some_and(|(_, first)| first.max_timestamp > last.timestamp) {
            return Ok(None);
        }
        let mut end = base;
        let mut scan = HeaderScan::new(file, last.position, size);
        while let Some((position, header)) = scan.next()? {
            if last.position == 0 && position > u64::from(interval) {
                return Ok(None);
            }
            end = header.next_offset();
        }
        Ok(Some(end))
    };
    match walked() {
        Ok(end) => Ok(end),
        Err(ReadError::Disk(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// An index that is not there, or not of a sensible size, can be made anew.
fn unless_useless<T>(found: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match found {
        Err(error) if error.is_not_found() || error.is_too_large() => Ok(None),
        found => found.map(Some),
    }
}

/// Whether an entry of a legacy format is what it says, and not what a torn write left.
fn legacy_is_whole(file: &dyn DiskFile, at: u64, end: u64) -> Result<bool, DiskError> {
    const LARGEST: u64 = 64 << 20;
    let mut head = [0; 16];
    if end - at < 16 {
        return Ok(false);
    }
    file.read_exact_at(&mut head, at)?;
    let word = |from: usize| {
        u32::from_be_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]])
    };
    let (length, stored) = (u64::from(word(8)), word(12));
    if !(14..=LARGEST).contains(&length) || at + 12 + length > end {
        return Ok(false);
    }
    let mut body = vec![0; length as usize - 4];
    file.read_exact_at(&mut body, at + 16)?;
    let mut crc = u32::MAX;
    for byte in body {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    Ok(!crc == stored)
}
