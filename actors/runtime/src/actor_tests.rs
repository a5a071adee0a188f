//! Messages, timers, replies, numbers: what one actor does with what it has.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::supervision_tests::world;
use super::*;

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u64>>>, Arc<AtomicU64>);

struct Clerk {
    seen: Seen,
    held: Vec<Credit>,
    timer: Option<TimerId>,
}

enum ClerkMsg {
    Note(u64),
    /// A message need not be shareable between threads.
    Again(Cell<u64>),
    /// Waits this long in the handler, which the others must not.
    Slow(Duration),
    Hold(Credit),
    Later {
        after: Duration,
        n: u64,
    },
    Often {
        period: Duration,
    },
    Cancel,
    Forget(Reply<()>),
    Panic,
    Block(Reply<Result<u64, JobLost>>),
    Blocked(Reply<Result<u64, JobLost>>, Result<u64, JobLost>),
}

messages!(ClerkMsg {
    Note,
    Again,
    Slow,
    Hold,
    Later,
    Often,
    Cancel,
    Forget,
    Panic,
    Block,
    Blocked
});

impl Actor for Clerk {
    const KIND: &'static str = "clerk";
    type Msg = ClerkMsg;
    type Args = Seen;

    async fn start(_cx: &mut Cx<Self>, seen: Seen) -> Result<Self, Failure> {
        Ok(Clerk { seen, held: Vec::new(), timer: None })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: ClerkMsg) -> Outcome {
        match msg {
            ClerkMsg::Note(n) => self.seen.0.lock().unwrap().push(n),
            ClerkMsg::Again(n) => cx.me().send(ClerkMsg::Note(n.get())).await?,
            ClerkMsg::Slow(time) => cx.world().sleep(time).await,
            ClerkMsg::Hold(credit) => {
                cx.counter("held").add(1);
                self.held.push(credit);
            }
            ClerkMsg::Later { after, n } => {
                self.timer = Some(cx.send_after(after, ClerkMsg::Note(n)));
            }
            ClerkMsg::Often { period } => {
                let mut n = 0;
                let tick = move || {
                    n += 1;
                    ClerkMsg::Note(n)
                };
                self.timer = Some(cx.every(period, tick));
            }
            ClerkMsg::Cancel => cx.cancel(self.timer.take().unwrap()),
            ClerkMsg::Forget(reply) => drop(reply),
            ClerkMsg::Panic => panic!("with credits in hand"),
            ClerkMsg::Block(reply) => {
                cx.job("test", || panic!("in a job"), |done| ClerkMsg::Blocked(reply, done));
            }
            ClerkMsg::Blocked(reply, done) => reply.send(done),
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        self.seen.1.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

fn clerk(world: &World) -> (Seen, Root<Clerk>) {
    let seen = Seen::default();
    let root = spawn_root::<Clerk>(world, "clerk", seen.clone()).unwrap();
    (seen, root)
}

/// Waits until all that was sent so far is handled.
async fn settled(root: &Root<Clerk>) {
    let answer = root.me().ask(LIMIT, ClerkMsg::Forget).await;
    assert_eq!(answer, Err(AskError::Dropped));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_timer_is_not_handled_even_when_it_lies_in_the_mailbox() {
    let world = world();
    let (seen, root) = clerk(&world);
    let send = async |msg| root.me().send(msg).await.unwrap();
    send(ClerkMsg::Later { after: Duration::from_secs(1), n: 1 }).await;
    send(ClerkMsg::Later { after: Duration::from_secs(2), n: 2 }).await;
    // The second timer fires in this time, behind the cancellation that is sent first.
    send(ClerkMsg::Slow(Duration::from_secs(3))).await;
    send(ClerkMsg::Cancel).await;
    settled(&root).await;
    assert_eq!(*seen.0.lock().unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_periodic_timer_does_not_pile_up_in_a_slow_actor() {
    let world = world();
    let (seen, root) = clerk(&world);
    root.me().send(ClerkMsg::Often { period: Duration::from_millis(10) }).await.unwrap();
    world.sleep(Duration::from_millis(35)).await;
    assert_eq!(*seen.0.lock().unwrap(), [1, 2, 3]);
    root.me().send(ClerkMsg::Slow(Duration::from_secs(1))).await.unwrap();
    settled(&root).await;
    tokio::task::yield_now().await;
    assert_eq!(seen.0.lock().unwrap().len(), 4);
    root.me().send(ClerkMsg::Cancel).await.unwrap();
    world.sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.0.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn credits_come_back_from_a_panic_and_from_a_mailbox_nobody_reads() {
    let world = world();
    let node = Credits::new(100);
    let partition = node.nested(60);
    let (_, root) = clerk(&world);
    root.me().send(ClerkMsg::Hold(partition.take(20).await)).await.unwrap();
    root.me().send(ClerkMsg::Panic).await.unwrap();
    root.me().send(ClerkMsg::Hold(partition.take(40).await)).await.unwrap();
    assert_eq!((node.used(), partition.used()), (60, 60));
    assert!(partition.try_take(1).is_none());
    root.ended().await;
    assert_eq!((node.used(), partition.used()), (0, 0));
    let Err(Dead(returned)) = root.me().send(ClerkMsg::Hold(node.take(1).await)).await else {
        panic!("it is dead")
    };
    assert_eq!(node.used(), 1);
    drop(returned);
    assert_eq!(node.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_no_credits_waits_until_the_actor_is_done() {
    let world = world();
    let credits = Credits::new(2);
    let (_, root) = clerk(&world);
    let held = [credits.take(1).await, credits.take(1).await];
    let mut waiting = std::pin::pin!(credits.take(1));
    assert!(world.timeout(Duration::from_secs(1), waiting.as_mut()).await.is_err());
    drop(held);
    drop(world.timeout(Duration::from_secs(1), waiting).await.unwrap());
    assert_eq!((credits.used(), credits.waits()), (0, 1));
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_job_is_an_answer() {
    let world = world();
    let (_, root) = clerk(&world);
    let lost = root.me().ask(LIMIT, ClerkMsg::Block).await.unwrap().unwrap_err();
    assert!(lost.to_string().contains("in a job"), "{lost}");
    assert!(root.me().is_alive());
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_and_handled_is_counted_by_name() {
    let world = world();
    let (_, root) = clerk(&world);
    root.started().await.unwrap();
    for n in 0..40 {
        root.me().send(ClerkMsg::Note(n)).await.unwrap();
    }
    assert_eq!(root.me().depth(), 40);
    root.me().send(ClerkMsg::Hold(Credits::new(1).take(1).await)).await.unwrap();
    settled(&root).await;
    assert_eq!(root.me().depth(), 0);
    let forest = world.registry().look(&world).await;
    let count = |name| forest[0].messages.iter().find(|m| m.name == name).unwrap().handled;
    assert_eq!((count("Note"), count("Forget"), count("Panic")), (40, 1, 0));
    assert_eq!(forest[0].numbers["held"], 1);
    let text = prometheus([("7", world.registry())]);
    assert!(
        text.contains(
            "ottla_messages_handled_total{node=\"7\",kind=\"clerk\",message=\"Note\"} 40\n"
        )
    );
    assert!(text.contains("ottla_actor_count_total{node=\"7\",kind=\"clerk\",name=\"held\"} 1\n"));
    assert!(
        text.contains("ottla_handling_seconds_count{node=\"7\",kind=\"clerk\"} 32\n"),
        "{text}"
    );
}

#[test]
fn what_actors_count_is_counted_once_while_they_go() {
    let registry = Registry::new(Arc::new(RealClock::new()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let goes = scope.spawn(|| {
            for n in 0..100_000 {
                let entry = registry.add(format!("clerk-{n}"), "clerk", Bulkhead::Control);
                entry.counter("told").add(1);
                registry.remove(&entry);
            }
            done.store(true, Ordering::Release);
        });
        let told = || {
            let text = prometheus([("1", &registry)]);
            let line = text.lines().find(|line| line.contains("name=\"told\"")).map(str::to_owned);
            line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        };
        let mut before = 0;
        while !done.load(Ordering::Acquire) {
            let now = told();
            assert!(now >= before, "{before}, then {now}");
            before = now;
        }
        goes.join().unwrap();
        assert_eq!(told(), 100_000);
    });
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_finds_a_handler_that_does_not_end() {
    let world = world();
    let (_, root) = clerk(&world);
    let mut watchdog = Watchdog::new(world.registry().clone(), Duration::from_secs(10));
    root.me().send(ClerkMsg::Slow(Duration::from_secs(30))).await.unwrap();
    world.sleep(Duration::from_secs(1)).await;
    assert!(watchdog.check().is_empty());
    world.sleep(Duration::from_secs(11)).await;
    assert_eq!(watchdog.check(), ["clerk"]);
    assert!(world.registry().tree()[0].stuck);
    assert_eq!(world.registry().tree()[0].in_hand.as_deref(), Some("Slow"));
    settled(&root).await;
    assert!(watchdog.check().is_empty());
    assert!(!world.registry().tree()[0].stuck);
}

#[tokio::test(start_paused = true)]
async fn what_an_actor_sends_to_itself_comes_after_what_waits() {
    let world = world();
    let (seen, root) = clerk(&world);
    root.me().send(ClerkMsg::Again(Cell::new(1))).await.unwrap();
    root.me().send(ClerkMsg::Note(2)).await.unwrap();
    settled(&root).await;
    settled(&root).await;
    assert_eq!(*seen.0.lock().unwrap(), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn however_many_look_at_a_busy_actor_it_is_asked_once() {
    let world = world();
    let (seen, root) = clerk(&world);
    root.me().send(ClerkMsg::Slow(Duration::from_secs(30))).await.unwrap();
    for _ in 0..20 {
        world.registry().look(&world).await;
    }
    settled(&root).await;
    assert_eq!(seen.1.load(Ordering::Relaxed), 1);
    assert_eq!(world.registry().look(&world).await[0].state, "1");
}
