//! Actors of ractor's own trait, as their supervisor and the tree see them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{ActorProcessingErr, RpcReplyPort, SupervisionEvent, concurrency};

use super::supervision_tests::world;
use super::*;

/// A plain actor: it counts, and spawns a helper of its own.
struct Tally;

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

enum TallyMsg {
    Add(u64),
    Total(RpcReplyPort<u64>),
    Fail,
    Panic,
    Leave,
    Help,
}

struct Helper;

impl ractor::Actor for Helper {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: RactorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        me.stop(None);
        Ok(())
    }
}

impl ractor::Actor for Tally {
    type Msg = TallyMsg;
    type State = (u64, Notes);
    type Arguments = Notes;

    async fn pre_start(
        &self,
        _: RactorRef<TallyMsg>,
        notes: Notes,
    ) -> Result<(u64, Notes), ActorProcessingErr> {
        notes.note("start");
        Ok((0, notes))
    }

    #[expect(clippy::disallowed_methods, reason = "as users may")]
    async fn handle(
        &self,
        me: RactorRef<TallyMsg>,
        message: TallyMsg,
        (total, _): &mut (u64, Notes),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TallyMsg::Add(n) => *total += n,
            TallyMsg::Total(reply) => reply.send(*total)?,
            TallyMsg::Fail => return Err("it does not add up".into()),
            TallyMsg::Panic => panic!("a bug of the plain one"),
            TallyMsg::Leave => me.stop(None),
            TallyMsg::Help => {
                Helper::spawn_linked(None, Helper, (), me.get_cell()).await?;
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: RactorRef<TallyMsg>,
        event: SupervisionEvent,
        (_, notes): &mut (u64, Notes),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) = event {
            notes.note("helped");
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: RactorRef<TallyMsg>,
        (_, notes): &mut (u64, Notes),
    ) -> Result<(), ActorProcessingErr> {
        notes.note("stop");
        Ok(())
    }
}

struct Tree {
    world: World,
    root: Root<Supervisor>,
    tally: RactorAddress<TallyMsg>,
    notes: Notes,
    made: Arc<AtomicU64>,
}

async fn grow(spec: ChildSpec) -> Tree {
    let (world, notes, made) = (world(), Notes::default(), Arc::new(AtomicU64::new(0)));
    let (noted, counted) = (notes.clone(), made.clone());
    let (seed, tally) = Seed::of_ractor("tally", spec, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        (Tally, noted.clone())
    });
    let args = SupervisorArgs::new(Strategy::OneForOne, vec![seed]);
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    root.started().await.unwrap();
    Tree { world, root, tally, notes, made }
}

impl Tree {
    async fn shown(&self) -> ActorTree {
        self.world.registry().look(&self.world).await[0].children[0].clone()
    }

    async fn until(&self, holds: impl Fn(&ActorTree) -> bool) -> ActorTree {
        loop {
            let shown = self.shown().await;
            if holds(&shown) {
                return shown;
            }
            self.world.sleep(Duration::from_millis(1)).await;
        }
    }

    async fn total(&self) -> u64 {
        loop {
            let (reply, answer) = concurrency::oneshot();
            if self.tally.send(TallyMsg::Total(reply.into())).is_ok()
                && let Ok(total) = answer.await
            {
                return total;
            }
            self.world.sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_actor_is_counted_and_restarted_with_the_cause_in_the_tree() {
    let tree = grow(ChildSpec::permanent()).await;
    for n in 1..=40 {
        tree.tally.send(TallyMsg::Add(n)).unwrap();
    }
    assert_eq!(tree.total().await, 820);
    let shown = tree.until(|tally| tally.handled == 41).await;
    assert_eq!((&*shown.kind, &*shown.path, shown.generation), ("Tally", "node/tally", 1));
    let counted: Vec<_> = shown.messages.iter().map(|m| (&*m.name, m.handled)).collect();
    assert_eq!(counted, [("message", 41), ("supervision", 0)]);

    for (restarts, (fails, why)) in (1..).zip([
        (TallyMsg::Panic, "a bug of the plain one"),
        (TallyMsg::Fail, "it does not add up"),
        (TallyMsg::Leave, "ended although it is permanent"),
    ]) {
        let before = tree.tally.current().unwrap();
        tree.tally.send(fails).unwrap();
        let shown = tree.until(|tally| tally.generation == restarts + 1).await;
        let told = (shown.restarts, shown.last_failure.unwrap());
        assert!(told.0 == restarts && told.1.contains(why), "{told:?}");
        assert_eq!(shown.backtrace.is_some(), restarts == 1);
        assert_eq!(tree.total().await, 0, "a new one begins anew");
        assert!(before.send_message(TallyMsg::Add(1)).is_err(), "one incarnation is not another");
    }
    assert_eq!(tree.made.load(Ordering::SeqCst), 4);
    assert_eq!(tree.root.stop().await, Exit::Stopped);
    let ends = ["start", "start", "start", "stop", "start", "stop"];
    assert_eq!(tree.notes.all(), ends, "post_stop where it was not a failure");
    assert!(tree.tally.send(TallyMsg::Add(1)).is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_plain_actor_spawns_is_linked_to_it() {
    let tree = grow(ChildSpec::permanent()).await;
    tree.tally.send(TallyMsg::Help).unwrap();
    let shown = tree.until(|tally| tally.messages.iter().all(|named| named.handled > 0)).await;
    assert_eq!(shown.restarts, 0, "{shown:?}");
    assert_eq!(tree.root.stop().await, Exit::Stopped);
    assert_eq!(tree.notes.all(), ["start", "helped", "stop"]);
}

#[tokio::test(start_paused = true)]
async fn a_plain_actor_that_is_given_up_is_offline_and_what_is_set_on_purpose_befalls_it() {
    let spec = ChildSpec::permanent().intensity(1, Duration::from_secs(60));
    let tree = grow(spec.give_up(GiveUp::Offline)).await;
    let befall = |fault| tree.world.registry().fault("node/tally", fault).unwrap();
    befall(Fault::Kill);
    tree.until(|tally| tally.generation == 2).await;
    befall(Fault::Fail { message: "on purpose".to_owned() });
    while tree.tally.send(TallyMsg::Add(1)).is_err() {
        tree.world.sleep(Duration::from_millis(1)).await;
    }
    let shown = tree.until(|tally| tally.status == "offline").await;
    assert!(shown.last_failure.unwrap().contains("on purpose"));
    assert!(tree.tally.current().is_none());
    assert_eq!(tree.root.stop().await, Exit::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_makes_a_plain_actor_may_panic() {
    let (world, fine) = (world(), Arc::new(AtomicU64::new(0)));
    let counted = fine.clone();
    let (seed, tally) = Seed::of_ractor("tally", ChildSpec::permanent(), move || {
        assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "not yet");
        (Tally, Notes::default())
    });
    let args = SupervisorArgs::new(Strategy::OneForOne, Vec::new());
    let root = spawn_root::<Supervisor>(&world, "node", args).unwrap();
    let added = root.me().ask(Duration::from_secs(1), |reply| SupervisorMsg::Add { seed, reply });
    added.await.unwrap().unwrap();
    while fine.load(Ordering::SeqCst) < 2 || tally.send(TallyMsg::Add(1)).is_err() {
        world.sleep(Duration::from_millis(1)).await;
    }
    let shown = world.registry().look(&world).await[0].children[0].clone();
    assert!(shown.last_failure.unwrap().contains("not yet"));
    assert_eq!(root.stop().await, Exit::Stopped);
}
