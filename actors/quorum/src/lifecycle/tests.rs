//! A broker's lifecycle, with the test in the controller's place.

use std::path::Path;

use disk::{SimDisk, SimDiskOptions};
use runtime::{Address, ChildSpec, Handles, Reply, Root, Seed, World, spawn_root, watch};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wire::{
    BrokerHeartbeatResponse, BrokerRegistrationResponse, FeatureLevelRecord, MetadataRecord,
    RegisterBrokerRecord,
};

use super::*;
use crate::controller::ControllerMsg;

const NODE: i32 = 1;
const DIR: &str = "/data";
const INCARNATION: Uuid = Uuid([7; 16]);
const OTHER: Uuid = Uuid([8; 16]);
const LIMIT: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(20);

/// Hands on what the controller is asked.
struct Told(UnboundedSender<ControllerMsg>);

impl Actor for Told {
    const KIND: &'static str = "told";
    type Msg = ControllerMsg;
    type Args = UnboundedSender<ControllerMsg>;

    async fn start(_cx: &mut Cx<Self>, told: Self::Args) -> Result<Self, Failure> {
        Ok(Told(told))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: ControllerMsg) -> Outcome {
        let _ = self.0.send(msg);
        Ok(())
    }
}

/// The two, and nobody else.
struct House;

impl Actor for House {
    const KIND: &'static str = "house";
    type Msg = LifecycleMsg;
    type Args = (UnboundedSender<ControllerMsg>, LifecycleArgs, Address<LifecycleMsg>);

    async fn start(cx: &mut Cx<Self>, (told, args, at): Self::Args) -> Result<Self, Failure> {
        let controller = cx.spawn::<Told>("controller", ChildSpec::permanent(), told)?;
        let args = LifecycleArgs { controller: ControllerHandle::new(controller), ..args };
        cx.spawn_seed(Seed::at::<Lifecycle>("lifecycle", ChildSpec::permanent(), args, &at))?;
        Ok(House)
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, _msg: LifecycleMsg) -> Outcome {
        Ok(())
    }
}

struct Scene {
    house: Root<House>,
    lifecycle: Address<LifecycleMsg>,
    state: Watch<LifecycleState>,
    has_served: Arc<AtomicBool>,
    refusal: Watch<String>,
    asked: UnboundedReceiver<ControllerMsg>,
    images: Publisher<MetadataImage>,
    followed: Watch<MetadataImage>,
}

impl Scene {
    /// The metadata is known this far as the broker starts.
    fn new(known: MetadataImage, heartbeat_interval: Duration, request_timeout: Duration) -> Scene {
        Scene::of(known, heartbeat_interval, request_timeout, false)
    }

    fn of(
        known: MetadataImage,
        heartbeat_interval: Duration,
        request_timeout: Duration,
        stopping: bool,
    ) -> Scene {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        let world = World::real(Handles::current(), disk.clone());
        let (sender, asked) = unbounded_channel();
        let ((state, states), lifecycle) = (watch(LifecycleState::default()), Address::vacant());
        let (refusal, refusals) = watch(String::new());
        let has_served = Arc::<AtomicBool>::default();
        let (images, metadata) = watch(known);
        let (followed, follows) = watch(MetadataImage::default());
        disk.create_dir_all(Path::new(DIR)).unwrap();
        let read = partitions::read_log_dir(&disk, Path::new(DIR), Uuid([1; 16]), 1, true);
        let args = LifecycleArgs {
            node: NodeId(NODE),
            cluster_id: "cluster".to_owned(),
            incarnation: INCARNATION,
            rack: None,
            listeners: Vec::new(),
            log_dirs: LogDirs(vec![Arc::new(read.unwrap().0)]),
            metadata_version: MetadataVersion::LATEST,
            previous_broker_epoch: -1,
            controller: ControllerHandle::new(Address::vacant()),
            metadata,
            followed: Arc::new(followed),
            applied: watch(0).1,
            state: Arc::new(state),
            has_served: has_served.clone(),
            refusal: Arc::new(refusal),
            stopping: Arc::new(AtomicBool::new(stopping)),
            broker_epoch: Arc::new(AtomicI64::new(-1)),
            heartbeat_interval,
            request_timeout,
        };
        let args = (sender, args, lifecycle.clone());
        let house = spawn_root::<House>(&world, "house", args).unwrap();
        Scene {
            house,
            lifecycle,
            state: states,
            has_served,
            refusal: refusals,
            asked,
            images,
            followed: follows,
        }
    }

    async fn asked(&mut self) -> (ControllerRequest, Reply<ControllerAnswer>) {
        let asked = tokio::time::timeout(LIMIT, self.asked.recv()).await;
        match asked.unwrap().unwrap() {
            ControllerMsg::Request { request, reply, .. } => (*request, reply),
            _ => panic!("no request"),
        }
    }

    /// Registers it under this epoch.
    async fn register(&mut self, broker_epoch: i64) {
        let (ControllerRequest::RegisterBroker { request, .. }, reply) = self.asked().await else {
            panic!("no registration")
        };
        assert_eq!(request.incarnation_id, INCARNATION);
        let response = BrokerRegistrationResponse { broker_epoch, ..Default::default() };
        let reply_with = ControllerReply::RegisterBroker(response);
        reply.send(Ok(Committed { reply: reply_with, offset: broker_epoch }));
    }

