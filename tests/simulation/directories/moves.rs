//! Moves to another directory that cannot go on, for now or for good.

use std::path::Path;

use disk::Disk;
use model::TopicPartition;
use ottla::runtime::Bulkhead;

use super::*;
use crate::full_disk::Tree;

const MANY: usize = 48;
/// `log.flush.offset.checkpoint.interval.ms`.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
const RECORD_BYTES: usize = 500_000;

impl Client {
    async fn fill(&mut self) -> String {
        self.create(false).await;
        for n in 0..MANY {
            self.produce(0, &format!("{n}-{}", "x".repeat(RECORD_BYTES))).await;
        }
        let from = self.places(0).await.remove(0).0;
        if from == "/a" { "/b".to_owned() } else { "/a".to_owned() }
    }

    async fn until_it_is_in(&mut self, dir: &str) {
        while self.places(0).await != [(dir.to_owned(), false)] {
            self.life.world.sleep(BACKOFF).await;
        }
        let values = self.values_from(0).await;
        self.expect(values.len() == MANY, || format!("{} are left", values.len()));
    }

    async fn the_target_is_full(mut self) {
        let to = self.fill().await;
        self.next_fault();
        self.ask_to_move(0, &to).await;
        self.until_it_is_in(&to).await;
    }

    async fn the_copy_waits_to_be_the_replica(mut self) {
        let to = self.fill().await;
        self.next_fault();
        self.ask_to_move(0, &to).await;
        self.until_it_is_in(&to).await;
        let back = if to == "/a" { "/b" } else { "/a" };
        self.ask_to_move(0, back).await;
        self.until_it_is_in(back).await;
    }

    /// Back to where it has been, with the last of these.
    async fn it_moves_to_and_fro(mut self) {
        self.create(false).await;
        self.produce(0, "value").await;
        for to in ["/a", "/b", "/a", "/b"] {
            if to == "/a" {
                self.next_fault();
            }
            self.ask_to_move(0, to).await;
            while self.places(0).await != [(to.to_owned(), false)] {
                self.life.world.sleep(BACKOFF).await;
            }
        }
    }

    async fn the_copy_is_not_synced(mut self) {
        let to = self.fill().await;
        self.next_fault();
        self.ask_to_move(0, &to).await;
        self.until_it_is_in(&to).await;
        self.next_fault();
        self.until_it_is_in(&to).await;
    }

    /// The directory that holds it is gone when the node starts; its copy, where the metadata has it, lacks records.
    async fn only_a_copy_is_left(mut self) {
        self.create(false).await;
        for to in ["/b", "/a"] {
            self.ask_to_move(0, to).await;
            while self.places(0).await != [(to.to_owned(), false)] {
                self.life.world.sleep(BACKOFF).await;
            }
        }
        let sent = ["first", "other", "third"].map(str::to_owned);
        for value in &sent {
            self.produce(0, value).await;
        }
        self.next_fault();
        // The controller is told, so that another replica may lead.
        while self.metadata(0).await.leader_id != -1 {
            self.life.world.sleep(BACKOFF).await;
        }
        self.next_fault();
        while self.places(0).await != [("/a".to_owned(), false)] {
            self.life.world.sleep(BACKOFF).await;
        }
        let values = self.values_from(0).await;
        self.expect(values == sent, || format!("{values:?}"));
    }

    async fn the_copy_fails(mut self) {
        let to = self.fill().await;
        self.next_fault();
        self.ask_to_move(0, &to).await;
        while self.places(0).await.len() > 1 {
            self.life.world.sleep(BACKOFF).await;
        }
        self.next_fault();
        // What was given up is begun anew when it is asked for.
        self.ask_to_move(0, &to).await;
        self.until_it_is_in(&to).await;
    }
}

fn recovery_point(disk: &dyn Disk, dir: &str) -> i64 {
    let file = Path::new(dir).join("recovery-point-offset-checkpoint");
    let points = log::read_offset_checkpoint(disk, &file).expect("readable");
    points.get(&TopicPartition::new(TOPIC, 0)).copied().unwrap_or(-1)
}

fn copy_says(tree: &Tree, why: &str) -> bool {
    tree.states("future-replica").iter().any(|state| state.contains(why))
}

