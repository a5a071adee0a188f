//! Offset and time index of a segment. The offsets in the files are relative to the segment's base offset.
//!
//! The index of the segment in use lives in memory and goes to its files when the segment is synced, rolled or closed;
//! that of a closed segment is mapped when asked. An index only shortens the way: where it is missing, reading
//! begins at the segment's start.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use disk::{Disk, DiskError, DiskFile, Map, Open};

use crate::names::{OFFSET_INDEX, TIME_INDEX, file_name};
use crate::truncate::remove_if_there;
use crate::words::Words;

/// Relative offset and position.
pub(crate) const OFFSET_ENTRY: usize = 8;
/// Timestamp and relative offset.
pub(crate) const TIME_ENTRY: usize = 12;

/// `relative` is the last offset of the batch that begins at `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub relative: u32,
    pub position: u32,
}

/// The largest timestamp up to the batch whose last offset is `relative`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub timestamp: i64,
    pub relative: u32,
}

/// So many bytes of log, and what was appended last, are not in the index files of the segment in use.
pub(crate) const INDEX_LAG: u32 = 32 << 20;

/// Pages of an index that was looked into stay in memory for as long, at least: they go as those do that nobody used for longest.
const AT_HAND: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) enum Index {
    Active(Box<ActiveIndex>),
    Closed(Box<ClosedIndex>),
}

impl Index {
    /// The last entry at or below `relative`.
    pub fn floor_offset(&self, relative: u32) -> Option<OffsetEntry> {
        let entries = self.offsets();
        let below = |at| entries.get(at).relative <= relative;
        floor(entries.len(), below).map(|at| entries.get(at))
    }

    /// The last entry with a timestamp at or below `timestamp`.
    pub fn floor_time(&self, timestamp: i64) -> Option<TimeEntry> {
        let entries = self.times();
        let below = |at| entries.get(at).timestamp <= timestamp;
        floor(entries.len(), below).map(|at| entries.get(at))
    }

    /// The first entry at or behind `position`.
    pub fn ceiling_position(&self, position: u64) -> Option<OffsetEntry> {
        let entries = self.offsets();
        let before = |at| u64::from(entries.get(at).position) < position;
        let at = floor(entries.len(), before).map_or(0, |last| last + 1);
        (at < entries.len()).then(|| entries.get(at))
    }

    pub fn last_offset_entry(&self) -> Option<OffsetEntry> {
        let entries = self.offsets();
        entries.len().checked_sub(1).map(|last| entries.get(last))
    }

    pub fn last_time_entry(&self) -> Option<TimeEntry> {
        let entries = self.times();
        entries.len().checked_sub(1).map(|last| entries.get(last))
    }

    /// Whether the time index is there to be asked.
    pub fn has_times(&self) -> bool {
        match self {
            Index::Active(_) => true,
            Index::Closed(closed) => closed.times().is_some(),
        }
    }

    /// Whether its pages are likely to be in memory, as it was looked into lately.
    pub fn is_at_hand(&self, now: Duration) -> bool {
        match self {
            Index::Active(_) => true,
            Index::Closed(closed) => {
                let used = closed.used_ms.load(Ordering::Relaxed);
                used != 0 && now.saturating_sub(Duration::from_millis(used)) < AT_HAND
            }
        }
    }

    /// Notes that it was looked into.
    pub fn used_at(&self, now: Duration) {
        if let Index::Closed(closed) = self {
            closed.used_ms.store(now.as_millis().max(1) as u64, Ordering::Relaxed);
        }
    }

    pub fn offset_len(&self) -> usize {
        self.offsets().len()
    }

    pub fn time_len(&self) -> usize {
        self.times().len()
    }

    pub fn offsets(&self) -> Offsets<'_> {
        match self {
            Index::Active(active) => Offsets(Entries::Active(&active.offsets)),
            Index::Closed(closed) => Offsets(Entries::Closed(closed.offsets())),
        }
    }

    pub fn times(&self) -> Times<'_> {
        match self {
            Index::Active(active) => Times(Entries::Active(&active.times)),
            Index::Closed(closed) => Times(Entries::Closed(closed.times())),
        }
    }
}

/// An index at hand: once asked for, it does not go away.
enum Entries<'a> {
    Active(&'a Words),
    /// None where there is no file to ask.
    Closed(Option<Arc<Map>>),
}

pub(crate) struct Offsets<'a>(Entries<'a>);

impl Offsets<'_> {
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Active(words) => words.len(),
            Entries::Closed(map) => map.as_ref().map_or(0, |map| map.len() / OFFSET_ENTRY),
        }
    }

    pub fn get(&self, at: usize) -> OffsetEntry {
        match &self.0 {
            Entries::Active(words) => unpack(words.get(at)),
            Entries::Closed(map) => read_offset_entry(map.as_deref().map_or(&[], |m| m), at),
        }
    }
}