    /// The next heartbeat's epoch, and who waits for its answer.
    async fn heartbeat(&mut self) -> (i64, Reply<ControllerAnswer>) {
        match self.asked().await {
            (ControllerRequest::BrokerHeartbeat(beat), reply) => (beat.broker_epoch, reply),
            (other, _) => panic!("no heartbeat: {other:?}"),
        }
    }

    async fn end(self) {
        self.house.stop().await;
    }
}

fn answer(reply: Reply<ControllerAnswer>, error: ErrorCode) {
    let response = BrokerHeartbeatResponse { error_code: error.code(), ..Default::default() };
    let reply_with = ControllerReply::BrokerHeartbeat(response);
    reply.send(Ok(Committed { reply: reply_with, offset: -1 }));
}

/// In which the broker is registered, with this epoch by this process, and the log reaches that far.
fn image(broker_epoch: i64, incarnation_id: Uuid, log_dirs: Vec<Uuid>) -> MetadataImage {
    let mut image = MetadataImage::default();
    let level = FeatureLevelRecord {
        name: "metadata.version".to_owned(),
        feature_level: 33,
        ..Default::default()
    };
    image.replay(&MetadataRecord::FeatureLevel(level), 0, 1).unwrap();
    let record = RegisterBrokerRecord {
        broker_id: NODE,
        broker_epoch,
        incarnation_id,
        log_dirs,
        ..Default::default()
    };
    image.replay(&MetadataRecord::RegisterBroker(record), broker_epoch, 1).unwrap();
    image
}

#[tokio::test]
async fn images_are_followed_from_the_registration_of_this_process_on() {
    let dirs = || vec![Uuid([1; 16])];
    let mut scene = Scene::new(image(5, OTHER, dirs()), NEVER, LIMIT);
    scene.register(7).await;
    // Registered, it has looked at what is known of the metadata.
    let (epoch, _waits) = scene.heartbeat().await;
    assert_eq!(epoch, 7);
    assert_eq!(scene.followed.get().broker(NODE), None);
    scene.images.publish(image(7, INCARNATION, dirs()));
    tokio::time::timeout(LIMIT, scene.followed.changed()).await.unwrap();
    assert_eq!(scene.followed.get().broker(NODE).map(|broker| broker.epoch), Some(7));
    scene.end().await;
}

#[tokio::test]
async fn a_heartbeat_that_is_not_answered_is_not_waited_for() {
    let mut scene = Scene::new(MetadataImage::default(), NEVER, SOON);
    let mut unanswered = Vec::new();
    scene.register(7).await;
    for _ in 0..3 {
        unanswered.push(scene.heartbeat().await);
    }
    scene.end().await;
}

/// It is by the connection of the heartbeats that a new controller hears of this process's end.
#[tokio::test]
async fn a_heartbeat_that_finds_no_controller_is_sent_again_before_its_time() {
    let mut scene = Scene::new(MetadataImage::default(), NEVER, LIMIT);
    scene.register(7).await;
    for _ in 0..3 {
        let (epoch, reply) = scene.heartbeat().await;
        assert_eq!(epoch, 7);
        reply.send(Err(Unavailable::NotController));
    }
    scene.end().await;
}

#[tokio::test]
async fn who_was_unregistered_registers_anew_and_who_was_replaced_does_not() {
    let dirs = || vec![Uuid([1; 16])];
    let mut scene = Scene::new(image(5, OTHER, dirs()), SOON, LIMIT);
    scene.register(7).await;
    scene.images.publish(image(9, OTHER, dirs()));
    for _ in 0..3 {
        let (epoch, reply) = scene.heartbeat().await;
        assert_eq!(epoch, 7);
        answer(reply, ErrorCode::StaleBrokerEpoch);
    }
    let (_, reply) = scene.heartbeat().await;
    let mut gone = image(9, OTHER, dirs());
    gone.brokers.remove_mut(&NODE);
    scene.images.publish(gone);
    answer(reply, ErrorCode::StaleBrokerEpoch);
    scene.register(11).await;
    assert_eq!(scene.heartbeat().await.0, 11);
    scene.end().await;
}

