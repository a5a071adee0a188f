//! A file system in memory that is the same under the same seed, and that crashes as real ones do.

mod content;
mod faults;
mod handles;
mod random;
mod tree;

#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::maps::FileUses;
use crate::{Disk, DiskError, DiskOp, Result};
pub use faults::{Fault, FaultKind};
use handles::MountedDisk;
use random::Random;
use tree::{Ino, Tree};

/// What a simulated disk is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimDiskOptions {
    pub seed: u64,
    /// Beyond this, writes fail as on a full disk. Counted in blocks of 4 KiB.
    pub capacity_bytes: u64,
    /// Unsynced bytes of one file beyond which the oldest become durable by themselves, as the kernel's write-back
    /// does; bounds the memory of a run that never syncs.
    pub writeback_bytes: usize,
    /// Whether [`Disk::kernel`] can say; Linux before 6.8 cannot.
    pub kernel: bool,
}

impl Default for SimDiskOptions {
    fn default() -> Self {
        Self { seed: 0, capacity_bytes: 1 << 40, writeback_bytes: 4 << 20, kernel: true }
    }
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process died: what it wrote is in the kernel's hands, and stays.
    Kill,
    /// The machine died: what was not synced is kept, torn or lost, as drawn from the seed.
    PowerLoss,
}

/// A simulated disk: outlives the nodes that use it. Each life of a node works on a handle from
/// [`mount`](Self::mount), which is inert after the [`crash`](Self::crash) that ends that life. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    random: Random,
    options: SimDiskOptions,
    /// Raised by each crash: handles made before do nothing any more.
    incarnation: u64,
    power_losses: u64,
    now_ms: i64,
    ops: u64,
    /// Operations left before every further one fails.
    budget: Option<u64>,
    plan: Vec<Fault>,
    locked: BTreeSet<Ino>,
    uses: FileUses,
    /// The blocks in the page cache; all of them as long as it was never dropped.
    cached: Option<BTreeSet<(Ino, u64)>>,
}

impl SimDisk {
    pub fn new(options: SimDiskOptions) -> Self {
        let state = State {
            tree: Tree::new(),
            random: Random::new(options.seed),
            options,
            incarnation: 0,
            power_losses: 0,
            now_ms: 0,
            ops: 0,
            budget: None,
            plan: Vec::new(),
            locked: BTreeSet::new(),
            uses: FileUses::default(),
            cached: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle for the life that begins now.
    pub fn mount(&self) -> Arc<dyn Disk> {
        let incarnation = self.state().incarnation;
        Arc::new(MountedDisk { disk: self.clone(), incarnation })
    }

    /// Ends a life: its handles do nothing any more, its locks are free, and the bytes are what this end leaves.
    pub fn crash(&self, how: Crash) {
        let mut state = self.state();
        let state = &mut *state;
        state.incarnation += 1;
        state.budget = None;
        state.locked.clear();
        state.uses = FileUses::default();
        match how {
            Crash::Kill => state.tree.close_all(),
            Crash::PowerLoss => {
                state.power_losses += 1;
                state.cached = Some(BTreeSet::new());
                state.tree.lose_power(&mut state.random);
            }
        }
    }

    /// After this many more operations every one fails, until the next crash; a write that is the last of them is torn.
    /// `None` takes the limit away.
    pub fn set_budget(&self, ops: Option<u64>) {
        self.state().budget = ops;
    }

    /// Operations tried on this disk so far.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Adds a fault to the plan.
    pub fn plan(&self, fault: Fault) {
        self.state().plan.push(fault);
    }

    /// Takes back all faults that were planned.
    pub fn forget_plan(&self) {
        self.state().plan.clear();
    }

    /// Drops the page cache: what is read from now on has to come from the device first ([`crate::DiskFile::is_resident`]).
    pub fn drop_cache(&self) {
        self.state().cached = Some(BTreeSet::new());
    }

    /// The time that files changed from now on carry, unix milliseconds.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.state().now_ms = now_ms;
    }

    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.state().options.capacity_bytes = capacity_bytes;
    }

    pub fn used_bytes(&self) -> u64 {
        self.state().tree.used_bytes()
    }

    /// Turns the bits of `mask` in one byte of a file, as a medium that decays does.
    pub fn decay(&self, path: &Path, pos: u64, mask: u8) -> Result<()> {
        let mut state = self.state();
        let found = state.tree.lookup(path).and_then(|ino| {
            let modified_ms = state.tree.modified_ms(ino)?;
            state.tree.change(ino, modified_ms, |content| content.decay(pos, mask))
        });
        found.map_err(|e| DiskError::new(DiskOp::Write, path, e))
    }
}

/// What an operation may do after the checks that every one starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    Whole,
    /// Some of it, then fail: the process is killed within it, or the device gives up.
    Torn,
    /// All of it, but with one bit of the answer turned.
    Flip,
    /// Fail, and forget what was not synced.
    Lose,
    /// Fail for want of room.
    Full,
}

impl State {
    fn begin(&mut self, incarnation: u64, op: DiskOp, path: &Path) -> io::Result<Go> {
        if incarnation != self.incarnation {
            return Err(io::Error::other("the process that opened it has ended"));
        }
        self.ops += 1;
        let mut go = Go::Whole;
        match &mut self.budget {
            Some(0) => return Err(io::Error::other("the process is being killed")),
            Some(left) => {
                *left -= 1;
                if *left == 0 && op == DiskOp::Write {
                    go = Go::Torn;
                }
            }
            None => {}
        }
        match faults::hit(&mut self.plan, op, &path.to_string_lossy()) {
            None => Ok(go),
            Some(FaultKind::ReadFlip) => Ok(Go::Flip),
            Some(FaultKind::WriteError | FaultKind::SyncError) => Ok(Go::Torn),
            Some(FaultKind::SyncLoss) => Ok(Go::Lose),
            Some(FaultKind::SyncNoRoom) => Ok(Go::Full),
            Some(FaultKind::ReadError | FaultKind::Gone) => {
                Err(io::Error::other("input/output error"))
            }
            Some(FaultKind::NoRoom | FaultKind::NoRoomForName | FaultKind::NoRoomToRemove) => {
                Err(ErrorKind::StorageFull.into())
            }
            Some(FaultKind::Shortage) => Err(rustix::io::Errno::MFILE.into()),
        }
    }

    /// Notes what is in the page cache from now on.
    fn cache(&mut self, ino: Ino, pos: u64, len: usize) {
        if let Some(cached) = &mut self.cached
            && len > 0
        {
            let last = (pos + len as u64 - 1) / content::BLOCK;
            cached.extend((pos / content::BLOCK..=last).map(|block| (ino, block)));
        }
    }

    fn free_blocks(&self) -> u64 {
        let free = self.options.capacity_bytes.saturating_sub(self.tree.used_bytes());
        free / content::BLOCK
    }
}
