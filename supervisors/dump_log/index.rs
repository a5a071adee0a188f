//! `.index` and `.timeindex`, held against the log beside them (Kafka's `OffsetIndex` and `TimeIndex`).

use std::path::Path;
use std::sync::Arc;

use disk::{DiskFile, Open};

use super::batches::Batches;
use super::{Dump, DumpError, base_offset};

const OFFSET_ENTRY: u64 = 8;
const TIME_ENTRY: u64 = 12;
const NO_TIMESTAMP: i64 = -1;

/// An index file of entries of one size; offsets in it are relative to `base`.
struct Index {
    file: Arc<dyn DiskFile>,
    base: i64,
    entries: u64,
    len: u64,
}

struct OffsetEntry {
    offset: i64,
    position: i32,
}

struct TimeEntry {
    timestamp: i64,
    offset: i64,
}

impl Index {
    fn open(dump: &Dump, path: &Path, base: i64, size: u64) -> Result<Index, DumpError> {
        let file = dump.disk.open(path, Open::Read)?;
        let len = file.len()?;
        Ok(Index { file, base, entries: len / size, len })
    }

    fn offset_entry(&self, index: u64) -> Result<OffsetEntry, DumpError> {
        let mut entry = [0; OFFSET_ENTRY as usize];
        self.file.read_exact_at(&mut entry, index * OFFSET_ENTRY)?;
        let [a, b, c, d, e, f, g, h] = entry;
        let offset = self.base.wrapping_add(i64::from(i32::from_be_bytes([a, b, c, d])));
        Ok(OffsetEntry { offset, position: i32::from_be_bytes([e, f, g, h]) })
    }

    fn time_entry(&self, index: u64) -> Result<TimeEntry, DumpError> {
        let mut entry = [0; TIME_ENTRY as usize];
        self.file.read_exact_at(&mut entry, index * TIME_ENTRY)?;
        let [a, b, c, d, e, f, g, h, relative @ ..] = entry;
        let offset = self.base.wrapping_add(i64::from(i32::from_be_bytes(relative)));
        Ok(TimeEntry { timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]), offset })
    }

    /// The position of the last entry that is not behind the offset.
    fn position_of(&self, offset: i64) -> Result<i32, DumpError> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.offset_entry(middle)?.offset <= offset {
                low = middle + 1
            } else {
                high = middle
            }
        }
        match low.checked_sub(1) {
            Some(floor) => Ok(self.offset_entry(floor)?.position),
            None => Ok(0),
        }
    }

    fn check_last_offset(&self, last: i64) -> Result<(), DumpError> {
        let base = self.base;
        if last < base {
            return Err(self.corrupt(format!(
                "it is not empty, and its last offset {last} is less than its base offset {base}"
            )));
        }
        Ok(())
    }

    fn check_length(&self, entry: u64) -> Result<(), DumpError> {
        let len = self.len;
        match len % entry {
            0 => Ok(()),
            _ => Err(self.corrupt(format!("its {len} bytes are no multiple of {entry}"))),
        }
    }

    fn corrupt(&self, why: String) -> DumpError {
        DumpError::Index { path: self.file.path().to_owned(), why }
    }
}

impl Dump<'_> {
    pub(super) fn offset_index(&mut self, path: &Path) -> Result<(), DumpError> {
        let base = base_offset(path)?;
        let log = Batches::open(self.disk, &beside(path, "log"), None)?;
        let index = Index::open(self, path, base, OFFSET_ENTRY)?;
        if index.entries == 0 {
            return Ok(writeln!(self.out, "{} is empty.", path.display())?);
        }
        if self.options.sanity_check {
            index.check_last_offset(index.offset_entry(index.entries - 1)?.offset)?;
            index.check_length(OFFSET_ENTRY)?;
            return self.passed(path);
        }
        for at in 0..index.entries {
            let entry = index.offset_entry(at)?;
            // What was made room for and not written.
            if entry.offset == base && at > 0 {
                return Ok(());
            }
            let position = i64::from(entry.position);
            let none =
                || index.corrupt(format!("it points at position {position}, where no batch is"));
            let mut batches = log.from(position, self.options.max_message_size).ok_or_else(none)?;
            let found = batches.next()?.ok_or_else(none)?.header.last_offset();
            if found != entry.offset {
                self.told.index_mismatch(path, entry.offset, found);
            }
            if !self.options.verify_only {
                writeln!(self.out, "offset: {} position: {position}", entry.offset)?;
            }
        }
        Ok(())
    }

    pub(super) fn time_index(&mut self, path: &Path) -> Result<(), DumpError> {
        let base = base_offset(path)?;
        let log = Batches::open(self.disk, &beside(path, "log"), None)?;
        let offsets = Index::open(self, &beside(path, "index"), base, OFFSET_ENTRY)?;
        let times = Index::open(self, path, base, TIME_ENTRY)?;
        if self.options.sanity_check {
            times.check_times()?;
            return self.passed(path);
        }
        let mut previous = NO_TIMESTAMP;
        for at in 0..times.entries {
            let entry = times.time_entry(at)?;
            if entry.offset == base && at > 0 {
                return Ok(());
            }
            let position = i64::from(offsets.position_of(entry.offset)?);
            let none =
                || offsets.corrupt(format!("it points at position {position}, outside the log"));
            let batches = log.from(position, u64::MAX).ok_or_else(none)?;
            self.check_time(path, batches, &entry, previous)?;
            if !self.options.verify_only {
                writeln!(self.out, "timestamp: {} offset: {}", entry.timestamp, entry.offset)?;
            }
            previous = entry.timestamp;
        }
        Ok(())
    }

    /// The batch that ends with the entry's offset has the entry's timestamp as its largest.
    fn check_time(
        &mut self,
        path: &Path,
        mut batches: Batches,
        entry: &TimeEntry,
        previous: i64,
    ) -> Result<(), DumpError> {
        let batch = loop {
            match batches.next()? {
                None => {
                    self.told.not_found(path, entry.offset, -1);
                    return Ok(());
                }
                Some(batch) if batch.header.last_offset() >= entry.offset => break batch,
                Some(_) => {}
            }
        };
        if batch.header.last_offset() != entry.offset {
            self.told.not_found(path, entry.offset, batch.header.last_offset());
            return Ok(());
        }
        let mut largest = NO_TIMESTAMP;
        for record in batch.records()? {
            largest = largest.max(record.map_err(|error| batch.broken(&error))?.timestamp);
        }
        if largest != entry.timestamp {
            self.told.time_mismatch(path, entry.timestamp, largest);
        }
        if previous >= entry.timestamp {
            self.told.out_of_order(path, entry.timestamp, previous);
        }
        Ok(())
    }

    fn passed(&mut self, path: &Path) -> Result<(), DumpError> {
        Ok(writeln!(self.out, "{} passed sanity check.", path.display())?)
    }
}

impl Index {
    fn check_times(&self) -> Result<(), DumpError> {
        if let Some(last) = self.entries.checked_sub(1) {
            let (first, last) = (self.time_entry(0)?.timestamp, self.time_entry(last)?);
            if last.timestamp < first {
                let last = last.timestamp;
                return Err(self.corrupt(format!(
                    "its last timestamp {last} is less than its first timestamp {first}"
                )));
            }
            self.check_last_offset(last.offset)?;
        }
        self.check_length(TIME_ENTRY)
    }
}

/// The file of the same segment with another suffix.
fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    path.with_file_name(format!("{stem}.{suffix}"))
}
