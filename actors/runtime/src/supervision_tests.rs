//! Restarts, barriers and endings, as seen from outside.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use disk::RealDisk;

use super::*;

mod stuck;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn world() -> World {
    World::real(Handles::current(), Arc::new(RealDisk::new()))
}

/// What the actors of a test leave behind.
#[derive(Default)]
pub(crate) struct Notes {
    log: Mutex<Vec<String>>,
    alive: AtomicI64,
    most_alive: AtomicI64,
    starts: AtomicU64,
}

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

struct Alive(Arc<Notes>);

impl Alive {
    fn new(notes: &Arc<Notes>) -> Alive {
        let alive = notes.alive.fetch_add(1, Ordering::SeqCst) + 1;
        notes.most_alive.fetch_max(alive, Ordering::SeqCst);
        Alive(notes.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct WorkerArgs {
    notes: Arc<Notes>,
    name: String,
    fail_starts: u64,
}

struct Worker {
    _alive: Alive,
    args: WorkerArgs,
    done: u64,
}

enum WorkerMsg {
    Work {
        reply: Reply<u64>,
    },
    Panic,
    Fail,
    /// Begins a blocking job that ends when the other side is dropped.
    Job {
        begun: Reply<()>,
        until: mpsc::Receiver<()>,
    },
    JobDone,
    /// As `Job`, in which it waits for the job.
    Await {
        begun: Reply<()>,
        until: mpsc::Receiver<()>,
    },
    Hang,
    Leave,
}

messages!(WorkerMsg { Work, Panic, Fail, Job, JobDone, Await, Hang, Leave });

impl Actor for Worker {
    const KIND: &'static str = "worker";
    type Msg = WorkerMsg;
    type Args = WorkerArgs;

    async fn start(_cx: &mut Cx<Self>, args: WorkerArgs) -> Result<Self, Failure> {
        let starts = args.notes.starts.fetch_add(1, Ordering::SeqCst);
        args.notes.note(format!("start {}", args.name));
        if starts < args.fail_starts {
            return Err(Failure::new("not yet"));
        }
        Ok(Worker { _alive: Alive::new(&args.notes), args, done: 0 })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: WorkerMsg) -> Outcome {
        match msg {
            WorkerMsg::Work { reply } => {
                self.done += 1;
                reply.send(cx.generation());
            }
            WorkerMsg::Panic => panic!("worker {} broke", self.args.name),
            WorkerMsg::Fail => return Err(Failure::new("worker failed")),
            WorkerMsg::Job { begun, until } => {
                cx.job("test", job(begun, until), |_| WorkerMsg::JobDone);
            }
            WorkerMsg::Await { begun, until } => drop(cx.blocking("test", job(begun, until)).await),
            WorkerMsg::JobDone => self.args.notes.note("job done"),
            WorkerMsg::Hang => std::future::pending().await,
            WorkerMsg::Leave => cx.stop(),
        }
        Ok(())
    }

    async fn stop(&mut self, _cx: &mut Cx<Self>) {
        self.args.notes.note(format!("stop {}", self.args.name));
    }

    fn state_line(&self) -> String {
        format!("done {}", self.done)
    }
}

fn job(begun: Reply<()>, until: mpsc::Receiver<()>) -> impl FnOnce() -> bool {
    move || {
        begun.send(());
        until.recv().is_ok()
    }
}

struct Tree {
    world: World,
    notes: Arc<Notes>,
    root: Root<Supervisor>,
    workers: Vec<Address<WorkerMsg>>,
}

fn worker(
    notes: &Arc<Notes>,
    name: &str,
    spec: ChildSpec,
    fail_starts: u64,
) -> (Seed, Address<WorkerMsg>) {
    let args = WorkerArgs { notes: notes.clone(), name: name.to_owned(), fail_starts };
    Seed::of::<Worker>(name, spec, args)
}

fn grow(strategy: Strategy, names: &[&str], spec: ChildSpec) -> Tree {
    grow_told(strategy, names, spec, |_| {})
}

/// And is told of each change of each child.
fn grow_told(
    strategy: Strategy,
    names: &[&str],
    spec: ChildSpec,
    hook: impl Fn(&ChildEvent) + Clone + Send + Sync + 'static,
) -> Tree {
    let world = world();
    let notes = Arc::new(Notes::default());
    let told = |name: &&str| {
        let (seed, worker) = worker(&notes, name, spec.clone(), 0);
        (seed.on_change(hook.clone()), worker)
    };
    let (children, workers) = names.iter().map(told).unzip();
    let args = SupervisorArgs::new(strategy, children);
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    Tree { world, notes, root, workers }
}

/// Asks until an incarnation answers.
async fn generation(world: &World, worker: &Address<WorkerMsg>) -> u64 {
    loop {
        match worker.ask(LIMIT, |reply| WorkerMsg::Work { reply }).await {
            Ok(generation) => return generation,
            Err(_) => world.sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_restart_and_leaves_its_cause_in_the_tree() {
    let tree = grow(Strategy::OneForOne, &["a", "b"], ChildSpec::permanent());
    tree.root.started().await.unwrap();
    assert_eq!(generation(&tree.world, &tree.workers[0]).await, 1);
    tree.workers[0].send(WorkerMsg::Panic).await.unwrap();
    tree.workers[0].current().unwrap().ended().await;
    assert_eq!(generation(&tree.world, &tree.workers[0]).await, 2);
    assert_eq!(generation(&tree.world, &tree.workers[1]).await, 1);
    let forest = tree.world.registry().look(&tree.world).await;
    let a = &forest[0].children[0];
    let cause = a.last_failure.as_deref().unwrap();
    assert!(cause.contains("worker a broke") && cause.contains("supervision_tests.rs"), "{cause}");
    assert_eq!((a.path.as_str(), a.generation, a.restarts), ("node/a", 2, 1));
    assert_eq!((a.status.as_str(), a.state.as_str()), ("running", "done 1"));
    assert_eq!(forest[0].children[1].restarts, 0);
    assert_eq!(tree.root.stop().await, Exit::Stopped);
}

#[tokio::test(start_paused = true)]
async fn two_incarnations_are_never_alive_together() {
    let spec = ChildSpec::permanent().backoff(Backoff::NONE).intensity(100, LIMIT);
    let tree = grow(Strategy::OneForOne, &["a"], spec);
    for round in 1..=50 {
        assert_eq!(generation(&tree.world, &tree.workers[0]).await, round);
        let worker = tree.workers[0].current().unwrap();
        worker.send(if round % 2 == 0 { WorkerMsg::Panic } else { WorkerMsg::Fail }).await.unwrap();
        worker.ended().await;
    }
    assert_eq!(tree.notes.most_alive.load(Ordering::SeqCst), 1);
    tree.root.stop().await;
    assert_eq!(tree.notes.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_the_jobs_of_the_one_before() {
    let spec = ChildSpec::permanent().backoff(Backoff::NONE);
    let tree = grow(Strategy::OneForOne, &["a"], spec);
    tree.root.started().await.unwrap();
    let (release, until) = mpsc::channel();
    tree.workers[0].ask(LIMIT, |begun| WorkerMsg::Job { begun, until }).await.unwrap();
    let worker = tree.workers[0].current().unwrap();
    worker.send(WorkerMsg::Panic).await.unwrap();
    while worker.is_alive() {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tree.notes.starts.load(Ordering::SeqCst), 1);
    drop(release);
    assert_eq!(generation(&tree.world, &tree.workers[0]).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_tree_stops_from_the_last_child_to_the_first() {
    let tree = grow(Strategy::OneForOne, &["a", "b", "c"], ChildSpec::permanent());
    tree.root.started().await.unwrap();
    assert_eq!(tree.root.stop().await, Exit::Stopped);
    let expected = ["start a", "start b", "start c", "stop c", "stop b", "stop a"];
    assert_eq!(tree.notes.all(), expected);
    assert_eq!(tree.notes.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_stop_in_time_is_killed() {
    let spec = ChildSpec::permanent().shutdown(Duration::from_secs(3));
    let tree = grow(Strategy::OneForOne, &["a", "b"], spec);
    tree.root.started().await.unwrap();
    tree.workers[1].send(WorkerMsg::Hang).await.unwrap();
    let before = tree.world.mono();
    assert_eq!(tree.root.stop().await, Exit::Stopped);
    let took = tree.world.mono() - before;
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(tree.notes.all(), ["start a", "start b", "stop a"]);
    assert_eq!(tree.notes.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn what_fails_too_often_goes_offline_alone_and_can_be_revived() {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let told = changes.clone();
    let spec = ChildSpec::permanent().intensity(2, LIMIT).give_up(GiveUp::Offline);
    let tree = grow_told(Strategy::OneForOne, &["a", "b"], spec, move |event| {
        told.lock().unwrap().push(event.change.clone());
    });
    for round in 1..=3 {
        assert_eq!(generation(&tree.world, &tree.workers[0]).await, round);
        let worker = tree.workers[0].current().unwrap();
        worker.send(WorkerMsg::Fail).await.unwrap();
        worker.ended().await;
    }
    assert_eq!(generation(&tree.world, &tree.workers[1]).await, 1);
    let forest = tree.world.registry().tree();
    let a = &forest[0].children[0];
    assert_eq!((a.status.as_str(), a.last_failure.as_deref()), ("offline", Some("worker failed")));
    assert!(tree.workers[0].send(WorkerMsg::Fail).await.is_err());
    let last = changes.lock().unwrap().last().cloned();
    assert_eq!(last, Some(ChildChange::Offline { cause: Failure::new("worker failed") }));
    let name = "a".to_owned();
    let revived =
        tree.root.me().ask(LIMIT, |reply| SupervisorMsg::Revive { name, reply }).await.unwrap();
    assert!(revived);
    assert_eq!(generation(&tree.world, &tree.workers[0]).await, 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_offline_is_tried_again_after_a_while() {
    let pause = Duration::from_secs(2);
    let spec = ChildSpec::permanent().intensity(0, LIMIT).give_up(GiveUp::Offline);
    let tree = grow(Strategy::OneForOne, &["a"], spec.revive_after(pause));
    for round in 1..=3 {
        generation(&tree.world, &tree.workers[0]).await;
        let worker = tree.workers[0].current().unwrap();
        worker.send(WorkerMsg::Fail).await.unwrap();
        worker.ended().await;
        let before = tree.world.mono();
        assert_eq!(generation(&tree.world, &tree.workers[0]).await, round + 1);
        assert!(tree.world.mono() - before >= pause);
        assert_eq!(tree.world.registry().tree()[0].children[0].status, "running");
    }
}

#[tokio::test(start_paused = true)]
async fn giving_up_may_take_the_parent_along() {
    let spec = ChildSpec::permanent().intensity(0, LIMIT);
    let tree = grow(Strategy::OneForOne, &["a", "b"], spec);
    tree.root.started().await.unwrap();
    tree.workers[0].send(WorkerMsg::Panic).await.unwrap();
    let Exit::Failed(failure) = tree.root.ended().await else { panic!("it did not fail") };
    assert!(failure.message.contains("node/a failed 1 times"), "{failure}");
    assert!(failure.message.contains("worker a broke"), "{failure}");
    assert_eq!(tree.notes.all().last().unwrap(), "stop b");
    assert_eq!(tree.notes.alive.load(Ordering::SeqCst), 0);
}

async fn restarted_with_b(strategy: Strategy) -> Vec<String> {
    let tree = grow(strategy, &["a", "b", "c"], ChildSpec::permanent());
    tree.root.started().await.unwrap();
    tree.workers[1].send(WorkerMsg::Panic).await.unwrap();
    tree.workers[1].current().unwrap().ended().await;
    assert_eq!(generation(&tree.world, &tree.workers[1]).await, 2);
    for worker in &tree.workers {
        generation(&tree.world, worker).await;
    }
    tree.notes.all().split_off(3)
}

#[tokio::test(start_paused = true)]
async fn a_strategy_says_who_restarts_and_in_which_order() {
    assert_eq!(restarted_with_b(Strategy::OneForOne).await, ["start b"]);
    assert_eq!(restarted_with_b(Strategy::RestForOne).await, ["stop c", "start b", "start c"]);
    assert_eq!(
        restarted_with_b(Strategy::OneForAll).await,
        ["stop c", "stop a", "start a", "start b", "start c"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_counts_as_a_failure() {
    let world = world();
    let notes = Arc::new(Notes::default());
    let args = SupervisorArgs::new(Strategy::OneForOne, Vec::new());
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    let (seed, address) = worker(&notes, "a", ChildSpec::permanent(), 3);
    root.me().ask(LIMIT, |reply| SupervisorMsg::Add { seed, reply }).await.unwrap().unwrap();
    assert_eq!(generation(&world, &address).await, 4);
    assert_eq!(world.registry().tree()[0].children[0].last_failure.as_deref(), Some("not yet"));
}

#[tokio::test(start_paused = true)]
async fn only_a_permanent_child_is_restarted_after_an_ordinary_end() {
    for (spec, restarts) in [
        (ChildSpec::permanent(), true),
        (ChildSpec::transient(), false),
        (ChildSpec::temporary(), false),
    ] {
        let tree = grow(Strategy::OneForOne, &["a"], spec);
        tree.root.started().await.unwrap();
        let worker = tree.workers[0].current().unwrap();
        worker.send(WorkerMsg::Leave).await.unwrap();
        assert_eq!(worker.ended().await, Exit::Finished);
        let children =
            tree.root.me().ask(LIMIT, |reply| SupervisorMsg::Children { reply }).await.unwrap();
        assert_eq!(children.is_empty(), !restarts);
        if restarts {
            assert_eq!(generation(&tree.world, &tree.workers[0]).await, 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_child_is_gone_and_its_name_free() {
    let tree = grow(Strategy::OneForOne, &["a"], ChildSpec::permanent());
    tree.root.started().await.unwrap();
    let (taken, _) = worker(&tree.notes, "a", ChildSpec::permanent(), 0);
    let add = |seed| tree.root.me().ask(LIMIT, |reply| SupervisorMsg::Add { seed, reply });
    assert_eq!(add(taken.clone()).await.unwrap(), Err(SpawnError::NameTaken("node/a".into())));
    let name = "a".to_owned();
    let removed = tree.root.me().ask(LIMIT, |reply| SupervisorMsg::Remove { name, reply });
    assert!(removed.await.unwrap());
    assert!(!tree.workers[0].is_alive());
    assert_eq!(add(taken).await.unwrap(), Ok(()));
}

/// Kills a supervisor that has a child from its first start on and others that were added, of which some have gone; who is under its
/// next incarnation.
#[tokio::test(start_paused = true)]
async fn a_supervisor_that_fails_has_again_what_was_added_to_it() {
    let (world, notes) = (world(), Arc::new(Notes::default()));
    let branch = Address::vacant();
    let child = |name: &str| worker(&notes, name, ChildSpec::transient(), 0);
    let [first, given] = ["first", "given"].map(|name| child(name).0);
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![first]).with_added(vec![given]);
    let seed = Seed::at::<Supervisor>("branch", ChildSpec::permanent(), args, &branch);
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![seed]);
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    root.started().await.unwrap();
    let [(added, stays), (removed, _), (left, leaves)] = ["added", "removed", "left"].map(child);
    for seed in [added, removed, left] {
        branch.ask(LIMIT, |reply| SupervisorMsg::Add { seed, reply }).await.unwrap().unwrap();
    }
    let name = "removed".to_owned();
    assert!(branch.ask(LIMIT, |reply| SupervisorMsg::Remove { name, reply }).await.unwrap());
    leaves.send(WorkerMsg::Leave).await.unwrap();
    let expected = ["first", "given", "added"];
    for killed in 0..=2 {
        let deadline = world.mono() + LIMIT;
        loop {
            let names = branch.ask(LIMIT, |reply| SupervisorMsg::Children { reply }).await;
            if names.as_ref().is_ok_and(|names| *names == expected) {
                break;
            }
            assert!(world.mono() < deadline, "killed {killed} times: {names:?}");
            world.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(generation(&world, &stays).await, 1, "of each supervisor the first");
        let now = branch.current().unwrap();
        world.registry().fault("node/branch", Fault::Kill).unwrap();
        now.ended().await;
    }
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_parent_ends_after_its_children() {
    let tree = grow(Strategy::OneForOne, &["a", "b"], ChildSpec::permanent());
    tree.root.started().await.unwrap();
    tree.root.kill();
    let exit = tree.root.ended().await;
    assert_eq!(exit.failure().map(|f| f.kind), Some(FailureKind::Killed));
    assert_eq!(tree.notes.alive.load(Ordering::SeqCst), 0);
    assert_eq!(tree.notes.all(), ["start a", "start b"]);
}
