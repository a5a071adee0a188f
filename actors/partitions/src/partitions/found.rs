//! What is there when this actor starts, of a predecessor and in the log directories; and what is put out of the way there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::Disk;
use log::{DirKind, PartitionDir, delete_dir_name, partition_dir_name, read_partition_metadata};
use machines::metadata::MetadataImage;
use model::{TopicPartition, Uuid};
use runtime::{Cx, Failure, Map, Outcome};

use super::Partitions;
use crate::future::{note_called_off, was_called_off};
use crate::handle::{PartitionHandle, Standing};
use crate::hosted::Hosted;
use crate::log_dir::{CLUSTER_METADATA, LogDirMsg};
use crate::log_dirs::{LogDirState, LogDirs};

/// The directory of a log, or of a copy of one.
struct FoundLog {
    name: String,
    parsed: PartitionDir,
    /// What it says; none where it does not say, or cannot be read, which who opens it will find.
    topic_id: Option<Uuid>,
    /// It is a copy whose move was called off.
    called_off: bool,
}

/// A copy, until the replica is found that it is of.
#[derive(Clone)]
pub(super) struct FoundCopy {
    pub dir: Arc<LogDirState>,
    pub path: PathBuf,
    pub called_off: bool,
}

/// What a predecessor hosted. Its actors died with it, but what is known of the logs is true: they are not what the last process
/// left any more. Whatever it was amid, what it knew of that is gone.
pub(super) fn take_over(hosted: &Hosted, dirs: &LogDirs) -> Map<(Uuid, i32), Arc<PartitionHandle>> {
    let mut earlier = Map::new();
    let all = hosted.all();
    for dir in &dirs.0 {
        dir.count_anew();
        if !all.is_empty() {
            dir.set_outdated();
        }
    }
    for handle in all {
        if let Some(future) = handle.future() {
            future.dir.remember(&handle.topic_partition, future.offsets(&handle));
            handle.set_future(None);
        }
        if handle.is_deleted() {
            hosted.remove(&handle);
            continue;
        }
        handle.set_standing(Standing::Starting);
        earlier.insert((handle.topic_id, handle.topic_partition.partition), handle);
    }
    earlier
}

/// One that cannot be read is offline by that.
fn look(dir: &LogDirState) -> Vec<FoundLog> {
    let disk = dir.disk();
    let entries = disk.list(&dir.path).unwrap_or_default().into_iter();
    let found = entries.filter_map(|entry| Some((PartitionDir::parse(&entry.name)?, entry.name)));
    let logs = found.filter(|(parsed, _)| parsed.topic_partition.topic != CLUSTER_METADATA);
    let logs = logs.map(|(parsed, name)| {
        let path = dir.path.join(&name);
        let topic_id = read_partition_metadata(&**disk, &path).ok().flatten();
        let called_off = parsed.kind == DirKind::Future && was_called_off(&**disk, &path);
        FoundLog { name, parsed, topic_id, called_off }
    });
    logs.collect()
}

