//! What a fetcher shows of what it does not fetch.

use super::{Following, ReplicaFetcher, Stage};

/// Of a replica that waits for the throttle, or for room on the disk.
const HELD_BACK: &str = "its fetches are held back by the throttle or a full disk";

/// Of one whose disk hangs, or has no room for what comes with a sync.
const TAKING_IN: &str = "its disk has not taken in what came last";

impl Following {
    /// Why it is not fetched, where something is wrong.
    fn trouble(&self) -> Option<&str> {
        match &self.stage {
            Stage::Waiting | Stage::Fetching => None,
            Stage::Delayed(why) | Stage::Failed(why) => Some(why),
            Stage::HeldBack => Some(HELD_BACK),
            Stage::TakingIn => Some(TAKING_IN),
        }
    }
}

impl ReplicaFetcher {
    pub(super) fn line(&self) -> String {
        let connected = self.leader.as_ref().is_none_or(|leader| leader.connection.is_some());
        let state = if connected { "connected" } else { "not connected" };
        let lag = self.following.values().filter_map(|following| following.lag).max().unwrap_or(0);
        let failed = self.following.values().find_map(|following| match &following.stage {
            Stage::Failed(why) => Some((&following.assigned.handle.topic_partition, why)),
            _ => None,
        });
        let failed = failed.map(|(partition, why)| format!(", FAILED: {partition}: {why}"));
        let held = |following: &&Following| matches!(following.stage, Stage::HeldBack);
        let held = match self.following.values().filter(held).count() {
            0 => String::new(),
            held => format!(", {held} held back by the throttle or a full disk"),
        };
        format!(
            "{state} to broker {}, {} partitions, lag {lag}{held}{}",
            self.args.leader,
            self.following.len(),
            failed.unwrap_or_default()
        )
    }

    /// One that is not followed any more.
    pub(super) fn uncount(&self, before: Option<&Following>) {
        if before.is_some_and(|before| matches!(before.stage, Stage::Failed(_))) {
            self.failed.add(-1);
        }
    }

    /// The leader as a whole is not reached, or is again: then each of its replicas has another reason.
    pub(super) fn set_unreached(&mut self, why: Option<String>) {
        if self.unreached != why {
            self.unreached = why;
            self.unshown.extend(self.following.keys());
        }
    }

    /// Replicas that are not fetched say why, for who asks; those of which nothing has changed are not gone through.
    pub(super) fn show_troubles(&mut self, now_ms: i64) {
        while let Some(key) = self.unshown.pop_first() {
            let Some(following) = self.following.get(&key) else { continue };
            let why = following.trouble().or(self.unreached.as_deref());
            if why.is_none() && following.refused > 0 {
                // It is tried again: what may come of it is no new beginning.
                continue;
            }
            following.assigned.handle.set_trouble(why, now_ms);
        }
    }
}
