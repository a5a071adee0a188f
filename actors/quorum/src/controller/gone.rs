//! Brokers whose processes are gone are fenced at once, long before their sessions end.

use machines::controller::ControllerRequest;
use model::node_config::HostPort;
use model::{Replicated, Ticket};
use runtime::{Cx, Outcome};
use wire::MetadataRecord;

use super::{ControllerActor, ControllerMsg};
use crate::reach::{self, Greeting, Process};

impl ControllerActor {
    /// Looks where the brokers listen that have come to serve: also while it stands by, as it may lead when they die.
    pub(super) fn greet(&mut self, cx: &mut Cx<Self>) {
        if !self.args.fast_failover {
            return;
        }
        for (greeting, addresses) in self.reach.ungreeted(self.committed.image()) {
            for address in addresses {
                Self::look_at(cx, greeting, address, false);
            }
        }
    }

    fn look_at(cx: &mut Cx<Self>, greeting: Greeting, address: HostPort, again: bool) {
        let (world, me) = (cx.world().clone(), cx.me().clone());
        cx.spawn_task(async move {
            let reached = reach::greet(&world, &address, again).await;
            // One that has ended greets anew.
            let _ = me.send(ControllerMsg::Greeted { greeting, address, reached }).await;
        });
    }

    pub(super) fn greeted(
        &mut self,
        cx: &mut Cx<Self>,
        greeting: Greeting,
        address: HostPort,
        reached: bool,
    ) {
        match self.reach.reached(greeting) {
            Some(addresses) if reached => addresses.push(address),
            Some(_) => Self::look_at(cx, greeting, address, true),
            None => {}
        }
    }

    pub(super) fn look_for(&mut self, cx: &mut Cx<Self>, process: Process) {
        let Some(addresses) = self.reach.of(&process).filter(|_| self.active.is_some()) else {
            return;
        };
        let (world, me) = (cx.world().clone(), cx.me().clone());
        cx.spawn_task(async move {
            if reach::is_gone(&world, &addresses).await {
                let _ = me.send(ControllerMsg::Gone(process)).await;
            }
        });
    }

    pub(super) async fn gone(&mut self, cx: &mut Cx<Self>, process: Process) -> Outcome {
        if self.active.is_none() || self.reach.of(&process).is_none() {
            return Ok(());
        }
        let Process { broker_id, broker_epoch } = process;
        tracing::info!(broker_id, broker_epoch, "nothing listens where this broker was: fenced");
        let request = ControllerRequest::BrokerGone { broker_id, broker_epoch };
        let decision = self.machine.decide(cx.world().now(), Ticket(self.next_ticket), request);
        self.next_ticket += 1;
        self.carry_out(cx, decision, None).await
    }
}

pub(super) fn concerns_brokers(record: &MetadataRecord) -> bool {
    matches!(
        record,
        MetadataRecord::RegisterBroker(_)
            | MetadataRecord::UnregisterBroker(_)
            | MetadataRecord::BrokerRegistrationChange(_)
            | MetadataRecord::FenceBroker(_)
            | MetadataRecord::UnfenceBroker(_)
    )
}