impl Partitions {
    /// Logs that the metadata does not put here are kept under another name, as Kafka does, by `LogManager.isStrayReplica`. What
    /// checkpoints say counts for those logs alone that are there, and that are the topic's which has the name now.
    pub(super) async fn look_at_logs(
        &mut self,
        cx: &mut Cx<Self>,
        image: &MetadataImage,
    ) -> Outcome {
        self.earlier.retain(|(topic, partition), handle| {
            let known = image.topics.by_id(*topic).and_then(|topic| topic.partition(*partition));
            let stays = known.is_some_and(|known| known.replicas.contains(&self.args.node.0));
            if !stays {
                self.args.hosted.remove(handle);
            }
            stays
        });
        let mut looked = Vec::new();
        for dir in self.args.log_dirs.0.clone() {
            let looked_at = dir.clone();
            let found =
                cx.blocking_in(dir.queue(), "look at logs", move || look(&looked_at)).await?;
            looked.push((dir, found));
        }
        self.put_called_off_aside(cx, &mut looked).await;
        let all = looked.iter().flat_map(|(_, found)| found);
        let here: BTreeSet<TopicPartition> =
            all.map(|found| found.parsed.topic_partition.clone()).collect();
        for (dir, found) in looked {
            let mut known = BTreeSet::new();
            for FoundLog { name, parsed, topic_id, called_off } in found {
                if !matches!(parsed.kind, DirKind::Current | DirKind::Future) {
                    continue;
                }
                let partition = parsed.topic_partition;
                let topic = image.topics.by_name(&partition.topic);
                let topic = topic.filter(|topic| topic_id.is_none_or(|id| id == topic.id));
                let known_here = topic.and_then(|topic| topic.partition(partition.partition));
                if !known_here.is_some_and(|p| p.replicas.contains(&self.args.node.0)) {
                    if parsed.kind == DirKind::Current {
                        dir.recovered(&partition);
                    }
                    tracing::warn!(%partition, name, "the metadata does not know this replica: set aside");
                    let path = dir.path.join(name);
                    self.put_aside(cx, &dir, &path, &partition, DirKind::Stray).await;
                    continue;
                }
                if topic_id.is_some() {
                    known.insert(partition.clone());
                }
                if parsed.kind == DirKind::Future {
                    let copy =
                        FoundCopy { dir: dir.clone(), path: dir.path.join(name), called_off };
                    self.futures.entry(partition).or_default().push(copy);
                }
            }
            // Of one that is gone without a trace what was known counts: it says what was lost.
            let lost = |log: &TopicPartition| {
                let topic = image.topics.by_name(&log.topic);
                let known = topic.and_then(|topic| topic.partition(log.partition));
                let placed = known.is_some_and(|known| {
                    let mut places = known.replicas.iter().zip(&known.directories);
                    let may_be_this = |id: &Uuid| [dir.id, Uuid::LOST_DIRECTORY].contains(id);
                    places.any(|(node, id)| *node == self.args.node.0 && may_be_this(id))
                });
                placed && !here.contains(log)
            };
            if dir.forget_but(|log| known.contains(log) || lost(log)) {
                dir.set_outdated();
            }
        }
        Ok(())
    }

    /// Copies whose actors had not ended yet when their moves were called off. One whose replica is not to be seen is kept: it may be
    /// all that there is.
    async fn put_called_off_aside(
        &self,
        cx: &mut Cx<Self>,
        looked: &mut [(Arc<LogDirState>, Vec<FoundLog>)],
    ) {
        let all = looked.iter().flat_map(|(_, found)| found);
        let replicas = all.filter(|found| found.parsed.kind == DirKind::Current);
        let replicas: BTreeSet<TopicPartition> =
            replicas.map(|found| found.parsed.topic_partition.clone()).collect();
        for (dir, found) in looked {
            let goes = |found: &FoundLog| {
                found.called_off && replicas.contains(&found.parsed.topic_partition)
            };
            let (called_off, others) = std::mem::take(found).into_iter().partition(goes);
            *found = others;
            let called_off: Vec<FoundLog> = called_off;
            for FoundLog { name, parsed, .. } in called_off {
                let path = dir.path.join(name);
                self.put_aside(cx, dir, &path, &parsed.topic_partition, DirKind::Delete).await;
            }
        }
    }

    pub(super) async fn set_aside(
        &mut self,
        cx: &mut Cx<Self>,
        dir: &Arc<LogDirState>,
        partition: &TopicPartition,
        kind: DirKind,
    ) {
        let path = dir.path.join(partition_dir_name(partition));
        self.put_aside(cx, dir, &path, partition, kind).await;
        dir.recovered(partition);
    }

    /// Under a name of this kind, of which those that are to be deleted are, later. What cannot be put aside is left for the next
    /// start.
    pub(super) async fn put_aside(
        &self,
        cx: &mut Cx<Self>,
        dir: &Arc<LogDirState>,
        path: &Path,
        partition: &TopicPartition,
        kind: DirKind,
    ) {
        dir.set_outdated();
        let unique = cx.world().random("directory names").uuid();
        let to = dir.path.join(delete_dir_name(partition, kind, unique));
        let (in_dir, from, new) = (dir.clone(), path.to_owned(), to.clone());
        let unwatched = cx.world().disk().clone();
        let rename = move || rename_aside(&in_dir, &*unwatched, &from, &new);
        match cx.blocking_in(dir.queue(), "put aside", rename).await.map_err(Failure::from) {
            Ok(Ok(true)) if kind == DirKind::Delete => {
                // Where the directory's actor is down, the next start removes it.
                let _ = dir.address().send_now(LogDirMsg::Remove { path: to });
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) | Err(error) => {
                dir.set_unclean();
                tracing::error!(%partition, %error, "left behind until the next start");
            }
        }
    }

