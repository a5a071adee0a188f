//! Faults by plan: data, so that a plan can be printed, and shrunk.

use crate::DiskOp;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A read fails.
    ReadError,
    /// A read succeeds with one bit of the answer turned.
    ReadFlip,
    /// A write fails after some of its bytes.
    WriteError,
    /// A sync fails. A file's unsynced bytes are then lost at the next power loss, whatever later syncs say.
    SyncError,
    /// A write finds no room, whatever the disk's capacity: as where other directories have disks of their own.
    NoRoom,
    /// A new name finds no room: a directory may have to grow for it.
    NoRoomForName,
    /// A removal finds no room for what it changes: where nothing is written in place.
    NoRoomToRemove,
    /// The process has no descriptor left for a file that is to be opened, or no memory for a map.
    Shortage,
    /// As [`FaultKind::SyncError`], for want of room: as where blocks are looked for only when pages are written back.
    SyncNoRoom,
    /// As [`FaultKind::SyncError`], and the kernel drops the file's unsynced pages: what is read is what the disk has.
    SyncLoss,
    /// Whatever is asked fails, as where the device is gone.
    Gone,
}

impl FaultKind {
    fn hits(self, op: DiskOp) -> bool {
        match self {
            FaultKind::ReadError | FaultKind::ReadFlip => op == DiskOp::Read,
            FaultKind::WriteError | FaultKind::NoRoom => op == DiskOp::Write,
            FaultKind::NoRoomForName => op == DiskOp::Rename,
            FaultKind::NoRoomToRemove => op == DiskOp::Remove,
            FaultKind::Shortage => matches!(op, DiskOp::Open | DiskOp::Map),
            FaultKind::SyncLoss | FaultKind::SyncNoRoom => op == DiskOp::Sync,
            FaultKind::SyncError => matches!(op, DiskOp::Sync | DiskOp::SyncDir),
            FaultKind::Gone => true,
        }
    }
}

/// One planned fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// Part of the path of the files it hits; empty for all.
    pub path_contains: String,
    /// How many operations that it could hit pass unharmed first.
    pub skip: u64,
    /// How many it then hits.
    pub times: u64,
}

/// The fault that hits this operation, if one does. Every plan that could hit it counts it.
pub(super) fn hit(plan: &mut Vec<Fault>, op: DiskOp, path: &str) -> Option<FaultKind> {
    let mut found = None;
    for fault in plan.iter_mut() {
        if !fault.kind.hits(op) || !path.contains(&fault.path_contains) {
            continue;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if found.is_none() && fault.times > 0 {
            fault.times -= 1;
            found = Some(fault.kind);
        }
    }
    plan.retain(|fault| fault.times > 0);
    found
}
