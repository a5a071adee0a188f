//! A copy takes the place of a log at which others work.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{
    DirEntry, Disk, DiskFile, DiskLock, Fault, FaultKind, Metadata, Open, Result, SimDisk,
    SimDiskOptions, Space,
};
use model::settings::TopicConfig;
use runtime::{Bulkhead, Reply};

use super::tests::Replica;
use super::{DeleteRecords, PartitionMsg};

/// A disk that waits before it opens this file.
#[derive(Debug)]
struct Slow {
    disk: Arc<dyn Disk>,
    at: &'static str,
    begun: AtomicUsize,
    go_on: Mutex<Receiver<()>>,
}

impl Slow {
    /// Also what lets it go on when it is dropped.
    fn new(disk: Arc<dyn Disk>, at: &'static str) -> (Arc<Slow>, Sender<()>) {
        let (go_on, waits) = channel();
        let slow = Slow { disk, at, begun: AtomicUsize::new(0), go_on: Mutex::new(waits) };
        (Arc::new(slow), go_on)
    }

    async fn waits(&self) {
        while self.begun.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Disk for Slow {
    fn open(&self, path: &Path, mode: Open) -> Result<Arc<dyn DiskFile>> {
        if path == Path::new(self.at) {
            self.begun.fetch_add(1, Ordering::AcqRel);
            self.go_on.lock().unwrap().recv().unwrap_err();
        }
        self.disk.open(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.disk.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.disk.list(path)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.disk.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.disk.sync_dir(path)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        self.disk.space(path)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock> {
        self.disk.lock(path)
    }

    fn kernel(&self, dir: &Path) -> Result<Option<String>> {
        self.disk.kernel(dir)
    }
}

/// A sync goes by the names of files, also of such that it makes.
#[tokio::test]
async fn a_log_whose_sync_is_under_way_keeps_its_place_until_that_has_ended() {
    let sim = SimDisk::new(SimDiskOptions::default());
    let (disk, go_on) = Slow::new(sim.mount(), "/data/orders-0/leader-epoch-checkpoint.tmp");
    let replica = Replica::on_disk(sim, disk.clone()).await;
    let config = Arc::new(TopicConfig { flush_messages: 1, ..TopicConfig::default() });
    replica.tell(PartitionMsg::Configure { config });
    replica.lead(0);
    let first = replica.append();
    disk.waits().await;
    let (from, future) = (replica.handle.log_dir(), replica.copy());
    let (reply, promoted) = Reply::new();
    replica.tell(PartitionMsg::Promote { future: future.clone(), reply: Box::new(reply) });
    // Of another epoch, which would be another sync.
    replica.lead(1);
    let second = replica.append();
    let (reply, answered) = Reply::new();
    let asked = Box::new(DeleteRecords { offset: 0, held: Arc::new(()), reply });
    replica.tell(PartitionMsg::DeleteRecords { asked });
    answered.get().await.unwrap().unwrap();
    let stayed = Arc::ptr_eq(&replica.handle.log_dir(), &from);
    drop(go_on);
    assert_eq!(first.get().await.unwrap().unwrap().base_offset, 0);
    assert_eq!(second.get().await.unwrap().unwrap().base_offset, 1);
    assert_eq!(promoted.get().await.unwrap(), Ok(()));
    assert!(Arc::ptr_eq(&replica.handle.log_dir(), &future.dir));
    assert_eq!(disk.begun.load(Ordering::Acquire), 1, "another sync was begun");
    assert!(stayed);
    assert_eq!(from.failure(), None);
}

fn fail_syncs(sim: &SimDisk, path: &str, times: u64) {
    let (kind, path_contains) = (FaultKind::SyncError, path.to_owned());
    sim.plan(Fault { kind, path_contains, skip: 0, times });
}

/// It may have been moved for them.
#[tokio::test]
async fn syncs_that_failed_where_a_log_was_are_not_held_against_the_directory_that_it_is_in() {
    const BORNE: u64 = 3;
    const AT: &str = "/data/orders-0/leader-epoch-checkpoint.tmp";
    let sim = SimDisk::new(SimDiskOptions::default());
    let (disk, go_on) = Slow::new(sim.mount(), AT);
    let replica = Replica::on_disk(sim.clone(), disk.clone()).await;
    let config = Arc::new(TopicConfig { flush_messages: 1, ..TopicConfig::default() });
    replica.tell(PartitionMsg::Configure { config });
    replica.lead(0);
    let first = replica.append();
    disk.waits().await;
    let future = replica.copy();
    let (reply, promoted) = Reply::new();
    replica.tell(PartitionMsg::Promote { future: future.clone(), reply: Box::new(reply) });
    fail_syncs(&sim, AT, 1);
    fail_syncs(&sim, "/other/orders-0/0000", BORNE);
    drop(go_on);
    assert_eq!(promoted.get().await.unwrap(), Ok(()));
    assert_eq!(first.get().await.unwrap().unwrap().base_offset, 0);
    assert_eq!(replica.append().get().await.unwrap().unwrap().base_offset, 1);
    assert_eq!(future.dir.failure(), None);
}

/// Who waits for what is in the directory that is left.
#[tokio::test]
async fn a_directory_that_hangs_as_a_copy_in_it_takes_its_logs_place_holds_up_no_other() {
    const AT_ONCE: usize = 16;
    let sim = SimDisk::new(SimDiskOptions::default());
    let (disk, go_on) = Slow::new(sim.mount(), "/other/recovery-point-offset-checkpoint.tmp");
    let replica = Replica::on_disk(sim, disk.clone()).await;
    replica.lead(0);
    let future = replica.copy();
    let (reply, promoted) = Reply::new();
    replica.tell(PartitionMsg::Promote { future: future.clone(), reply: Box::new(reply) });
    disk.waits().await;
    let (running, (goes_on, waits)) = (Arc::new(AtomicUsize::new(0)), channel::<()>());
    let waits = Arc::new(Mutex::new(waits));
    for _ in 0..AT_ONCE {
        let (world, dir) = (replica.world.clone(), replica.handle.log_dir());
        let (running, waits) = (running.clone(), waits.clone());
        let job = move || {
            running.fetch_add(1, Ordering::AcqRel);
            waits.lock().unwrap().recv().unwrap_err();
        };
        let other = async move { world.blocking_in(dir.queue(), "another", job).await.unwrap() };
        drop(replica.world.spawn(Bulkhead::Storage, other));
    }
    let all = async {
        while running.load(Ordering::Acquire) < AT_ONCE {
            tokio::task::yield_now().await;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(20), all).await;
    drop((go_on, goes_on));
    all.expect("one waits for another directory");
    assert_eq!(promoted.get().await.unwrap(), Ok(()));
}
