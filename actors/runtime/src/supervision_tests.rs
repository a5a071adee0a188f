//! Restarts, barriers and endings, as seen from outside.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::RealDisk;

use super::*;

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
    Work { reply: Reply<u64> },
    Panic,
    Fail,
    Job,
    JobDone,
    Tick,
    Leave,
}

messages!(WorkerMsg { Work, Panic, Fail, Job, JobDone, Tick, Leave });

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
            WorkerMsg::Job => {
                let alive = Alive::new(&self.args.notes);
                cx.job("test", move || drop(alive), |_| WorkerMsg::JobDone);
            }
            WorkerMsg::JobDone => self.args.notes.note("job done"),
            WorkerMsg::Tick => self.args.notes.note("tick"),
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
    let world = world();
    let notes = Arc::new(Notes::default());
    let (children, workers) =
        names.iter().map(|name| worker(&notes, name, spec.clone(), 0)).unzip();
    let args = SupervisorArgs { strategy, children };
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