    /// Where logs have gone: else what is known of them would be taken for what is known of others of the same name.
    pub(super) async fn rewrite_checkpoints(&self, cx: &mut Cx<Self>) -> Outcome {
        let dirs: Vec<_> = self.args.log_dirs.online().cloned().collect();
        for dir in dirs.into_iter().filter(|dir| dir.is_outdated()) {
            let (written, hosted) = (dir.clone(), self.args.hosted.clone());
            let job = move || written.forget_departed(&hosted);
            if let Err(error) = cx.blocking_in(dir.queue(), "checkpoints", job).await? {
                // Who makes a log there tries it again.
                dir.checkpoints_failed(&error);
            }
        }
        Ok(())
    }
}

/// Whether it was there. A copy that stays is marked, so that the next start does not go on with it.
fn rename_aside(
    dir: &LogDirState,
    unwatched: &dyn Disk,
    from: &Path,
    to: &Path,
) -> Result<bool, Failure> {
    let disk = dir.disk();
    match disk.rename(from, to) {
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => {
            let name = from.file_name().map(|name| name.to_string_lossy());
            let parsed = name.and_then(|name| PartitionDir::parse(&name));
            if parsed.is_some_and(|parsed| parsed.kind == DirKind::Future)
                && let Err(error) = note_called_off(unwatched, from)
            {
                let copy = from.display();
                tracing::error!(%copy, %error, "the next start may go on although it is called off");
            }
            return Err(error.into());
        }
        Ok(()) => {}
    }
    if let Err(error) = disk.sync_dir(&dir.path) {
        // If it comes back, the next start finds that it is nobody's.
        let log = from.display();
        tracing::warn!(%log, %error, "a log may come back when the power goes");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use disk::{Crash, Fault, FaultKind, SimDisk, SimDiskOptions};
    use log::RecentBatches;
    use runtime::Address;

    use super::*;
    use crate::checkpoints::Checkpoints;

    #[test]
    fn what_is_counted_and_known_of_directories_outlives_who_dies_as_a_copy_takes_its_replicas_place()
     {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        let dir = |id: u8| {
            let (path, disk) = (PathBuf::from(format!("/{id}")), disk.clone());
            let dir = LogDirState::new(Uuid([id; 16]), path, true, Checkpoints::default(), disk);
            dir.count_replica();
            Arc::new(dir)
        };
        let (from, to) = (dir(1), dir(2));
        let hosted = Hosted::new(RecentBatches::new(1 << 20, 0));
        let name = TopicPartition::new("orders", 0);
        hosted.insert(Arc::new(PartitionHandle::new(
            name,
            Uuid([3; 16]),
            Arc::default(),
            to.clone(),
            Address::vacant(),
        )));
        let dirs = LogDirs(vec![from, to]);
        assert_eq!(take_over(&hosted, &dirs).len(), 1);
        for dir in &dirs.0 {
            assert_eq!(dir.replicas(), 0);
            assert!(dir.is_outdated());
        }
    }

    #[test]
    fn a_copy_that_cannot_be_put_aside_is_marked_when_the_power_goes() {
        let sim = SimDisk::new(SimDiskOptions::default());
        let disk = sim.mount();
        let (name, path) = (TopicPartition::new("orders", 0), PathBuf::from("/1"));
        let copy = path.join(delete_dir_name(&name, DirKind::Future, Uuid([7; 16])));
        let to = path.join(delete_dir_name(&name, DirKind::Delete, Uuid([8; 16])));
        disk.create_dir_all(&copy).unwrap();
        ["/", "/1"].iter().for_each(|parent| disk.sync_dir(Path::new(parent)).unwrap());
        let known = Checkpoints::default();
        let dir = LogDirState::new(Uuid([1; 16]), path, true, known, disk.clone());
        let (kind, path_contains) = (FaultKind::NoRoomForName, "-future".to_owned());
        sim.plan(Fault { kind, path_contains, skip: 0, times: 1 });
        rename_aside(&dir, &*disk, &copy, &to).unwrap_err();
        sim.crash(Crash::PowerLoss);
        assert!(was_called_off(&*sim.mount(), &copy));
    }
}
