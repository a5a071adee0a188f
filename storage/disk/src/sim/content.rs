//! A file's bytes: what readers see, what a crash leaves, and the changes between the two.

use std::collections::{BTreeMap, VecDeque};

use super::random::Random;

pub(super) const BLOCK: u64 = 4096;
/// The least that a device writes at once.
const SECTOR: u64 = 512;

/// Bytes by block; a block that is absent is zeros.
#[derive(Debug, Clone, Default)]
struct Blocks {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Blocks {
    fn read(&self, buf: &mut [u8], pos: u64) -> usize {
        let count = self.len.saturating_sub(pos).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let (block, at, n) = span(pos + done as u64, count - done);
            let target = &mut buf[done..done + n];
            match self.blocks.get(&block) {
                Some(bytes) => target.copy_from_slice(&bytes[at..at + n]),
                None => target.fill(0),
            }
            done += n;
        }
        count
    }

    fn write(&mut self, bytes: &[u8], pos: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (block, at, n) = span(pos + done as u64, bytes.len() - done);
            let target = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize].into());
            target[at..at + n].copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
        if !bytes.is_empty() {
            self.len = self.len.max(pos + bytes.len() as u64);
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.blocks.split_off(&len.div_ceil(BLOCK));
            if let Some(last) = self.blocks.get_mut(&(len / BLOCK)) {
                last[(len % BLOCK) as usize..].fill(0);
            }
        }
        self.len = len;
    }
}

/// The block of a position, the offset in it, and how many of `want` bytes it holds.
fn span(pos: u64, want: usize) -> (u64, usize, usize) {
    let at = (pos % BLOCK) as usize;
    (pos / BLOCK, at, want.min(BLOCK as usize - at))
}

#[derive(Debug, Clone)]
enum Change {
    Write { pos: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Debug, Default)]