pub(crate) struct Times<'a>(Entries<'a>);

impl Times<'_> {
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Active(words) => words.len() / 2,
            Entries::Closed(map) => map.as_ref().map_or(0, |map| map.len() / TIME_ENTRY),
        }
    }

    pub fn get(&self, at: usize) -> TimeEntry {
        match &self.0 {
            Entries::Active(words) => TimeEntry {
                timestamp: words.get(2 * at) as i64,
                relative: words.get(2 * at + 1) as u32,
            },
            Entries::Closed(map) => read_time_entry(map.as_deref().map_or(&[], |m| m), at),
        }
    }
}

/// The last index for which `below` holds, of `len` that it holds for first and not after.
fn floor(len: usize, below: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1)
}

fn pack(entry: OffsetEntry) -> u64 {
    u64::from(entry.relative) << 32 | u64::from(entry.position)
}

fn unpack(word: u64) -> OffsetEntry {
    OffsetEntry { relative: (word >> 32) as u32, position: word as u32 }
}

pub(crate) fn read_offset_entry(bytes: &[u8], index: usize) -> OffsetEntry {
    let mut word = [0; OFFSET_ENTRY];
    word.copy_from_slice(&bytes[index * OFFSET_ENTRY..][..OFFSET_ENTRY]);
    unpack(u64::from_be_bytes(word))
}

pub(crate) fn read_time_entry(bytes: &[u8], index: usize) -> TimeEntry {
    let entry = &bytes[index * TIME_ENTRY..][..TIME_ENTRY];
    let mut timestamp = [0; 8];
    timestamp.copy_from_slice(&entry[..8]);
    let mut relative = [0; 4];
    relative.copy_from_slice(&entry[8..]);
    TimeEntry { timestamp: i64::from_be_bytes(timestamp), relative: u32::from_be_bytes(relative) }
}

#[derive(Debug, Default)]
pub(crate) struct ActiveIndex {
    offsets: Words,
    times: Words,
    /// So many offsets are in their file. Changed by who holds what follows, which may take as long as the disk.
    offsets_written: AtomicUsize,
    written: Mutex<Written>,
}

/// What of an index is in its files.
#[derive(Debug, Default)]
struct Written {
    times: usize,
    files_made: bool,
    unsynced: bool,
    /// The segment was truncated or removed: its files are no longer this index's.
    retired: bool,
}

impl ActiveIndex {
    /// Entries come in ascending order.
    pub fn push_offset(&self, entry: OffsetEntry) {
        self.offsets.push([pack(entry)]);
    }

    pub fn push_time(&self, entry: TimeEntry) {
        self.times.push([entry.timestamp as u64, u64::from(entry.relative)]);
    }

    /// All of it is in the files already, which it was just read from; `synced` by whoever closed the log.
    pub fn all_written(self, synced: bool) -> ActiveIndex {
        let written = Written {
            times: self.times.len() / 2,
            files_made: true,
            unsynced: !synced,
            retired: false,
        };
        let offsets_written = AtomicUsize::new(self.offsets.len());
        ActiveIndex { written: Mutex::new(written), offsets_written, ..self }
    }

