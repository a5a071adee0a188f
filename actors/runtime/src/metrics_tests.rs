//! What is shown of each actor, on a clock that stands still unless somebody sleeps.

mod faults;
mod gauges;
mod unusual;

use std::sync::Arc;
use std::time::Duration;

use disk::RealDisk;

use super::*;

/// Its coarse clock is as exact as the other.
struct Exact(RealClock);

impl Clock for Exact {
    fn mono(&self) -> Duration {
        self.0.mono()
    }

    fn wall_ms(&self) -> i64 {
        self.0.wall_ms()
    }
}

pub(crate) fn world() -> World {
    let handles = Handles::current();
    World::new(Parts {
        clock: Arc::new(Exact(RealClock::new())),
        random: Arc::new(RealRandom),
        net: Arc::new(RealNet { most_accepted: usize::MAX }),
        disk: Arc::new(RealDisk::new()),
        jobs: Arc::new(RealJobs::new(handles.get(Bulkhead::Storage).clone())),
        handles,
        gate: None,
    })
}

struct Cook {
    larder: Credits,
    taken: Vec<Credit>,
}

enum CookMsg {
    Stir,
    Roast(Duration),
    Fetch(u32),
    Spill,
    Burn(Option<&'static str>),
}

messages!(CookMsg { Stir, Roast, Fetch, Spill, Burn });

impl Actor for Cook {
    const KIND: &'static str = "cook";
    type Msg = CookMsg;
    type Args = Credits;

    async fn start(cx: &mut Cx<Self>, larder: Credits) -> Result<Self, Failure> {
        Ok(Cook { larder: cx.credits(&larder), taken: Vec::new() })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: CookMsg) -> Outcome {
        match msg {
            CookMsg::Stir => {}
            CookMsg::Roast(time) => cx.world().sleep(time).await,
            CookMsg::Fetch(n) => self.taken.push(self.larder.take(n).await),
            CookMsg::Spill => self.taken.clear(),
            CookMsg::Burn(Some(why)) => return Err(Failure::new(why)),
            CookMsg::Burn(None) => burn(),
        }
        Ok(())
    }
}

#[inline(never)]
fn burn() {
    panic!("burnt");
}

struct Kitchen {
    world: World,
    root: Root<Supervisor>,
    cooks: [Address<CookMsg>; 2],
    larder: Credits,
}

async fn kitchen(strategy: Strategy) -> Kitchen {
    let (world, larder) = (world(), Credits::new(100));
    let spec = ChildSpec::permanent().backoff(Backoff::NONE).intensity(100, Duration::MAX);
    let (seeds, cooks): (Vec<_>, Vec<_>) = ["one", "other"]
        .map(|name| Seed::of::<Cook>(name, spec.clone(), larder.clone()))
        .into_iter()
        .unzip();
    let args = SupervisorArgs::new(strategy, seeds);
    let root = spawn_root::<Supervisor>(&world, "kitchen", args).unwrap();
    root.started().await.unwrap();
    Kitchen { world, root, cooks: cooks.try_into().unwrap(), larder }
}

impl Kitchen {
    async fn cook(&self) -> ActorTree {
        self.world.registry().look(&self.world).await[0].children[0].clone()
    }

    async fn tell(&self, messages: impl IntoIterator<Item = CookMsg>) {
        for message in messages {
            self.cooks[0].send(message).await.unwrap();
        }
    }

    /// All that was sent is handled.
    async fn done(&self) -> ActorTree {
        loop {
            let cook = self.cook().await;
            if cook.mailbox_depth == 0 && cook.in_hand.is_none() {
                return cook;
            }
            self.world.sleep(Duration::from_millis(5)).await;
        }
    }

