//! A leader's dealings with its followers and, about them, with the controller.

use machines::partition::{AlteredIsr, Event, IsrChange, Leadership};
use model::{ErrorCode, NodeId};
use runtime::{Cx, Outcome};

use super::PartitionActor;

/// The controller's answer to a leader that asked for another ISR.
#[derive(Debug)]
pub struct IsrAnswer {
    pub asked: IsrChange,
    pub answer: Result<AlteredIsr, ErrorCode>,
}

impl PartitionActor {
    pub(super) fn lead(&mut self, cx: &Cx<Self>, leadership: Leadership) -> Outcome {
        self.hear_all(cx)?;
        // What followers take comes in buffers that are larger than a producer's, and is seldom read here.
        self.log.keep_recent(Some(self.hosted.recent().clone()));
        self.step(cx, Event::Lead(leadership))?;
        self.show_followers(cx);
        // Of an actor before this one.
        self.hear_all(cx)?;
        // Who waits for followers may have fewer to wait for.
        self.handle.publish();
        // Room for the effects of appends is made with the first of them.
        self.effects = Vec::new();
        Ok(())
    }

    fn hear_all(&mut self, cx: &Cx<Self>) -> Outcome {
        for (replica, state) in self.handle.followers().all() {
            self.step(cx, Event::ReplicaKnown { replica, state })?;
        }
        Ok(())
    }

    pub(super) fn replica_fetched(&mut self, cx: &Cx<Self>, replica: NodeId) -> Outcome {
        match self.handle.followers().take(replica) {
            Some(state) => self.step(cx, Event::ReplicaFetched { replica, state }),
            None => Ok(()),
        }
    }

    pub(super) fn check_isr(&mut self, cx: &Cx<Self>) -> Outcome {
        self.hear_all(cx)?;
        self.step(cx, Event::CheckIsr)
    }

    pub(super) fn ask_for_isr(&mut self, change: IsrChange) {
        tracing::info!(partition = %self.handle.topic_partition, ?change, "another ISR is asked for");
        self.handle.followers().show(&self.machine);
        self.isr_changes.push(self.handle.name(), change);
    }

    pub(super) fn isr_answered(&mut self, cx: &Cx<Self>, answer: IsrAnswer) -> Outcome {
        let IsrAnswer { asked, answer } = answer;
        if let Err(error) = &answer {
            cx.counter("failed_isr_updates").add(1);
            tracing::info!(partition = cx.path(), ?error, "the ISR was not altered");
        }
        let in_sync = |actor: &Self| actor.machine.leadership().map_or(0, |led| led.isr.len());
        let before = in_sync(self);
        self.step(cx, Event::IsrAnswered { asked, answer })?;
        let after = in_sync(self);
        if after != before {
            let counted = if after > before { "isr_expansions" } else { "isr_shrinks" };
            cx.counter(counted).add(1);
        }
        self.show_followers(cx);
        Ok(())
    }

    /// To those who serve fetches, and to whoever counts partitions that lack replicas.
    pub(super) fn show_followers(&self, cx: &Cx<Self>) {
        let followers = self.handle.followers();
        let none_before = followers.is_empty();
        followers.show(&self.machine);
        // A partition of one replica has no numbers of this kind.
        if none_before && followers.is_empty() {
            return;
        }
        let lacks = |led: &Leadership| led.isr.len() < led.replicas.len();
        let under_replicated = self.machine.leadership().is_some_and(lacks);
        cx.gauge("under_replicated").set(i64::from(under_replicated));
        cx.gauge("under_min_isr").set(i64::from(self.machine.is_under_min_isr()));
    }

    /// Of a leader that has followers: who of them is in sync.
    pub(super) fn isr_line(&self) -> String {
        let Some(led) = self.machine.leadership().filter(|led| led.replicas.len() > 1) else {
            return String::new();
        };
        let isr: Vec<String> = led.isr.iter().map(|id| id.to_string()).collect();
        let mut line = format!(", ISR {} of {}", isr.join(","), led.replicas.len());
        if led.isr.len() < led.replicas.len() {
            line.push_str(" UNDER-REPLICATED");
        }
        if self.machine.is_under_min_isr() {
            line.push_str(" UNDER-MIN-ISR");
        }
        line
    }
}
