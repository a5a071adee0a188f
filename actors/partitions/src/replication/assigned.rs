//! What a fetcher is to fetch.

use std::sync::Arc;

use log::LogView;
use model::LeaderEpoch;
use runtime::Waiter;

use super::Key;
use crate::handle::{PartitionHandle, Standing};

/// A partition that is to be fetched in one leader epoch.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    pub(super) handle: Arc<PartitionHandle>,
    pub(super) leader_epoch: LeaderEpoch,
}

impl PartialEq for Assigned {
    fn eq(&self, other: &Assigned) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle) && self.leader_epoch == other.leader_epoch
    }
}

impl Assigned {
    pub(super) fn key(&self) -> Key {
        (self.handle.topic_id, self.handle.topic_partition.partition)
    }

    /// The log, once its actor follows in this epoch.
    pub(super) fn view(&self) -> Option<Arc<LogView>> {
        match &*self.handle.standing() {
            Standing::Follower(serving) if serving.leader_epoch == self.leader_epoch => {
                Some(serving.view.clone())
            }
            _ => None,
        }
    }

    /// Whether it will not be followed in this epoch any more.
    fn is_over(&self) -> bool {
        self.handle.is_deleted() || self.handle.wanted_epoch() > self.leader_epoch
    }
}

/// Ends once it follows in its epoch, or never will.
pub(super) async fn is_ready(assigned: &Assigned) -> bool {
    let mut waiter = Waiter::new();
    loop {
        waiter.on(assigned.handle.pulse());
        if assigned.is_over() {
            return false;
        }
        if assigned.view().is_some() {
            return true;
        }
        waiter.wait().await;
    }
}