pub(super) struct Content {
    seen: Blocks,
    durable: Blocks,
    pending: VecDeque<Change>,
    pending_bytes: usize,
    reserved_blocks: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.seen.len
    }

    pub(super) fn blocks(&self) -> u64 {
        (self.seen.blocks.len() as u64).max(self.reserved_blocks)
    }

    pub(super) fn read(&self, buf: &mut [u8], pos: u64) -> usize {
        self.seen.read(buf, pos)
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len() as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// The first bytes of `bytes` that fit where only `free` blocks can be added.
    pub(super) fn fitting<'b>(&self, bytes: &'b [u8], pos: u64, mut free: u64) -> &'b [u8] {
        free += self.reserved_blocks.saturating_sub(self.seen.blocks.len() as u64);
        let mut done = 0;
        while done < bytes.len() {
            let (block, _, n) = span(pos + done as u64, bytes.len() - done);
            if !self.seen.blocks.contains_key(&block) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            done += n;
        }
        &bytes[..done]
    }

    /// Writes; when more than `writeback` bytes wait for a sync, the oldest become durable as the kernel's own
    /// write-back would make them.
    pub(super) fn write(&mut self, bytes: &[u8], pos: u64, writeback: usize) {
        self.seen.write(bytes, pos);
        self.pending_bytes += bytes.len();
        self.pending.push_back(Change::Write { pos, bytes: bytes.to_vec() });
        while self.pending_bytes > writeback {
            let Some(oldest) = self.pending.pop_front() else { break };
            if let Change::Write { bytes, .. } = &oldest {
                self.pending_bytes -= bytes.len();
            }
            apply(&mut self.durable, &oldest, usize::MAX);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.seen.set_len(len);
        self.reserved_blocks = self.reserved_blocks.min(len.div_ceil(BLOCK));
        self.pending.push_back(Change::SetLen(len));
    }

    pub(super) fn reserve(&mut self, blocks: u64) {
        self.reserved_blocks = self.reserved_blocks.max(blocks);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change, usize::MAX);
        }
        self.pending_bytes = 0;
    }

    /// A sync that failed: the kernel has marked the pages clean, so no later sync writes them, and it may have let them go.
    pub(super) fn fail_sync(&mut self, drop_pages: bool) {
        for change in self.pending.drain(..) {
            let Change::Write { pos, bytes } = change else { continue };
            if drop_pages && !bytes.is_empty() {
                let last = (pos + bytes.len() as u64 - 1) / BLOCK;
                for block in pos / BLOCK..=last {
                    match self.durable.blocks.get(&block) {
                        Some(bytes) => self.seen.blocks.insert(block, bytes.clone()),
                        None => self.seen.blocks.remove(&block),
                    };
                }
            }
        }
        self.pending_bytes = 0;
    }

    /// Changes bytes on the medium, as decay does: seen by readers, and still there after a crash.
    pub(super) fn decay(&mut self, pos: u64, mask: u8) {
        for blocks in [&mut self.seen, &mut self.durable] {
            let mut byte = [0];
            if blocks.read(&mut byte, pos) == 1 {
                blocks.write(&[byte[0] ^ mask], pos);
            }
        }
    }

    /// Loses power: of what was not synced, what is kept is drawn. Nothing; all; all up to a torn write; each write for
    /// itself, whole, torn or lost, which is how later writes survive earlier ones; or each block as it was at a moment of
    /// its own, and the file as long as it was, or as its last block.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        if !pending.is_empty() {
            let fate = random.below(5);
            let torn_at = random.below(pending.len() as u64) as usize;
            if fate == 4 {
                self.settle_by_block(&pending, random);
            }
            for (i, change) in pending.iter().enumerate().filter(|_| fate < 4) {
                let kept = match fate {
                    0 => Kept::None,
                    1 => Kept::All,
                    2 if i < torn_at => Kept::All,
                    2 if i == torn_at => Kept::Torn,
                    2 => Kept::None,
                    _ => [Kept::None, Kept::All, Kept::Torn][random.below(3) as usize],
                };
                self.settle(change, kept, random);
            }
        }
        self.seen = self.durable.clone();
        self.reserved_blocks = 0;
    }

    fn settle(&mut self, change: &Change, kept: Kept, random: &mut Random) {
        match (kept, change) {
            (Kept::None, _) => {}
            (Kept::Torn, Change::Write { pos, bytes }) if random.coin() => {
                let unit = drawn_unit(random);
                write_blocks(&mut self.durable, bytes, *pos, unit, |_| random.coin());
            }
            (Kept::Torn, Change::Write { bytes, .. }) => {
                let first_bytes = random.below(bytes.len() as u64) as usize;
                apply(&mut self.durable, change, first_bytes);
            }
            (Kept::Torn, Change::SetLen(_)) | (Kept::All, _) => {
                apply(&mut self.durable, change, usize::MAX);
            }
        }
    }

    fn settle_by_block(&mut self, pending: &VecDeque<Change>, random: &mut Random) {
        let unit = drawn_unit(random);
        // How many of the changes each block has seen.
        let mut moments = BTreeMap::new();
        let mut has_seen = |block: u64, change: usize, random: &mut Random| {
            let moment = moments.entry(block);
            *moment.or_insert_with(|| random.below(pending.len() as u64 + 1)) > change as u64
        };
        for (i, change) in pending.iter().enumerate() {
            match change {
                Change::Write { pos, bytes } => {
                    write_blocks(&mut self.durable, bytes, *pos, unit, |block| {
                        has_seen(block, i, random)
                    });
                }
                Change::SetLen(_) if random.coin() => apply(&mut self.durable, change, usize::MAX),
                Change::SetLen(_) => {}
            }
        }
        if random.coin() && self.durable.len < self.seen.len {
            self.durable.len = self.seen.len;
        }
    }
}

/// Pages, or what a device writes at once of them.
fn drawn_unit(random: &mut Random) -> u64 {
    if random.coin() { BLOCK } else { SECTOR }
}

/// Writes of these bytes those that lie in blocks which are kept.
fn write_blocks(
    blocks: &mut Blocks,
    bytes: &[u8],
    pos: u64,
    unit: u64,
    mut keeps: impl FnMut(u64) -> bool,
) {
    let mut done = 0;
    while done < bytes.len() {
        let at = pos + done as u64;
        let count = ((unit - at % unit) as usize).min(bytes.len() - done);
        if keeps(at / unit) {
            blocks.write(&bytes[done..done + count], at);
        }
        done += count;
    }
}

#[derive(Debug, Clone, Copy)]
enum Kept {
    None,
    All,
    Torn,
}

/// Applies a change, of a write no more than its first bytes.
fn apply(blocks: &mut Blocks, change: &Change, first_bytes: usize) {
    match change {
        Change::Write { pos, bytes } => {
            blocks.write(&bytes[..bytes.len().min(first_bytes)], *pos);
        }
        Change::SetLen(len) => blocks.set_len(*len),
    }
}
