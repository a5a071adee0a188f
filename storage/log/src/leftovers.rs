//! What an interrupted clean-up or deletion left in a partition's directory.

use std::path::Path;

use disk::{Disk, DiskError, FileKind};
use wire::batch::NO_LEADER_EPOCH;

use crate::error::OpenError;
use crate::index::Index;
use crate::names::{CLEANED, DELETED, LOG, SNAPSHOT, SWAP, parse_file_name};
use crate::recover::Scan;
use crate::truncate::remove_if_there;

/// Files of the metadata log's own snapshots look alike and are not ours.
const SNAPSHOT_DELETED: &str = ".checkpoint.deleted";

/// Removes what was being written or deleted, and completes swaps: the new segments replace those whose offsets they cover.
pub(crate) fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let names = file_names(disk, dir)?;
    let with = |suffix: &str| -> Vec<&str> {
        names.iter().map(String::as_str).filter(|name| name.ends_with(suffix)).collect()
    };
    for name in with(DELETED) {
        if !name.ends_with(SNAPSHOT_DELETED) {
            // The log's last owner may be removing it, too.
            remove_if_there(disk, &dir.join(name))?;
        }
    }
    // A split in progress writes cleaned files and swaps them one by one: without all there is none.
    let first_cleaned = with(CLEANED).iter().filter_map(|name| offset(name)).min();
    let mut swaps = Vec::new();
    for name in with(SWAP) {
        match offset(name) {
            Some(at) if first_cleaned.is_none_or(|first| at < first) => swaps.push(name),
            _ => disk.remove_file(&dir.join(name))?,
        }
    }
    for name in with(CLEANED) {
        disk.remove_file(&dir.join(name))?;
    }
    if swaps.is_empty() {
        return Ok(());
    }
    let covered = covered_offsets(disk, dir, &swaps)?;
    let goes = |(at, suffix): (i64, &str)| {
        // It tells of producers before, as no other may, and fits what takes this one's place.
        covered.contains(&at) && !(at == covered.start && suffix == SNAPSHOT)
    };
    for name in &names {
        if !name.ends_with(SWAP)
            && !name.ends_with(CLEANED)
            && !name.ends_with(DELETED)
            && parse_file_name(name).is_some_and(goes)
        {
            disk.remove_file(&dir.join(name))?;
        }
    }
    // What was replaced must not come back beside what replaces it.
    disk.sync_dir(dir)?;
    // The logs first: whoever goes on with it takes what lies at the offsets of those that are still swaps for replaced.
    swaps.sort_by_key(|name| !name.ends_with(&format!("{LOG}{SWAP}")));
    for name in swaps {
        disk.rename(&dir.join(name), &dir.join(name.trim_end_matches(SWAP)))?;
    }
    disk.sync_dir(dir)?;
    Ok(())
}

fn offset(name: &str) -> Option<i64> {
    parse_file_name(name).map(|(offset, _)| offset)
}

fn covered_offsets(
    disk: &dyn Disk,
    dir: &Path,
    swaps: &[&str],
) -> Result<std::ops::Range<i64>, OpenError> {
    let (mut first, mut end) = (i64::MAX, i64::MIN);
    let config = crate::LogConfig::default();
    for name in swaps {
        let Some((base, suffix)) = parse_file_name(name) else { continue };
        if suffix.trim_end_matches(SWAP) != LOG {
            continue;
        }
        let file = disk.open(&dir.join(name), disk::Open::Read)?;
        let size = file.len()?;
        let scan = Scan {
            file: &*file,
            base,
            size,
            config: &config,
            now_ms: 0,
            verify: false,
            min_epoch: NO_LEADER_EPOCH,
        };
        let next = scan.run(Index::Active(Box::default()), None)?.active.next_offset;
        // Also of one without records.
        (first, end) = (first.min(base), end.max(next).max(base + 1));
    }
    Ok(first..end)
}

pub(crate) fn file_names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, DiskError> {
    let entries = disk.list(dir)?.into_iter();
    Ok(entries.filter(|entry| entry.kind == FileKind::File).map(|entry| entry.name).collect())
}
