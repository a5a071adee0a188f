//! The shell around the controller, with the test in raft's place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use disk::{SimDisk, SimDiskOptions};
use machines::controller::{ControllerConfig, ControllerReply, ControllerRequest};
use machines::metadata::{
    METADATA_VERSION, MetadataImage, MetadataVersion, bootstrap_records, initial_feature_levels,
    level_among,
};
use model::settings::Values;
use runtime::{
    Actor, Address, Answer, ChildSpec, Cx, Failure, Handles, Outcome, Reply, Root, World,
    spawn_root, watch,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wire::controller_registration_request::Listener;
use wire::{ControllerRegistrationRequest, MetadataRecord, UnregisterBrokerRequest};

use super::{ControllerActor, ControllerAnswer, ControllerArgs, ControllerMsg, Unavailable};
use crate::raft::{RaftError, RaftEvent, RaftMsg, Sink};

const LIMIT: Duration = Duration::from_secs(60);

/// Hands on what raft is told.
struct Told(UnboundedSender<RaftMsg>);

impl Actor for Told {
    const KIND: &'static str = "told";
    type Msg = RaftMsg;
    type Args = UnboundedSender<RaftMsg>;

    async fn start(_cx: &mut Cx<Self>, told: Self::Args) -> Result<Self, Failure> {
        Ok(Told(told))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, msg: RaftMsg) -> Outcome {
        let _ = self.0.send(msg);
        Ok(())
    }
}

/// Raft, as the test has it, and the controller.
struct House(Address<ControllerMsg>);

#[derive(Clone)]
struct HouseArgs {
    told: UnboundedSender<RaftMsg>,
    config: ControllerConfig,
}

impl Actor for House {
    const KIND: &'static str = "house";
    type Msg = Asks;
    type Args = HouseArgs;

    async fn start(cx: &mut Cx<Self>, args: HouseArgs) -> Result<Self, Failure> {
        let HouseArgs { told, config } = args;
        let raft = cx.spawn::<Told>("raft", ChildSpec::permanent(), told)?;
        raft.started().await?;
        let settled = Arc::new(watch(MetadataImage::default()).0);
        let args = ControllerArgs { config, raft, settled, fast_failover: false };
        Ok(House(cx.spawn::<ControllerActor>("controller", ChildSpec::permanent(), args)?))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, Asks::Controller(reply): Asks) -> Outcome {
        reply.send(self.0.clone());
        Ok(())
    }
}

enum Asks {
    Controller(Reply<Address<ControllerMsg>>),
}

runtime::messages!(Asks { Controller });

/// Records that were sent to the log, and who waits to hear that they are in it.
struct Sent {
    epoch: i32,
    base_offset: i64,
    records: Vec<MetadataRecord>,
    reply: Reply<Result<i64, RaftError>>,
}

struct Scene {
    world: World,
    house: Root<House>,
    controller: Address<ControllerMsg>,
    told: UnboundedReceiver<RaftMsg>,
    sink: Sink,
}

impl Scene {
    async fn new() -> Scene {
        let disk = SimDisk::new(SimDiskOptions::default()).mount();
        let world = World::real(Handles::current(), disk);
        let (sender, mut told) = unbounded_channel();
        let levels =
            initial_feature_levels(&BTreeMap::new(), false, MetadataVersion::LATEST).unwrap();
        let config = ControllerConfig {
            node_id: 1,
            cluster_id: "cluster".to_owned(),
            quorum_ids: vec![1],
            // No record comes unasked.
            settings: Values::new([("metadata.max.idle.interval.ms", "0")]).unwrap(),
            bootstrap: bootstrap_records(&levels),
        };
        let args = HouseArgs { told: sender, config };
        let house = spawn_root::<House>(&world, "house", args).unwrap();
        house.started().await.unwrap();
        let controller = house.me().ask(LIMIT, Asks::Controller).await.unwrap();
        let Some(RaftMsg::Subscribe { sink }) = told.recv().await else { panic!("no subscriber") };
        controller.started().await.unwrap();
        Scene { world, house, controller, told, sink }
    }

    fn tell(&self, event: RaftEvent) {
        assert!((self.sink)(event));
    }

    async fn sent(&mut self) -> Sent {
        match self.world.timeout(LIMIT, self.told.recv()).await {
            Ok(Some(RaftMsg::Append { epoch, base_offset, values, reply })) => {
                let record = |value| MetadataRecord::decode(value).unwrap().0;
                let records = values.into_iter().map(record).collect();
                Sent { epoch, base_offset, records, reply }
            }
            _ => panic!("nothing is appended"),
        }
    }

    /// It is in the log; the word of it comes before that of its commitment.
    fn append(&self, sent: Sent) -> RaftEvent {
        let next_offset = sent.base_offset + sent.records.len() as i64;
        sent.reply.send(Ok(next_offset));
        RaftEvent::Batch {
            base_offset: sent.base_offset,
            next_offset,
            epoch: sent.epoch,
            timestamp_ms: 0,
            records: sent.records,
            bytes: 1,
            committed: next_offset,
        }
    }

    fn ask(&self, request: ControllerRequest) -> Answer<ControllerAnswer> {
        let (reply, answer) = Reply::new();
        let request = Box::new(request);
        let asked = ControllerMsg::Request { request, reply, held: None };
        self.controller.send_now(asked).unwrap();
        answer
    }

    /// It leads, and what a new cluster begins with is committed.
    async fn lead(&mut self, epoch: i32) {
        self.tell(RaftEvent::Leading { epoch });
        let begun = self.sent().await;
        assert_eq!((begun.epoch, begun.base_offset), (epoch, 0));
        self.tell(self.append(begun));
    }
}

/// Of what directories from before Kafka 4.4 are formatted with, the first snapshot says the voters and `bootstrap.checkpoint` the rest.
#[tokio::test]
async fn a_new_cluster_begins_with_what_its_first_snapshot_says_or_else_its_directory() {
    let level = |level| {
        let levels = BTreeMap::from([(METADATA_VERSION.to_owned(), level)]);
        bootstrap_records(&levels)
    };
    for (said, expected) in [(Vec::new(), 33), (level(30), 30)] {
        let mut scene = Scene::new().await;
        scene.tell(RaftEvent::Bootstrap { records: Arc::new(said) });
        scene.tell(RaftEvent::Leading { epoch: 1 });
        let begun = scene.sent().await.records;
        assert_eq!(level_among(&begun, METADATA_VERSION), Some(expected), "{begun:?}");
        scene.house.stop().await;
    }
}

/// A request that leads to records.
fn register(controller_id: i32) -> ControllerRequest {
    ControllerRequest::RegisterController(ControllerRegistrationRequest {
        controller_id,
        ..Default::default()
    })
}

/// A request that leads to none: there is no such broker.
fn unregister() -> ControllerRequest {
    let request = UnregisterBrokerRequest { broker_id: 77, ..Default::default() };
    ControllerRequest::UnregisterBroker(request)
}

/// Raft tells of who leads once: who stood by for a refusal of an epoch that is over would do so for good.
#[tokio::test]
async fn a_late_refusal_of_an_old_epoch_does_not_end_a_new_one() {
    let mut scene = Scene::new().await;
    scene.tell(RaftEvent::Leading { epoch: 5 });
    let old = scene.sent().await;
    scene.tell(RaftEvent::NotLeading { epoch: 6 });
    scene.tell(RaftEvent::Leading { epoch: 7 });
    let new = scene.sent().await;
    assert_eq!((old.epoch, new.epoch), (5, 7));
    old.reply.send(Err(RaftError::NotLeader { epoch: 5 }));
    let answer = scene.ask(register(3));
    let next = scene.sent().await;
    scene.tell(scene.append(new));
    scene.tell(scene.append(next));
    let reply = answer.get().await.unwrap().unwrap().reply;
    assert!(matches!(reply, ControllerReply::RegisterController(_)), "{reply:?}");
    // A refusal of its own epoch is one.
    let (lost, waiting) = (scene.ask(register(4)), scene.ask(unregister()));
    scene.sent().await.reply.send(Err(RaftError::NotLeader { epoch: 7 }));
    assert_eq!(lost.get().await.unwrap().unwrap_err(), Unavailable::NotController);
    assert_eq!(waiting.get().await.unwrap().unwrap_err(), Unavailable::NotController);
}

#[tokio::test]
async fn a_reply_waits_for_what_was_decided_before_it_and_for_nothing_else() {
    let mut scene = Scene::new().await;
    scene.lead(1).await;
    let first = scene.ask(register(3));
    let sent = scene.sent().await;
    let (base, end) = (sent.base_offset, sent.base_offset + sent.records.len() as i64);
    let committed = scene.append(sent);
    // Decided on what is not committed yet, so it must not leave before that is.
    let second = scene.ask(unregister());
    let third = scene.ask(register(4));
    let later = scene.sent().await;
    assert!(base < end && later.base_offset == end);
    scene.tell(committed);
    let offsets = [first.get().await, second.get().await].map(|a| a.unwrap().unwrap().offset);
    assert_eq!(offsets, [end - 1, end - 1]);
    scene.tell(scene.append(later));
    assert_eq!(third.get().await.unwrap().unwrap().offset, end);
    scene.house.stop().await;
}

/// Of its failure the node would die, in the end: anyone may ask for such a thing.
#[tokio::test]
async fn what_no_record_can_hold_is_refused_and_changes_nothing() {
    let mut scene = Scene::new().await;
    scene.lead(1).await;
    let listening_on = |hosts: &[String]| {
        let listener = |host: &String| Listener { host: host.clone(), ..Default::default() };
        ControllerRequest::RegisterController(ControllerRegistrationRequest {
            controller_id: 3,
            listeners: hosts.iter().map(listener).collect(),
            ..Default::default()
        })
    };
    let (long, many) = (["h".repeat(32_768)], vec!["h".repeat(32_000); 270]);
    for request in [listening_on(&long), listening_on(&many)] {
        let answer = scene.ask(request).get().await.unwrap();
        assert_eq!(answer.unwrap_err(), Unavailable::Unwritable);
    }
    let next = scene.ask(register(3));
    let sent = scene.sent().await;
    assert_eq!(sent.records.len(), 1);
    scene.tell(scene.append(sent));
    assert!(next.get().await.unwrap().is_ok());
    scene.house.stop().await;
}

#[tokio::test]
async fn replies_whose_records_may_be_lost_say_that_it_is_not_the_controller() {
    let mut scene = Scene::new().await;
    let answer = scene.ask(unregister()).get().await.unwrap();
    assert_eq!(answer.unwrap_err(), Unavailable::NotController, "it does not lead yet");
    scene.lead(1).await;
    let waiting = [scene.ask(register(3)), scene.ask(unregister())];
    let sent = scene.sent().await;
    scene.tell(RaftEvent::NotLeading { epoch: 2 });
    for answer in waiting {
        assert_eq!(answer.get().await.unwrap().unwrap_err(), Unavailable::NotController);
    }
    // What the machine made of them is void.
    scene.tell(RaftEvent::Leading { epoch: 3 });
    let again = scene.ask(register(3));
    let resent = scene.sent().await;
    assert_eq!((resent.epoch, resent.base_offset), (3, sent.base_offset));
    scene.tell(scene.append(resent));
    assert!(again.get().await.unwrap().is_ok());
}

/// Records of raft itself may come between what the controller knew and what it decided on that.
#[tokio::test]
async fn a_reply_waits_for_records_that_stand_behind_those_of_raft() {
    let mut scene = Scene::new().await;
    scene.lead(1).await;
    let answer = scene.ask(register(3));
    let mut sent = scene.sent().await;
    let base_offset = sent.base_offset;
    sent.base_offset += 2;
    let (next_offset, end) = (sent.base_offset, sent.base_offset + sent.records.len() as i64);
    scene.tell(RaftEvent::Batch {
        base_offset,
        next_offset,
        epoch: 1,
        timestamp_ms: 0,
        records: Vec::new(),
        bytes: 1,
        committed: next_offset,
    });
    scene.tell(scene.append(sent));
    assert_eq!(answer.get().await.unwrap().unwrap().offset, end - 1);
    scene.house.stop().await;
}
