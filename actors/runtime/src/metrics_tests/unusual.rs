//! Those that do not run as they should, found without going through the others.

use super::*;
use crate::metrics::Status;

impl Kitchen {
    fn unusual(&self, first: &[&str], most: usize) -> Vec<(String, String)> {
        let first: Vec<Arc<str>> = first.iter().map(|path| Arc::from(*path)).collect();
        let found = self.world.registry().unusual(&first, most);
        found.into_iter().map(|found| (found.path.to_string(), found.what)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_is_told_of_while_it_is_unusual_and_no_longer() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    assert_eq!(kitchen.unusual(&["kitchen/one"], 10), []);
    let fault = |fault| kitchen.world.registry().fault("kitchen/one", fault).unwrap();
    for first in [&["kitchen/one"][..], &["kitchen/one/below"], &[]] {
        fault(Fault::Pause { for_ms: 600_000 });
        let [(path, what)] = &kitchen.unusual(first, 10)[..] else { panic!("{first:?}") };
        assert_eq!((&**path, what.contains("a fault is set on it: paused")), ("kitchen/one", true));
        fault(Fault::Resume);
        assert_eq!(kitchen.unusual(first, 10), []);
    }

    let mut dog = Watchdog::new(kitchen.world.registry().clone(), ms(100));
    kitchen.tell([CookMsg::Roast(ms(1_000))]).await;
    kitchen.world.sleep(ms(10)).await;
    dog.check();
    kitchen.world.sleep(ms(200)).await;
    dog.check();
    let [(path, what)] = &kitchen.unusual(&[], 10)[..] else { panic!("it is stuck") };
    assert_eq!((&**path, what.contains("has had Roast in hand for")), ("kitchen/one", true));
    kitchen.done().await;
    dog.check();
    assert_eq!(kitchen.unusual(&[], 10), []);
}

#[tokio::test]
async fn one_that_was_given_up_is_told_of_until_it_is_gone() {
    let world = world();
    let spec = ChildSpec::permanent().intensity(0, Duration::MAX).give_up(GiveUp::Offline);
    let (seed, cook) = Seed::of::<Cook>("one", spec, Credits::new(1));
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![seed]);
    let root = spawn_root::<Supervisor>(&world, "kitchen", args).unwrap();
    root.started().await.unwrap();
    cook.send(CookMsg::Burn(Some("the oven is hot"))).await.unwrap();
    let found = loop {
        match &world.registry().unusual(&[], 10)[..] {
            [found] if found.what.starts_with("is offline") => break found.clone(),
            _ => world.sleep(ms(1)).await,
        }
    };
    assert_eq!((&*found.path, &*found.what), ("kitchen/one", "is offline: the oven is hot"));
    root.stop().await;
    assert_eq!(world.registry().unusual(&[], 10), []);
}

/// Thousands that are unusual hide nobody else, and no more is looked through than is told of.
#[tokio::test]
async fn what_is_the_same_of_thousands_hides_no_other() {
    let world = world();
    let entry = |path: &str| {
        let entry = world.registry().add(path.to_owned(), "cook", Bulkhead::Control);
        entry.set_status(Status::Offline);
        entry
    };
    let many: Vec<_> = (0..5_000).map(|n| entry(&format!("node/partitions/a-{n}"))).collect();
    let others = ["node/network/x", "node/quorum", "node/replication/leader-1-0"];
    let kept: Vec<_> = others.iter().map(|path| entry(path)).collect();
    let told = |first: &[Arc<str>], most| {
        let found = world.registry().unusual(first, most);
        found.into_iter().map(|found| found.path.to_string()).collect::<Vec<_>>()
    };
    let all = told(&[], 100);
    assert_eq!(all.len(), 20 + others.len(), "{all:?}");
    assert!(others.iter().all(|other| all.iter().any(|path| path == other)), "{all:?}");
    assert_eq!(told(&["node/partitions/a-4999".into()], 5)[0], "node/partitions/a-4999");
    assert_eq!(told(&[], 5).len(), 5);
    for (entry, left) in [(many, others.len()), (kept, 0)] {
        entry.iter().for_each(|entry| entry.set_status(Status::Running));
        assert_eq!(told(&[], 100).len(), left);
    }
}