#[tokio::test]
async fn directories_are_told_once_metadata_version_has_a_place_for_them() {
    let mut scene = Scene::new(MetadataImage::default(), SOON, LIMIT);
    scene.register(7).await;
    let (_, reply) = scene.heartbeat().await;
    scene.images.publish(image(7, INCARNATION, Vec::new()));
    answer(reply, ErrorCode::None);
    loop {
        match scene.asked().await {
            (ControllerRequest::BrokerHeartbeat(_), reply) => answer(reply, ErrorCode::None),
            (ControllerRequest::RegisterBroker { request, .. }, _) => {
                assert_eq!(request.incarnation_id, INCARNATION);
                assert_eq!(request.log_dirs.len(), 1);
                break;
            }
            (other, _) => panic!("{other:?}"),
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn one_that_is_fenced_again_has_served_all_the_same() {
    let mut scene = Scene::new(MetadataImage::default(), SOON, LIMIT);
    scene.register(7).await;
    for (is_fenced, state, has_served) in [
        (true, LifecycleState::Fenced, false),
        (false, LifecycleState::Serving, true),
        (true, LifecycleState::Fenced, true),
    ] {
        let (_, reply) = scene.heartbeat().await;
        let response = BrokerHeartbeatResponse { is_fenced, ..Default::default() };
        let reply_with = ControllerReply::BrokerHeartbeat(response);
        reply.send(Ok(Committed { reply: reply_with, offset: -1 }));
        scene.state.until(|now| *now == state).await;
        assert_eq!(scene.has_served.load(Ordering::Acquire), has_served, "{state:?}");
    }
    scene.end().await;
}

/// The clock jumps ahead whenever all wait.
#[tokio::test(start_paused = true)]
async fn a_broker_that_stops_waits_for_a_controller_that_answers_and_for_no_other() {
    for answers in [true, false] {
        let mut scene = Scene::new(MetadataImage::default(), NEVER, LIMIT);
        scene.register(7).await;
        let (_, reply) = scene.heartbeat().await;
        answer(reply, ErrorCode::None);
        scene.state.until(|state| *state == LifecycleState::Fenced).await;
        scene.lifecycle.send(LifecycleMsg::ShutDown).await.unwrap();
        let began = tokio::time::Instant::now();
        while began.elapsed() < 4 * UNHEARD && *scene.state.get() != LifecycleState::Released {
            let (_, reply) = scene.heartbeat().await;
            match answers {
                true => answer(reply, ErrorCode::None),
                false => reply.send(Err(Unavailable::NotController)),
            }
        }
        assert_eq!(*scene.state.get() == LifecycleState::Released, !answers);
        // What it had said before may be heard at first.
        assert_eq!(began.elapsed() < 3 * UNHEARD, !answers, "{:?}", began.elapsed());
        if answers {
            // Of a registration that another has replaced nothing is led.
            let (_, reply) = scene.heartbeat().await;
            answer(reply, ErrorCode::StaleBrokerEpoch);
            scene.state.until(|state| *state == LifecycleState::Released).await;
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn an_actor_that_starts_anew_while_the_node_stops_asks_to_be_let_go() {
    let mut scene = Scene::of(MetadataImage::default(), NEVER, LIMIT, true);
    scene.register(7).await;
    match scene.asked().await {
        (ControllerRequest::BrokerHeartbeat(beat), _) => assert!(beat.want_shut_down),
        (other, _) => panic!("no heartbeat: {other:?}"),
    }
    scene.end().await;
}

/// An operator may take what stands in the way out of it; until then it is said.
#[tokio::test]
async fn a_refused_registration_is_tried_again_and_its_reason_known() {
    let mut scene = Scene::new(image(5, OTHER, Vec::new()), SOON, LIMIT);
    let mut level = FeatureLevelRecord { name: "group.version".to_owned(), ..Default::default() };
    level.feature_level = 99;
    let mut known = image(5, OTHER, Vec::new());
    known.replay(&MetadataRecord::FeatureLevel(level), 6, 1).unwrap();
    let copied_from = RegisterBrokerRecord {
        broker_id: NODE + 1,
        broker_epoch: 7,
        log_dirs: vec![Uuid([1; 16])],
        ..Default::default()
    };
    known.replay(&MetadataRecord::RegisterBroker(copied_from), 7, 1).unwrap();
    scene.images.publish(known);
    // More often than a supervisor would bear.
    let errors = [ErrorCode::UnsupportedVersion; 8].into_iter();
    for error in errors.chain([ErrorCode::InconsistentClusterId, ErrorCode::InvalidRegistration]) {
        let (ControllerRequest::RegisterBroker { .. }, reply) = scene.asked().await else {
            panic!("no registration")
        };
        let error_code = error.code();
        let response = BrokerRegistrationResponse { error_code, ..Default::default() };
        let reply_with = ControllerReply::RegisterBroker(response);
        reply.send(Ok(Committed { reply: reply_with, offset: -1 }));
        let named = |why: &String| why.starts_with(error.name());
        let why = tokio::time::timeout(LIMIT, scene.refusal.until(named)).await.unwrap();
        let what = match error {
            ErrorCode::UnsupportedVersion => "group.version is at level 99",
            ErrorCode::InconsistentClusterId => "meta.properties in each log directory",
            _ => &format!("/meta.properties is that of a directory of broker {}", NODE + 1),
        };
        assert!(why.contains(what), "{why}");
    }
    let (ControllerRequest::RegisterBroker { .. }, reply) = scene.asked().await else {
        panic!("no registration")
    };
    reply.send(Err(Unavailable::Unwritable));
    let named = |why: &String| why.contains("cannot hold");
    tokio::time::timeout(LIMIT, scene.refusal.until(named)).await.unwrap();
    scene.register(7).await;
    assert_eq!(scene.heartbeat().await.0, 7);
    assert_eq!(*scene.refusal.get(), "");
    scene.end().await;
}
