//! A controller that decides with the real machine, and whose log is a list: what it decides is committed at once.

use std::sync::{Arc, Mutex};

use machines::controller::{Controller, ControllerConfig, ControllerEvent};
use machines::metadata::{MetadataImage, MetadataLoader};
use model::settings::Values;
use quorum::{Committed, ControllerMsg};
use runtime::{
    Actor, Address, Cx, Failure, Outcome, Publisher, Replicated, Root, Supervisor, Ticket, Watch,
    World,
};
use wire::MetadataRecord;

use crate::rig::alone;

/// What is committed, and who is shown it.
pub struct Ledger {
    loader: Mutex<(MetadataLoader, i64)>,
    images: Publisher<MetadataImage>,
}

impl Ledger {
    pub fn new(images: Publisher<MetadataImage>) -> Ledger {
        Ledger { loader: Mutex::new((MetadataLoader::default(), 0)), images }
    }

    /// Replays the records and shows the image. Answers the offset of the last record there is.
    pub fn publish(&self, records: impl IntoIterator<Item = MetadataRecord>) -> i64 {
        let mut guard = self.loader.lock().unwrap();
        let (loader, offset) = &mut *guard;
        for record in records {
            loader.replay(&record, *offset, 1).unwrap();
            *offset += 1;
        }
        self.images.publish(loader.image().clone());
        *offset - 1
    }

    fn image(&self) -> MetadataImage {
        self.loader.lock().unwrap().0.image().clone()
    }
}

/// The controller of such a ledger.
pub async fn deciding(
    world: &World,
    ledger: &Arc<Ledger>,
    settings: &Watch<Values>,
) -> (Address<ControllerMsg>, Root<Supervisor>) {
    let args = (ledger.clone(), settings.get());
    alone::<DecidingController>(world, "controller", args).await
}

pub struct DecidingController {
    ledger: Arc<Ledger>,
    config: ControllerConfig,
}

impl Actor for DecidingController {
    const KIND: &'static str = "controller";
    type Msg = ControllerMsg;
    type Args = (Arc<Ledger>, Arc<Values>);

    async fn start(_cx: &mut Cx<Self>, (ledger, settings): Self::Args) -> Result<Self, Failure> {
        let config = ControllerConfig {
            node_id: crate::rig::NODE,
            cluster_id: "rig".into(),
            quorum_ids: vec![crate::rig::NODE],
            settings: (*settings).clone(),
            bootstrap: Vec::new(),
        };
        Ok(DecidingController { ledger, config })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, message: ControllerMsg) -> Outcome {
        if let ControllerMsg::Request { request, reply, .. } = message {
            let machine = Controller::from_image(self.config.clone(), self.ledger.image());
            let mut decision = machine.decide(cx.world().now(), Ticket(0), *request);
            let records = decision.events.into_iter().filter_map(|event| match event {
                ControllerEvent::Record(record) => Some(record),
                _ => None,
            });
            let offset = self.ledger.publish(records);
            let (_, answer) = decision.replies.pop().unwrap();
            reply.send(Ok(Committed { reply: answer, offset }));
        }
        Ok(())
    }
}
