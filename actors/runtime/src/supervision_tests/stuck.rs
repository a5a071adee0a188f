//! Those whose end must be waited for, however they end.

use super::*;
use crate::shell::Control;

/// Virtual time does not go on by itself while a job runs; it goes on slowly enough for the thread of that to end.
async fn while_time_passes<T>(work: impl Future<Output = T>) -> T {
    let passing = async {
        loop {
            tokio::time::advance(Duration::from_millis(100)).await;
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = passing => unreachable!("it has no end"),
    }
}

/// Until the other side is dropped, it does not even end when it is killed.
async fn hold(worker: &Address<WorkerMsg>) -> mpsc::Sender<()> {
    let (release, until) = mpsc::channel();
    worker.ask(LIMIT, |begun| WorkerMsg::Await { begun, until }).await.unwrap();
    release
}

#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_a_job_that_a_killed_one_waited_for() {
    let spec = ChildSpec::permanent().backoff(Backoff::NONE);
    let tree = grow(Strategy::OneForOne, &["a"], spec);
    tree.root.started().await.unwrap();
    let release = hold(&tree.workers[0]).await;
    tree.workers[0].current().unwrap().kill();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tree.notes.starts.load(Ordering::SeqCst), 1);
    drop(release);
    assert_eq!(generation(&tree.world, &tree.workers[0]).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_stuck_keeps_its_name_until_it_ends() {
    let spec = ChildSpec::permanent().shutdown(Duration::from_secs(1));
    let tree = grow(Strategy::OneForOne, &["a"], spec);
    tree.root.started().await.unwrap();
    let release = hold(&tree.workers[0]).await;
    let remove = || {
        let name = "a".to_owned();
        tree.root.me().ask(LIMIT, |reply| SupervisorMsg::Remove { name, reply })
    };
    assert!(!while_time_passes(remove()).await.unwrap());
    let (next, _) = worker(&tree.notes, "a", ChildSpec::permanent(), 0);
    let add = |seed| tree.root.me().ask(LIMIT, |reply| SupervisorMsg::Add { seed, reply });
    assert_eq!(add(next.clone()).await.unwrap(), Err(SpawnError::NameTaken("node/a".into())));
    drop(release);
    while add(next.clone()).await.unwrap().is_err() {
        tokio::task::yield_now().await;
    }
    assert!(while_time_passes(remove()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_is_stuck_takes_the_parent_along_where_its_failures_do() {
    let spec = ChildSpec::permanent().shutdown(Duration::from_secs(1));
    let tree = grow(Strategy::RestForOne, &["a", "b"], spec);
    tree.root.started().await.unwrap();
    let release = hold(&tree.workers[1]).await;
    tree.workers[0].send(WorkerMsg::Panic).await.unwrap();
    let failed = async {
        while tree.root.me().is_alive() {
            tokio::task::yield_now().await;
        }
    };
    let limited = tree.world.timeout(Duration::from_secs(30), failed);
    while_time_passes(limited).await.expect("the parent fails");
    drop(release);
    let Exit::Failed(failure) = tree.root.ended().await else { panic!("it did not fail") };
    assert!(failure.message.contains("node/b is stuck"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_was_stuck_is_back_when_it_has_ended() {
    let spec = ChildSpec::permanent().shutdown(Duration::from_secs(1)).give_up(GiveUp::Offline);
    let tree = grow(Strategy::RestForOne, &["a", "b", "c"], spec);
    tree.root.started().await.unwrap();
    let release = hold(&tree.workers[1]).await;
    let stuck = tree.workers[1].current().unwrap();
    tree.workers[0].send(WorkerMsg::Panic).await.unwrap();
    while_time_passes(async {
        while tree.workers[0].current().is_none_or(|worker| worker.generation() == 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(tree.world.registry().tree()[0].children[1].status, "offline");
    drop(release);
    stuck.ended().await;
    let back = async {
        while tree.workers[1].current().is_none_or(|worker| worker.generation() == 1) {
            tokio::task::yield_now().await;
        }
        generation(&tree.world, &tree.workers[2]).await
    };
    let back = tree.world.timeout(Duration::from_secs(60), back);
    while_time_passes(back).await.expect("b and c are back");
}

#[tokio::test(start_paused = true)]
async fn siblings_do_not_wait_for_one_that_was_given_up() {
    let world = world();
    let notes = Arc::new(Notes::default());
    let (a, first) = worker(&notes, "a", ChildSpec::permanent(), 0);
    let once = ChildSpec::permanent().intensity(0, LIMIT).give_up(GiveUp::Offline);
    let (b, _) = Seed::of::<Born>("b", once, 1);
    let (c, last) = worker(&notes, "c", ChildSpec::permanent(), 0);
    let args = SupervisorArgs::new(Strategy::RestForOne, vec![a, b, c]);
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    root.started().await.unwrap();
    first.send(WorkerMsg::Panic).await.unwrap();
    first.current().unwrap().ended().await;
    let back = async {
        while last.current().is_none_or(|worker| worker.generation() == 1) {
            tokio::task::yield_now().await;
        }
    };
    while_time_passes(world.timeout(LIMIT, back)).await.expect("c is back");
    assert_eq!(world.registry().tree()[0].children[1].status, "offline");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_failed_is_no_start_whatever_it_has_begun() {
    let world = world();
    let notes = Arc::new(Notes::default());
    let (a, _) = worker(&notes, "a", ChildSpec::permanent(), 0);
    let (b, _) = worker(&notes, "b", ChildSpec::permanent(), u64::MAX);
    let args = SupervisorArgs::new(Strategy::RestForOne, vec![a, b]);
    let (branch, _) = Seed::of::<Supervisor>("branch", ChildSpec::permanent(), args);
    let (c, _) = worker(&notes, "c", ChildSpec::permanent(), 0);
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![branch, c]);
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    let exit = root.started().await.unwrap_err();
    assert_eq!(exit, Exit::Failed(Failure::new("not yet")));
    root.ended().await;
    assert_eq!(notes.all(), ["start a", "start b", "stop a"]);
}

/// Starts so many times, and no more.
struct Born;

impl Actor for Born {
    const KIND: &'static str = "born";
    type Msg = WorkerMsg;
    type Args = u64;

    async fn start(cx: &mut Cx<Self>, starts: u64) -> Result<Self, Failure> {
        match cx.generation() <= starts {
            true => Ok(Born),
            false => Err(Failure::new("too often")),
        }
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, _msg: WorkerMsg) -> Outcome {
        Ok(())
    }
}

/// Looks at its child when it stops itself.
struct Last(mpsc::Sender<bool>);

impl Actor for Last {
    const KIND: &'static str = "last";
    type Msg = WorkerMsg;
    type Args = (Seed, mpsc::Sender<bool>);

    async fn start(cx: &mut Cx<Self>, (child, told): Self::Args) -> Result<Self, Failure> {
        cx.spawn_seed(child)?;
        Ok(Last(told))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, _msg: WorkerMsg) -> Outcome {
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        self.0.send(cx.has_child("a")).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_knows_which_child_is_stuck() {
    for is_stuck in [false, true] {
        let world = world();
        let spec = ChildSpec::permanent().shutdown(Duration::from_secs(1));
        let (seed, a) = worker(&Arc::default(), "a", spec, 0);
        let (tell, told) = mpsc::channel();
        let root = spawn_root::<Last>(&world, "last", (seed, tell)).unwrap();
        root.started().await.unwrap();
        let release = hold(&a).await;
        let release = Some(release).filter(|_| is_stuck);
        root.me().stop();
        let stopped = async {
            loop {
                match told.try_recv() {
                    Ok(told) => return told,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        assert_eq!(while_time_passes(stopped).await, is_stuck);
        drop(release);
        root.ended().await;
    }
}
