//! Directories, and which of their names a crash leaves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use super::content::{BLOCK, Content};
use super::random::Random;
use crate::{DirEntry, FileKind};

pub(super) type Ino = u64;

const ROOT: Ino = 1;

/// Name changes that wait for a sync; beyond this the oldest become durable, as a journal's own commits make them.
const MAX_JOURNAL: usize = 4096;

#[derive(Debug)]
pub(super) enum Node {
    File(Content),
    Dir(Dir),
}

#[derive(Debug, Default)]
pub(super) struct Dir {
    seen: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
}

#[derive(Debug)]
struct Inode {
    node: Node,
    modified_ms: i64,
    /// Names seen, durable names, journal entries and open handles that need it.
    holds: usize,
    /// Names seen and open handles: what keeps its blocks in use.
    uses: usize,
}

/// One name that comes to stand for something else, or for nothing.
#[derive(Debug)]
struct Edit {
    dir: Ino,
    name: String,
    target: Option<Ino>,
}

#[derive(Debug)]
pub(super) struct Tree {
    inodes: BTreeMap<Ino, Inode>,
    next_ino: Ino,
    /// Each entry is atomic: a rename's two edits survive together or not at all.
    journal: VecDeque<Vec<Edit>>,
    used_blocks: u64,
}

fn error<T>(kind: ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Inode { node: Node::Dir(Dir::default()), modified_ms: 0, holds: 1, uses: 1 };
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            next_ino: ROOT + 1,
            journal: VecDeque::new(),
            used_blocks: 0,
        }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_blocks * BLOCK
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for name in names(path)? {
            at = *self.dir(at)?.seen.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory of a path's last name, and that name.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Ino, &'p str)> {
        let Some((name, above)) = names(path)?.split_last().map(|(n, a)| (*n, a.to_vec())) else {
            return error(ErrorKind::InvalidInput);
        };
        let mut at = ROOT;
        for name in above {
            at = *self.dir(at)?.seen.get(name).ok_or(ErrorKind::NotFound)?;
        }
        self.dir(at)?;
        Ok((at, name))
    }

    fn inode(&self, ino: Ino) -> io::Result<&Inode> {
        self.inodes.get(&ino).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn dir(&self, ino: Ino) -> io::Result<&Dir> {
        match &self.inode(ino)?.node {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => error(ErrorKind::NotADirectory),
        }
    }

    pub(super) fn file(&self, ino: Ino) -> io::Result<&Content> {
        match &self.inode(ino)?.node {
            Node::File(content) => Ok(content),
            Node::Dir(_) => error(ErrorKind::IsADirectory),
        }
    }

    /// Changes a file, and the account of blocks with it.
    pub(super) fn change<T>(
        &mut self,
        ino: Ino,
        now_ms: i64,
        change: impl FnOnce(&mut Content) -> T,
    ) -> io::Result<T> {
        let Some(Inode { node: Node::File(content), modified_ms, .. }) = self.inodes.get_mut(&ino)
        else {
            return error(ErrorKind::NotFound);
        };
        self.used_blocks -= content.blocks();
        let done = change(content);
        self.used_blocks += content.blocks();
        *modified_ms = now_ms;
        Ok(done)
    }

    pub(super) fn kind(&self, ino: Ino) -> io::Result<FileKind> {
        Ok(match self.inode(ino)?.node {
            Node::File(_) => FileKind::File,
            Node::Dir(_) => FileKind::Dir,
        })
    }

    pub(super) fn modified_ms(&self, ino: Ino) -> io::Result<i64> {
        Ok(self.inode(ino)?.modified_ms)
    }

    pub(super) fn list(&self, ino: Ino) -> io::Result<Vec<DirEntry>> {
        let entry = |(name, ino): (&String, &Ino)| {
            Ok(DirEntry { name: name.clone(), kind: self.kind(*ino)? })
        };
        self.dir(ino)?.seen.iter().map(entry).collect()
    }

    pub(super) fn make(&mut self, path: &Path, node: Node, now_ms: i64) -> io::Result<Ino> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.seen.contains_key(name) {
            return error(ErrorKind::AlreadyExists);
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.inodes.insert(ino, Inode { node, modified_ms: now_ms, holds: 0, uses: 0 });
        self.edit(vec![Edit { dir, name: name.to_owned(), target: Some(ino) }], now_ms);
        Ok(ino)
    }

    pub(super) fn remove(&mut self, path: &Path, kind: FileKind, now_ms: i64) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let ino = *self.dir(dir)?.seen.get(name).ok_or(ErrorKind::NotFound)?;
        match (&self.inode(ino)?.node, kind) {
            (Node::File(_), FileKind::File) => {}
            (Node::Dir(below), FileKind::Dir) if below.seen.is_empty() => {}
            (Node::Dir(_), FileKind::Dir) => return error(ErrorKind::DirectoryNotEmpty),
            (Node::Dir(_), _) => return error(ErrorKind::IsADirectory),
            (Node::File(_), _) => return error(ErrorKind::NotADirectory),
        }
        self.edit(vec![Edit { dir, name: name.to_owned(), target: None }], now_ms);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, now_ms: i64) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let ino = *self.dir(from_dir)?.seen.get(from_name).ok_or(ErrorKind::NotFound)?;
        let (to_dir, to_name) = self.parent(to)?;
        let is_dir = self.kind(ino)? == FileKind::Dir;
        if is_dir && to != from && names(to)?.starts_with(&names(from)?) {
            return error(ErrorKind::InvalidInput);
        }
        if let Some(&replaced) = self.dir(to_dir)?.seen.get(to_name) {
            match &self.inode(replaced)?.node {
                _ if replaced == ino => return Ok(()),
                Node::File(_) if is_dir => return error(ErrorKind::NotADirectory),
                Node::Dir(_) if !is_dir => return error(ErrorKind::IsADirectory),
                Node::Dir(dir) if !dir.seen.is_empty() => {
                    return error(ErrorKind::DirectoryNotEmpty);
                }
                Node::File(_) | Node::Dir(_) => {}
            }
        }
        let put = Edit { dir: to_dir, name: to_name.to_owned(), target: Some(ino) };
        let take = Edit { dir: from_dir, name: from_name.to_owned(), target: None };
        self.edit(vec![put, take], now_ms);
        Ok(())
    }

    fn edit(&mut self, edits: Vec<Edit>, now_ms: i64) {
        for edit in &edits {
            if let Some(target) = edit.target {
                // Twice: for the name that is seen, and for the journal entry.
                self.hold(target);
                self.hold(target);
                self.add_use(target);
            }
        }
        for edit in &edits {
            let replaced = self.put(edit, Names::Seen);
            if let Some(inode) = self.inodes.get_mut(&edit.dir) {
                inode.modified_ms = now_ms;
            }
            if let Some(replaced) = replaced {
                self.drop_use(replaced);
                self.release(replaced);
            }
        }
        self.journal.push_back(edits);
        while self.journal.len() > MAX_JOURNAL {
            if let Some(oldest) = self.journal.pop_front() {
                self.commit(oldest);
            }
        }
    }

    fn put(&mut self, edit: &Edit, which: Names) -> Option<Ino> {
        let Some(Inode { node: Node::Dir(dir), .. }) = self.inodes.get_mut(&edit.dir) else {
            return None;
        };
        let names = match which {
            Names::Seen => &mut dir.seen,
            Names::Durable => &mut dir.durable,
        };
        match edit.target {
            Some(target) => names.insert(edit.name.clone(), target),
            None => names.remove(&edit.name),
        }
    }

    fn commit(&mut self, edits: Vec<Edit>) {
        for edit in &edits {
            // The journal's hold on the target becomes the durable name's; of a directory that is gone, nobody's.
            let dir_lives = self.inodes.contains_key(&edit.dir);
            let let_go = if dir_lives { self.put(edit, Names::Durable) } else { edit.target };
            if let Some(ino) = let_go {
                self.release(ino);
            }
        }
    }

    /// Makes the names of a directory durable, and the changes to other directories they depend on.
    pub(super) fn sync_dir(&mut self, dir: Ino) -> io::Result<()> {
        self.dir(dir)?;
        let mut dirs = BTreeSet::from([dir]);
        let mut synced = Vec::new();
        let mut waiting = VecDeque::new();
        while let Some(edits) = self.journal.pop_back() {
            if edits.iter().any(|edit| dirs.contains(&edit.dir)) {
                dirs.extend(edits.iter().map(|edit| edit.dir));
                synced.push(edits);
            } else {
                waiting.push_front(edits);
            }
        }
        self.journal = waiting;
        for edits in synced.into_iter().rev() {
            self.commit(edits);
        }
        Ok(())
    }

    /// Handles end with the process; names and bytes are as they were seen.
    pub(super) fn close_all(&mut self) {
        let dirs: Vec<Ino> = self.inodes.keys().copied().collect();
        let mut holds: BTreeMap<Ino, (usize, usize)> = BTreeMap::from([(ROOT, (1, 1))]);
        for ino in dirs {
            let Ok(dir) = self.dir(ino) else { continue };
            for target in dir.seen.values() {
                let (held, used) = holds.entry(*target).or_default();
                *held += 1;
                *used += 1;
            }
            for target in dir.durable.values() {
                holds.entry(*target).or_default().0 += 1;
            }
        }
        for target in self.journal.iter().flatten().filter_map(|edit| edit.target) {
            holds.entry(target).or_default().0 += 1;
        }
        self.inodes.retain(|ino, _| holds.contains_key(ino));
        self.used_blocks = 0;
        for (ino, inode) in &mut self.inodes {
            (inode.holds, inode.uses) = holds[ino];
            if let Node::File(content) = &inode.node
                && inode.uses > 0
            {
                self.used_blocks += content.blocks();
            }
        }
    }

    /// Loses power: of the names not synced, those kept are drawn, in each directory a first part of its changes.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let fate = random.below(3);
        let mut cut = BTreeSet::new();
        for edits in std::mem::take(&mut self.journal) {
            let lost = match fate {
                0 => true,
                1 => false,
                _ => random.coin() || edits.iter().any(|edit| cut.contains(&edit.dir)),
            };
            if lost {
                cut.extend(edits.iter().map(|edit| edit.dir));
            } else {
                self.commit(edits);
            }
        }
        for inode in self.inodes.values_mut() {
            match &mut inode.node {
                Node::File(content) => content.lose_power(random),
                Node::Dir(dir) => dir.seen = dir.durable.clone(),
            }
        }
        self.keep_reachable();
        self.close_all();
    }

    fn keep_reachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut next = vec![ROOT];
        while let Some(ino) = next.pop() {
            let Ok(dir) = self.dir(ino) else { continue };
            next.extend(dir.seen.values().filter(|target| reached.insert(**target)));
        }
        self.inodes.retain(|ino, _| reached.contains(ino));
    }

    pub(super) fn opened(&mut self, ino: Ino) {
        self.hold(ino);
        self.add_use(ino);
    }

    pub(super) fn closed(&mut self, ino: Ino) {
        self.drop_use(ino);
        self.release(ino);
    }

    fn hold(&mut self, ino: Ino) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.holds += 1;
        }
    }

    fn release(&mut self, ino: Ino) {
        let mut next = vec![ino];
        while let Some(ino) = next.pop() {
            let Some(inode) = self.inodes.get_mut(&ino) else { continue };
            inode.holds -= 1;
            if inode.holds == 0
                && let Some(gone) = self.inodes.remove(&ino)
                && let Node::Dir(dir) = gone.node
            {
                next.extend(dir.durable.into_values());
            }
        }
    }

    fn add_use(&mut self, ino: Ino) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.uses += 1;
        }
    }

    fn drop_use(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get_mut(&ino) else { return };
        inode.uses -= 1;
        if inode.uses == 0
            && let Node::File(content) = &inode.node
        {
            self.used_blocks -= content.blocks();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Names {
    Seen,
    Durable,
}

/// A path's names from the root; a relative path starts there too.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return error(ErrorKind::InvalidInput),
        }
    }
    Ok(names)
}