    /// From now on nothing is written for it.
    pub fn retire(&self) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).retired = true;
    }

    /// Whether the files lack so much that reading it again after a crash would take long.
    pub fn is_behind(&self, lag: u32) -> bool {
        let written = self.offsets_written.load(Ordering::Acquire);
        let position = |entries: usize| {
            entries.checked_sub(1).map_or(0, |last| unpack(self.offsets.get(last)).position)
        };
        position(self.offsets.len()) - position(written) > lag
    }

    /// Writes to the files what they do not have yet.
    pub fn write(&self, disk: &dyn Disk, dir: &Path, base: i64) -> Result<IndexFiles, DiskError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.retired {
            return Ok(IndexFiles::Retired);
        }
        match self.extend(&mut written, disk, dir, base) {
            // Readers of an earlier life of this log have mapped it: they keep their file, and there is a new one.
            Err(error) if error.is_busy() => {
                *written = Written::default();
                self.offsets_written.store(0, Ordering::Release);
                self.extend(&mut written, disk, dir, base)
            }
            done => done,
        }
    }

    fn extend(
        &self,
        written: &mut Written,
        disk: &dyn Disk,
        dir: &Path,
        base: i64,
    ) -> Result<IndexFiles, DiskError> {
        let new = !written.files_made;
        let open = |suffix| {
            let path = dir.join(file_name(base, suffix));
            if new {
                remove_if_there(disk, &path)?;
            }
            disk.open(&path, if new { Open::CreateNew } else { Open::ReadWrite })
        };
        let (offsets, times) = (self.offsets.len(), self.times.len() / 2);
        let offsets_before = self.offsets_written.load(Ordering::Acquire);
        // First, for a process may die in between: a time index may be ahead of the offset index, but not behind.
        if times > written.times || new {
            let bytes = self.time_bytes(written.times);
            open(TIME_INDEX)?.write_at(&bytes, (written.times * TIME_ENTRY) as u64)?;
            // Of a new file without entries its name says all.
            written.unsynced |= !bytes.is_empty();
        }
        if offsets > offsets_before || new {
            let bytes = self.offset_bytes(offsets_before);
            open(OFFSET_INDEX)?.write_at(&bytes, (offsets_before * OFFSET_ENTRY) as u64)?;
            written.unsynced |= !bytes.is_empty();
        }
        (written.times, written.files_made) = (times, true);
        self.offsets_written.store(offsets, Ordering::Release);
        Ok(if new { IndexFiles::Made } else { IndexFiles::Extended })
    }

    /// The entries from one on, as in the file.
    pub fn offset_bytes(&self, from: usize) -> Vec<u8> {
        (from..self.offsets.len()).flat_map(|at| self.offsets.get(at).to_be_bytes()).collect()
    }

    /// The entries from one on, as in the file.
    pub fn time_bytes(&self, from: usize) -> Vec<u8> {
        let entries = from..self.times.len() / 2;
        let mut bytes = Vec::with_capacity(entries.len() * TIME_ENTRY);
        for at in entries {
            bytes.extend_from_slice(&self.times.get(2 * at).to_be_bytes());
            bytes.extend_from_slice(&(self.times.get(2 * at + 1) as u32).to_be_bytes());
        }
        bytes
    }

    /// Something was written since the last call: the caller syncs it.
    pub fn take_unsynced(&self) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut written.unsynced)
    }
}

/// What became of the files of an index that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexFiles {
    /// Their names are new in the directory.
    Made,
    Extended,
    /// They are no longer this index's.
    Retired,
}

#[derive(Debug)]
pub(crate) struct ClosedIndex {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    base: i64,
    offsets: OnceLock<Arc<dyn DiskFile>>,
    times: OnceLock<Arc<dyn DiskFile>>,
    /// Its files' names belong to another segment, or will soon.
    replaced: AtomicBool,
    /// When it was last looked into, milliseconds of the node's monotonic clock.
    used_ms: AtomicU64,
}

impl ClosedIndex {
    /// Boxed, as the segment in use, which every log has, keeps none.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, base: i64) -> Box<ClosedIndex> {
        let (offsets, times) = (OnceLock::new(), OnceLock::new());
        let (replaced, used_ms) = (AtomicBool::new(false), AtomicU64::new(0));
        Box::new(ClosedIndex { disk, dir, base, offsets, times, replaced, used_ms })
    }

    /// One whose files are open already, under whatever name.
    pub fn opened(self, offsets: Arc<dyn DiskFile>, times: Arc<dyn DiskFile>) -> ClosedIndex {
        ClosedIndex { offsets: offsets.into(), times: times.into(), ..self }
    }

    /// From now on nothing is opened by its files' names.
    pub fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    fn offsets(&self) -> Option<Arc<Map>> {
        self.map(&self.offsets, OFFSET_INDEX)
    }

    fn times(&self) -> Option<Arc<Map>> {
        self.map(&self.times, TIME_INDEX)
    }

    /// `None` where the file cannot be mapped, or is gone because the segment was deleted under its readers.
    fn map(&self, place: &OnceLock<Arc<dyn DiskFile>>, suffix: &str) -> Option<Arc<Map>> {
        if let Some(file) = place.get() {
            return file.map().ok();
        }
        let path = self.dir.join(file_name(self.base, suffix));
        let file = self.disk.keep(&path, Open::Read).ok()?;
        // Asked after it was opened: whoever renames files says so before.
        if self.replaced.load(Ordering::Acquire) {
            return None;
        }
        place.get_or_init(|| file).map().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who writes it waits for the disk, and the log's writer not for them.
    #[test]
    fn whether_the_files_are_behind_is_known_while_they_are_written() {
        let index = ActiveIndex::default();
        let writing = index.written.lock();
        let (answer, answered) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| answer.send(index.is_behind(0)));
            let answered = answered.recv_timeout(Duration::from_secs(10));
            drop(writing);
            assert_eq!(answered, Ok(false));
        });
    }
}
