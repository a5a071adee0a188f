//! What people let befall an actor, and how that shows.

use super::*;

const ONE: &str = "kitchen/one";

impl Kitchen {
    fn befall(&self, fault: Fault) -> Result<(), NoSuchActor> {
        self.world.registry().fault(ONE, fault)
    }

    async fn until(&self, holds: impl Fn(&ActorTree) -> bool) -> ActorTree {
        loop {
            let cook = self.cook().await;
            if holds(&cook) {
                return cook;
            }
            self.world.sleep(ms(5)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_delayed_is_in_hand_no_longer_than_the_fault_lasts() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    let place = kitchen.world.registry().trace(ONE, None).unwrap().next;
    let long = 600_000;
    for (for_ms, resumed, took) in [(2000, false, 2000..2100), (long, true, 500..700)] {
        let begun = kitchen.world.mono();
        kitchen.befall(Fault::Delay { by_ms: long, for_ms }).unwrap();
        kitchen.tell([CookMsg::Stir]).await;
        kitchen.world.sleep(ms(500)).await;
        let cook = kitchen.cook().await;
        assert_eq!((cook.in_hand.as_deref(), cook.mailbox_depth), (Some("Stir"), 0), "{cook:?}");
        assert!((400..700).contains(&cook.in_hand_ms) && cook.fault.is_some(), "{cook:?}");
        let in_hand = kitchen.world.registry().trace(ONE, Some(place)).unwrap().in_hand.unwrap();
        assert_eq!((&*in_hand.message, in_hand.for_ms / 400), ("Stir", 1));
        if resumed {
            kitchen.befall(Fault::Resume).unwrap();
        }
        assert_eq!(kitchen.done().await.fault, None);
        let lasted = (kitchen.world.mono() - begun).as_millis();
        assert!(took.contains(&lasted), "{lasted} ms");
    }
    let traced = kitchen.world.registry().trace(ONE, Some(place)).unwrap();
    assert_eq!((traced.lines.len(), traced.in_hand), (2, None));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_killed_leaves_what_it_had_in_hand_in_its_trace() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    let place = kitchen.world.registry().trace(ONE, None).unwrap().next;
    kitchen.tell([CookMsg::Roast(ms(60_000))]).await;
    kitchen.until(|cook| cook.in_hand_ms > 100).await;
    kitchen.befall(Fault::Kill).unwrap();
    kitchen.back(2).await;
    let lines = kitchen.world.registry().trace(ONE, Some(place)).unwrap().lines;
    let [killed, restarted] = &lines[..] else { panic!("{lines:?}") };
    let Did::Handled { message, nanos, failed } = &killed.did else { panic!("{lines:?}") };
    assert!(message == "Roast" && (100_000_000..400_000_000).contains(nanos), "{lines:?}");
    assert_eq!(failed.as_deref(), Some("killed as it was in hand"));
    assert!(matches!(restarted.did, Did::Restarted { generation: 2, .. }), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn the_text_of_a_failure_is_no_longer_than_is_kept() {
    let kitchen = kitchen(Strategy::OneForOne).await;
    kitchen.befall(Fault::Fail { message: "salt".repeat(100_000) }).unwrap();
    let told = kitchen.cook().await.fault.unwrap();
    assert!(told.starts_with("fails next: saltsalt") && told.len() < 1100, "{}", told.len());
}

/// Takes its time to end.
struct Lingers;

enum LingersMsg {
    Rest,
}

messages!(LingersMsg { Rest });

impl Actor for Lingers {
    const KIND: &'static str = "lingers";
    type Msg = LingersMsg;
    type Args = ();

    async fn start(_: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        Ok(Lingers)
    }

    async fn handle(&mut self, _: &mut Cx<Self>, _: LingersMsg) -> Outcome {
        Ok(())
    }

    async fn stop(&mut self, cx: &mut Cx<Self>) {
        cx.world().sleep(ms(3000)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_befalls_one_that_is_ending() {
    let world = world();
    let root = spawn_root::<Lingers>(&world, "lingers", ()).unwrap();
    root.started().await.unwrap();
    root.me().send(LingersMsg::Rest).await.unwrap();
    let fault = || world.registry().fault("lingers", Fault::Pause { for_ms: 10 });
    assert_eq!(fault(), Ok(()));
    let ending = async {
        world.sleep(ms(1000)).await;
        fault()
    };
    let (ended, befell) = tokio::join!(root.stop(), ending);
    assert_eq!(ended, Exit::Stopped);
    let path = "lingers".to_owned();
    assert_eq!(befell, Err(NoSuchActor::Down { path, status: "ending" }));
}
