//! Putting cleaned segments in the place of others (Kafka: `LocalLog.replaceSegments`).
//!
//! Readers see the new ones at once. On the disk names change in an order that a crash may end anywhere: until the first new
//! segment has its `.swap` name for good nothing has happened, and from then on an opening finishes the rest.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use disk::{Disk, DiskError};

use super::cleaned::{CleanedSegments, SUFFIXES, cleaned_path};
use crate::index::Index;
use crate::log::Log;
use crate::names::{DELETED, LOG, SNAPSHOT, SWAP, file_name};
use crate::retention::DeletedSegments;
use crate::truncate::remove_if_there;

/// The log did not take them: it was truncated, or segments that they were to replace are gone, or earlier ones of the same pass
/// were not taken. The pass is to be aborted.
#[derive(Debug, thiserror::Error)]
#[error("the log has changed under a pass of the cleaner")]
pub struct NotReplaced(pub Box<CleanedSegments>);

/// The renaming that a replacement owes to the disk. Clones are the same; who runs it first does it, others wait. The log
/// does it itself before it touches the names of segments, should nobody have.
#[derive(Debug, Clone)]
pub struct SegmentSwap {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Base offsets, ascending.
    old: Vec<i64>,
    new: Vec<i64>,
    stub: Option<i64>,
    /// The producer snapshot at the first new base was made anew.
    snapshot: bool,
    /// Producer snapshots that must go first: nobody looked which of their transactions lose their markers.
    strays: Vec<i64>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Owed,
    Done,
    /// Nobody knows how far it came: the log must be opened anew.
    Failed(DiskError),
}

impl Log {
    /// Shows cleaned segments to readers from now on; views that are out keep what they have. Touches no disk.
    pub fn replace_segments(
        &mut self,
        cleaned: CleanedSegments,
    ) -> Result<SegmentSwap, NotReplaced> {
        let CleanedSegments { old, new, .. } = &cleaned;
        let first = self.segments.partition_point(|segment| segment.base < old[0].base);
        let end = first + old.len();
        let unchanged = self.truncations == cleaned.truncations
            && cleaned.swapped.load(Ordering::Relaxed) == cleaned.number
            && end < self.segments.len()
            && self.segments[first..end].iter().zip(old).all(|(ours, old)| Arc::ptr_eq(ours, old));
        if !unchanged {
            return Err(NotReplaced(Box::new(cleaned)));
        }
        cleaned.swapped.fetch_add(1, Ordering::Relaxed);
        for segment in old {
            if let Index::Closed(index) = &segment.index {
                index.replace();
            }
        }
        let mut strays: Vec<i64> =
            self.snapshots.range(old[0].base + 1..self.segments[end].base).copied().collect();
        strays.iter().for_each(|offset| self.forget_snapshot(*offset));
        // Those of segments that go are set aside with them.
        strays.retain(|offset| {
            old.binary_search_by_key(offset, |segment| segment.base).is_err()
                || new.iter().any(|new| new.segment.base == *offset)
        });
        let mut segments = self.segments[..first].to_vec();
        segments.extend(new.iter().map(|new| new.segment.clone()));
        segments.extend_from_slice(&self.segments[end..]);
        self.tail.clear();
        self.segments = Arc::new(segments);
        let swap = SegmentSwap {
            old: old.iter().map(|segment| segment.base).collect(),
            new: new.iter().map(|new| new.segment.base).collect(),
            stub: cleaned.stub.as_ref().map(|stub| stub.base),
            snapshot: cleaned.snapshot,
            strays,
            disk: cleaned.disk,
            dir: cleaned.dir,
            state: Arc::default(),
        };
        self.swaps.retain(|swap| !swap.is_done());
        self.swaps.push(swap.clone());
        Ok(swap)
    }

    /// Does what replacements owe to the disk: before segments' names are touched otherwise.
    pub(crate) fn finish_swap(&mut self) -> Result<(), DiskError> {
        for swap in self.swaps.drain(..) {
            swap.run()?;
        }
        Ok(())
    }
}

impl SegmentSwap {
    /// Makes the replacement durable. Takes a few syncs of the directory; nothing if it is done.
    pub fn run(&self) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Owed) {
            *state = self.rename_all().map_or_else(State::Failed, |()| State::Done);
        }
        match &*state {
            State::Failed(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn is_done(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| matches!(*state, State::Done))
    }

    /// The replaced segments, for the owner to remove after `file.delete.delay.ms` once this has run.
    pub fn deleted(&self) -> DeletedSegments {
        let mut files = Vec::new();
        for base in &self.old {
            for suffix in SUFFIXES.iter().chain(&[SNAPSHOT]) {
                files.push(self.dir.join(file_name(*base, suffix) + DELETED));
            }
        }
        DeletedSegments { count: self.old.len(), files }
    }

    fn rename_all(&self) -> Result<(), DiskError> {
        let (first, rest) = (self.new[0], &self.new[1..]);
        // Descending, and the first alone: an opening takes no swap at or above what is still only cleaned.
        let others: Vec<i64> = self.stub.iter().chain(rest.iter().rev()).copied().collect();
        others.iter().try_for_each(|base| self.cleaned_to_swap(*base))?;
        if self.settle_snapshots(first)? || !others.is_empty() {
            self.disk.sync_dir(&self.dir)?;
        }
        self.cleaned_to_swap(first)?;
        self.disk.sync_dir(&self.dir)?;
        for base in &self.old {
            for suffix in SUFFIXES {
                self.rename(*base, suffix, suffix.to_owned() + DELETED)?;
            }
            if *base != first {
                self.rename(*base, SNAPSHOT, SNAPSHOT.to_owned() + DELETED)?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        for base in &self.new {
            // The log first: while it is a swap, an opening takes all else at its offsets for replaced.
            for suffix in SUFFIXES.iter().rev() {
                self.rename(*base, &format!("{suffix}{SWAP}"), suffix.to_string())?;
            }
        }
        for suffix in SUFFIXES {
            if let Some(base) = self.stub {
                remove_if_there(&*self.disk, &self.dir.join(file_name(base, suffix) + SWAP))?;
            }
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Those that are left fit the log as it was as well as it will be. Whether there was anything to do.
    fn settle_snapshots(&self, first: i64) -> Result<bool, DiskError> {
        let path = |offset| self.dir.join(file_name(offset, SNAPSHOT));
        if self.snapshot {
            self.disk.rename(&cleaned_path(&self.dir, first, SNAPSHOT), &path(first))?;
        }
        self.strays.iter().try_for_each(|offset| remove_if_there(&*self.disk, &path(*offset)))?;
        Ok(self.snapshot || !self.strays.is_empty())
    }

    fn cleaned_to_swap(&self, base: i64) -> Result<(), DiskError> {
        for suffix in SUFFIXES {
            let from = cleaned_path(&self.dir, base, suffix);
            let to = self.dir.join(file_name(base, suffix) + SWAP);
            let renamed = self.disk.rename(&from, &to);
            if suffix == LOG { renamed } else { if_there(renamed) }?;
        }
        Ok(())
    }

    fn rename(&self, base: i64, from: &str, to: String) -> Result<(), DiskError> {
        let path = |suffix: &str| self.dir.join(file_name(base, suffix));
        if_there(self.disk.rename(&path(from), &path(&to)))
    }
}

/// Not every segment has all of the files.
fn if_there(renamed: Result<(), DiskError>) -> Result<(), DiskError> {
    match renamed {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