/// A node whose tree is looked at; at each of the client's faults this is done, and what the tree says is waited for.
fn run_looked_at(
    seed: u64,
    scenario: Scenario,
    mut at_fault: impl FnMut(&mut Simulation, NodeIndex, u32),
    mut awaited: impl FnMut(&Tree, u32) -> bool,
) {
    let mut world = Simulation::new(SimOptions { keep_lines: true, ..SimOptions::seed(seed) });
    let (script, tree) = (Arc::new(Script::default()), Tree::default());
    let looked_at = tree.clone();
    let node = world.add_node(broker::NAME, move |life| {
        let (looking, of) = (looked_at.clone(), life.world.clone());
        life.world.spawn(Bulkhead::Control, looking.follow(of));
        broker::serve_with(life, Default::default(), &SETTINGS)
    });
    add_client(&mut world, &script, scenario);
    let mut faults = 0;
    let mut seen = true;
    while world.now() < LIMIT && !script.done.load(Ordering::Relaxed) {
        if script.asked.load(Ordering::Relaxed) > faults {
            faults += 1;
            seen = false;
            at_fault(&mut world, node, faults);
        }
        if !seen && awaited(&tree, faults) {
            seen = true;
            at_fault(&mut world, node, faults + 100);
        }
        world.run_for(Duration::from_millis(1));
    }
    assert!(seen, "seed {seed}: fault {faults}: {:#?}", tree.states("future-replica"));
    assert!(script.done.load(Ordering::Relaxed), "seed {seed}: it does not come to its end");
    let wrong = std::mem::take(&mut *script.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
}

#[test]
fn a_move_to_a_full_directory_waits_for_room() {
    for seed in seeds().step_by(5) {
        let capacity = |world: &mut Simulation, node, fault| {
            let used = world.disk(node).used_bytes();
            if fault < 100 {
                return world.inject(SimFault::DiskCapacity { node, bytes: used + (43 << 19) });
            }
            // There is room for the checkpoints alone; a crash then does not undo what was copied.
            world.inject(SimFault::DiskCapacity { node, bytes: used + (300 << 10) });
            world.run_for(CHECKPOINT_INTERVAL);
            let points = ["/a", "/b"].map(|dir| recovery_point(&*world.disk(node).mount(), dir));
            assert!(points.iter().all(|point| *point > 30), "seed {seed}: {points:?}");
            world.inject(SimFault::DiskCapacity { node, bytes: 1 << 40 });
            world.inject(SimFault::PowerLoss { node, down: Duration::from_millis(100) });
        };
        let scenario: Scenario = |client| Box::pin(client.the_target_is_full());
        run_looked_at(seed, scenario, capacity, |tree, _| {
            let dirs = tree.states("log-dir");
            let short = dirs.iter().find(|dir| dir.contains("SHORT") || dir.contains("FULL"));
            let waits = copy_says(tree, "WAITS");
            assert!(!waits || short.is_none(), "seed {seed}: it leaves none to others: {short:?}");
            waits
        });
    }
}

#[test]
fn a_move_whose_copy_fails_too_often_is_called_off_and_says_so() {
    for seed in seeds().step_by(5) {
        let panics = |world: &mut Simulation, node, fault| {
            for skip in (0..4).filter(|_| fault == 1) {
                let path_contains = ".future".to_owned();
                world.inject(SimFault::Panic { node, path_contains, skip });
            }
        };
        let says = |tree: &Tree, fault| {
            let off = |state: &String| state.contains("MOVE CALLED OFF");
            fault == 2 || tree.states("partition").iter().any(off)
        };
        let scenario: Scenario = |client| Box::pin(client.the_copy_fails());
        run_looked_at(seed, scenario, panics, says);
    }
}

#[test]
fn a_copy_that_could_not_be_synced_is_written_again_before_it_is_the_replica() {
    for seed in seeds().step_by(4) {
        let faults = |world: &mut Simulation, node, fault| match fault {
            1 => {
                let (kind, path_contains) = (FaultKind::SyncNoRoom, "-future/".to_owned());
                let fault = Fault { kind, path_contains, skip: seed % 3, times: 1 };
                world.inject(SimFault::Disk { node, fault });
            }
            2 => {
                let disk = world.disk(node).mount();
                let here = |dir: &&str| disk.exists(&Path::new(dir).join("t-0")).expect("answered");
                let dir = ["/a", "/b"].into_iter().find(here).expect("it is somewhere");
                assert_eq!(recovery_point(&*disk, dir), MANY as i64, "seed {seed}");
                world.inject(SimFault::PowerLoss { node, down: Duration::from_millis(100) });
            }
            _ => {}
        };
        let scenario: Scenario = |client| Box::pin(client.the_copy_is_not_synced());
        run_looked_at(seed, scenario, faults, |_, _| true);
    }
}

/// The names in a directory that have to do with the replica.
fn names(disk: &dyn Disk, dir: &str) -> Vec<String> {
    let names = disk.list(Path::new(dir)).expect("listed").into_iter().map(|entry| entry.name);
    names.filter(|name| name.starts_with("t-0")).collect()
}

#[test]
fn a_copy_that_finds_no_room_for_its_name_is_kept_and_gets_it_later() {
    for seed in seeds().step_by(4) {
        let faults = |world: &mut Simulation, node, fault| {
            if fault == 1 {
                let path_contains = "-future".to_owned();
                let kind = FaultKind::NoRoomForName;
                // Two files in it have names that change before its own does.
                let fault = Fault { kind, path_contains, skip: 2, times: 1 };
                world.inject(SimFault::Disk { node, fault });
                return;
            }
            let disk = world.disk(node).mount();
            let copies = ["/a", "/b"].map(|dir| names(&*disk, dir));
            let deleted = copies.iter().flatten().filter(|name| name.ends_with("-delete"));
            assert_eq!(deleted.count(), 0, "seed {seed}: {copies:?}");
        };
        let scenario: Scenario = |client| Box::pin(client.the_copy_waits_to_be_the_replica());
        // Its directory's own name, not that of a file in it.
        run_looked_at(seed, scenario, faults, |tree, _| copy_says(tree, "-future\": "));
    }
}

/// What the files say of the one before would be taken for what is known of it.
#[test]
fn a_copy_is_not_begun_while_there_is_no_room_for_checkpoints_that_do_not_name_the_one_before() {
    for seed in seeds().step_by(4) {
        let faults = |world: &mut Simulation, node, fault| match fault {
            2 => {
                let path_contains = "/b/recovery-point-offset-checkpoint".to_owned();
                let kind = FaultKind::NoRoom;
                let fault = Fault { kind, path_contains, skip: 0, times: u64::MAX };
                world.inject(SimFault::Disk { node, fault });
            }
            102 => {
                let disk = world.disk(node).mount();
                assert_eq!(
                    names(&*disk, "/b").iter().filter(|n| n.ends_with("-future")).count(),
                    0
                );
                world.disk(node).forget_plan();
            }
            _ => {}
        };
        let scenario: Scenario = |client| Box::pin(client.it_moves_to_and_fro());
        let waits = |tree: &Tree, fault| fault == 1 || copy_says(tree, "-offset-checkpoint.tmp");
        run_looked_at(seed, scenario, faults, waits);
    }
}

/// Else it could not come back.
#[test]
fn what_has_moved_leaves_its_name_also_where_that_fails_at_first() {
    for seed in seeds().step_by(4) {
        let faults = |world: &mut Simulation, node, fault| {
            for dir in ["/a/t-0", "/b/t-0"].into_iter().filter(|_| fault == 1) {
                // Not its copy's names.
                let (kind, path_contains) = (FaultKind::NoRoomForName, dir.to_owned());
                let here = world.disk(node).mount().exists(Path::new(dir)).expect("answered");
                let times = u64::from(here);
                let fault = Fault { kind, path_contains, skip: 0, times };
                world.inject(SimFault::Disk { node, fault });
            }
        };
        let scenario: Scenario = |client| Box::pin(client.the_copy_waits_to_be_the_replica());
        run_looked_at(seed, scenario, faults, |_, _| true);
    }
}

/// As a crash leaves it between the controller's answer and the moment when the copy takes the replica's place.
fn make_copy_of_replica(disk: &dyn Disk) {
    let (here, replica) = (Path::new("/a/t-0"), Path::new("/b/t-0"));
    disk.create_dir_all(replica).expect("made");
    for entry in disk.list(here).expect("listed") {
        let bytes = disk.read(&here.join(&entry.name), 1 << 20).expect("read");
        disk.replace(&replica.join(&entry.name), &bytes).expect("copied");
    }
    let partition = TopicPartition::new(TOPIC, 0);
    let name = log::delete_dir_name(&partition, log::DirKind::Future, model::Uuid([7; 16]));
    let copy = Path::new("/a").join(name);
    disk.rename(here, &copy).expect("renamed");
    let records = disk.open(&copy.join("00000000000000000000.log"), disk::Open::ReadWrite);
    let records = records.expect("opened");
    records.set_len(records.len().expect("known") / 3).expect("cut");
}

#[test]
fn a_copy_is_not_taken_for_the_replica_while_that_may_be_offline() {
    for seed in seeds().step_by(4) {
        let faults = |world: &mut Simulation, node, fault| {
            if fault > 2 {
                return;
            }
            world.inject(SimFault::Kill { node, down: Duration::from_millis(200) });
            world.run_for(Duration::from_millis(1));
            if fault == 1 {
                make_copy_of_replica(&*world.disk(node).mount());
                let path_contains = "/b/meta.properties".to_owned();
                let kind = FaultKind::ReadError;
                let fault = Fault { kind, path_contains, skip: 0, times: 1 };
                world.inject(SimFault::Disk { node, fault });
            }
        };
        let scenario: Scenario = |client| Box::pin(client.only_a_copy_is_left());
        run_looked_at(seed, scenario, faults, |_, _| true);
    }
}