    async fn back(&self, generation: u64) -> ActorTree {
        loop {
            let cook = self.cook().await;
            if cook.generation == generation && cook.status == "running" {
                return cook;
            }
            self.world.sleep(Duration::from_millis(5)).await;
        }
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn the_most_that_ever_waited_is_known_also_of_a_life_before() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    kitchen.tell((0..7).map(|_| CookMsg::Stir)).await;
    assert_eq!(kitchen.world.registry().tree()[0].children[0].mailbox_high, 7);
    kitchen.done().await;
    kitchen.tell((0..30).map(|_| CookMsg::Stir)).await;
    kitchen.done().await;
    kitchen.tell((0..4).map(|_| CookMsg::Stir)).await;
    let cook = kitchen.done().await;
    assert_eq!((cook.mailbox_high, cook.mailbox_depth), (30, 0));
    kitchen.tell([CookMsg::Burn(None)]).await;
    assert_eq!(kitchen.back(2).await.mailbox_high, 30);
    let text = prometheus([("1", kitchen.world.registry())]);
    assert!(text.contains("ottla_mailbox_high{node=\"1\",kind=\"cook\"} 30\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_slowest_message_is_known_though_few_are_timed() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    kitchen.tell([CookMsg::Roast(ms(250))]).await;
    let cook = kitchen.done().await;
    assert_eq!((cook.max_micros, cook.busy_micros), (250_000, 250_000));
    // Neither the 16th nor after a slow one.
    let stirs = |n| (0..n).map(|_| CookMsg::Stir);
    kitchen.tell(stirs(20).chain([CookMsg::Roast(ms(400))]).chain(stirs(20))).await;
    let cook = kitchen.done().await;
    assert_eq!((cook.max_micros, cook.busy_micros / 1000), (400_000, 650));
    assert!(cook.p50_micros <= 1, "{cook:?}");
    assert_eq!(cook.p99_micros, 400_000, "no more than the slowest took");
    let text = prometheus([("1", kitchen.world.registry())]);
    let line = "ottla_handling_max_seconds{node=\"1\",kind=\"cook\"} 0.4\n";
    assert!(text.contains(line), "{text}");
    // Also while it lasts.
    kitchen.tell([CookMsg::Roast(ms(900))]).await;
    kitchen.world.sleep(ms(600)).await;
    let cook = kitchen.cook().await;
    assert_eq!(cook.in_hand.as_deref(), Some("Roast"));
    assert!((600..900).contains(&cook.in_hand_ms), "{cook:?}");
    assert_eq!(cook.max_micros, cook.in_hand_ms * 1000);
}

#[tokio::test(start_paused = true)]
async fn a_trace_has_all_that_is_handled_while_somebody_asks_also_by_the_next_incarnation() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    kitchen.tell([CookMsg::Stir]).await;
    kitchen.done().await;
    let ask = |since| kitchen.world.registry().trace("kitchen/one", since).unwrap();
    let first = ask(None);
    assert_eq!((first.lines.len(), &*first.status), (0, "running"));

    let began_ms = kitchen.world.clock().wall_ms();
    kitchen.tell([CookMsg::Roast(ms(600)), CookMsg::Burn(Some("no salt"))]).await;
    kitchen.back(2).await;
    kitchen.tell([CookMsg::Stir]).await;
    kitchen.done().await;
    let traced = ask(Some(first.next));
    let handled = |message: &str, nanos, failed: Option<&str>| {
        let (message, failed) = (message.to_owned(), failed.map(str::to_owned));
        Did::Handled { message, nanos, failed }
    };
    let did: Vec<_> = traced.lines.iter().map(|line| line.did.clone()).collect();
    let expected = [
        handled("Roast", 600_000_000, None),
        handled("Burn", 0, Some("no salt")),
        Did::Restarted { generation: 2, cause: "no salt".to_owned() },
        handled("Stir", 0, None),
    ];
    assert_eq!(did, expected);
    assert!(traced.lines[0].at_ms.abs_diff(began_ms) < 1000 + 600, "{traced:?}");
    assert_eq!(ask(Some(traced.next)).lines, []);
    assert_eq!(ask(None).lines, [], "who comes new sees what is new");
}

#[tokio::test(start_paused = true)]
async fn how_busy_it_is_of_its_age_and_recently() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    let mut watchdog = Watchdog::new(kitchen.world.registry().clone(), Duration::MAX);
    kitchen.tell((0..16).map(|_| CookMsg::Stir)).await;
    for busy in [true, false, true] {
        for _ in 0..40 {
            if busy {
                kitchen.tell([CookMsg::Roast(ms(250))]).await;
            }
            kitchen.world.sleep(ms(500)).await;
            watchdog.check();
        }
        let cook = kitchen.cook().await;
        let expected = if busy { 0.45..0.55 } else { 0.0..0.01 };
        assert!(expected.contains(&cook.busy_share_recent), "{busy}: {cook:?}");
    }
    let cook = kitchen.cook().await;
    assert!((0.3..0.36).contains(&cook.busy_share), "{cook:?}");
    assert!((60_000..60_500).contains(&cook.age_ms), "{cook:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_restarts_are_kept_with_their_causes() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    for generation in 2..=12 {
        kitchen.world.sleep(ms(1000)).await;
        let cause = (generation % 2 == 0).then_some("no salt");
        kitchen.tell([CookMsg::Burn(cause)]).await;
        kitchen.back(generation).await;
    }
    kitchen.world.sleep(ms(1000)).await;
    let cook = kitchen.cook().await;
    let told: Vec<_> = cook.restarted.iter().map(|one| (one.generation, &*one.cause)).collect();
    assert_eq!((told.len(), cook.restarts), (8, 11));
    assert_eq!((told[0], told[6]), ((5, told[6].1), (11, told[4].1)));
    assert_eq!(told[7], (12, "no salt"));
    assert!(told[6].1.starts_with("panicked at") && told[6].1.ends_with(": burnt"), "{told:?}");
    let ago: Vec<_> = cook.restarted.iter().map(|one| one.ago_ms / 100).collect();
    assert!(ago.is_sorted_by(|before, after| *before >= after + 10), "{ago:?}");
    assert!((1000..1300).contains(&cook.age_ms) && cook.place_age_ms > 12_000, "{cook:?}");
    assert_eq!((cook.last_failure.as_deref(), cook.backtrace), (Some("no salt"), None));
}

#[tokio::test(start_paused = true)]
async fn a_panic_leaves_the_way_to_it_and_siblings_say_why_they_went() {
    let kitchen = kitchen(Strategy::OneForAll).await;
    let mut generation = 2;
    let trace = loop {
        kitchen.tell([CookMsg::Burn(None)]).await;
        let trace = kitchen.back(generation).await.backtrace.unwrap();
        // Another test was looking one up.
        if !trace.starts_with("not taken") {
            break trace;
        }
        generation += 1;
    };
    let calls: Vec<_> = trace.lines().filter(|line| !line.trim().starts_with("at ")).collect();
    assert!(calls[0].contains("metrics_tests::burn"), "{trace}");
    assert!(trace.contains("metrics_tests.rs:") && !trace.contains("catch_"), "{trace}");
    assert!((2..5).contains(&calls.len()), "{trace}");
    kitchen.cooks[1].started().await.unwrap();
    let sibling = kitchen.world.registry().look(&kitchen.world).await[0].children[1].clone();
    assert_eq!((sibling.generation, sibling.last_failure), (generation, None));
    let cause = &sibling.restarted[0].cause;
    assert!(cause.starts_with("a sibling failed: panicked at"), "{cause}");
    assert_eq!(kitchen.root.stop().await, Exit::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_an_actor_holds_of_a_budget_is_shown_as_its_own() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    let beside = kitchen.larder.take(5).await;
    kitchen.tell([CookMsg::Fetch(30), CookMsg::Fetch(12)]).await;
    assert_eq!(kitchen.done().await.credits, 42);
    assert_eq!(kitchen.larder.used(), 47);
    let text = prometheus([("1", kitchen.world.registry())]);
    assert!(text.contains("ottla_actor_credits_bytes{node=\"1\",kind=\"cook\"} 42\n"), "{text}");
    kitchen.tell([CookMsg::Spill, CookMsg::Fetch(7)]).await;
    assert_eq!(kitchen.done().await.credits, 7);
    kitchen.tell([CookMsg::Burn(None)]).await;
    assert_eq!(kitchen.back(2).await.credits, 0, "its credits went with it");
    drop(beside);
    assert_eq!(kitchen.larder.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sample_sums_up_all_actors_over_their_lives() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    let registry = kitchen.world.registry();
    let sums = || {
        let (sample, tree) = (registry.sample(), registry.tree());
        let below =
            |actor: &ActorTree| actor.children.iter().map(|child| child.handled).sum::<u64>();
        let handled: u64 = tree.iter().map(|root| root.handled + below(root)).sum();
        assert_eq!((sample.handled, sample.waiting), (handled, 0));
        sample
    };
    let stirs = || (0..40).map(|_| CookMsg::Stir);
    kitchen.tell(stirs()).await;
    kitchen.done().await;
    let first = sums();
    kitchen.tell([CookMsg::Burn(None)]).await;
    kitchen.back(2).await;
    kitchen.tell(stirs().chain((0..10).map(|_| CookMsg::Roast(ms(100))))).await;
    kitchen.done().await;
    let second = sums();
    assert!(second.handled >= first.handled + 51 && second.actors == first.actors);
    assert!(second.quantile_since(&first, 0.99).is_some_and(|micros| micros > 100_000));
    assert_eq!(second.quantile_since(&second, 0.5), None, "nothing was handled since");
}

#[tokio::test(start_paused = true)]
async fn only_the_part_of_the_tree_is_there_that_is_asked_for() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    let look = async |scope: Scope| kitchen.world.registry().look_at(&kitchen.world, &scope).await;
    let filter = |text: &str| Scope { filter: Some(text.into()), ..Scope::default() };
    let names =
        |tree: &ActorTree| tree.children.iter().map(|child| child.name.clone()).collect::<Vec<_>>();
    let found = look(filter("OTH")).await;
    assert_eq!((found.len(), names(&found[0])), (1, vec!["other".to_owned()]));
    let found = look(filter("cook")).await;
    assert_eq!((names(&found[0]).len(), found[0].hidden), (2, 0), "by their kind");
    assert_eq!(look(filter("chen/on")).await[0].children[0].name, "one", "by its path");
    assert!(look(filter("offline")).await.is_empty());
    let found = look(Scope { depth: Some(1), ..Scope::default() }).await;
    assert_eq!((found[0].hidden, found[0].children.len()), (2, 0));
    let found = look(Scope { depth: Some(1), ..filter("other") }).await;
    assert_eq!(found[0].hidden, 1);
    let under = Scope { under: Some("kitchen/one".into()), depth: Some(1), filter: None };
    let found = look(under).await;
    assert_eq!((found.len(), &*found[0].path, found[0].hidden), (1, "kitchen/one", 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_in_an_order_are_those_with_the_most() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    kitchen.cooks[1].send(CookMsg::Burn(Some("why"))).await.unwrap();
    kitchen.tell((0..3).map(|_| CookMsg::Stir)).await;
    kitchen.tell([CookMsg::Roast(ms(300))]).await;
    kitchen.done().await;
    let registry = kitchen.world.registry();
    let top = async |order, most| {
        let scope = Scope { under: Some("kitchen".into()), ..Scope::default() };
        registry.top(&kitchen.world, &scope, order, most).await
    };
    for (order, first) in [
        (Order::Handled, "one"),
        (Order::Busy, "one"),
        (Order::Slow, "one"),
        (Order::Restarts, "other"),
        (Order::Depth, "one"),
    ] {
        let page = top(order, 1).await;
        assert_eq!((page.first[0].name.as_str(), page.all), (first, 2), "{order:?}");
        assert_eq!(page.under.map(|under| under.path), Some("kitchen".to_owned()));
        assert_eq!(Order::named(order.name()), Some(order));
    }
    let (mut one, other) = (top(Order::Restarts, 2).await, top(Order::Restarts, 1).await);
    one.join(other, Order::Restarts, 3);
    let restarts: Vec<_> = one.first.iter().map(|actor| actor.restarts).collect();
    assert_eq!((restarts, one.all), (vec![1, 1, 0], 4));
}
