//! How others reach the quorum's part of this node.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Address, Held, Reply, Watch};

use crate::history::LogPlace;
use crate::raft::{Asked, RaftMsg, RaftStatus};
use crate::rpc::{QuorumRequest, QuorumResponse};

/// Raft, and what it tells of the leader.
#[derive(Clone)]
pub struct QuorumHandle {
    raft: Address<RaftMsg>,
    status: Watch<RaftStatus>,
}

impl QuorumHandle {
    pub fn new(raft: Address<RaftMsg>, status: Watch<RaftStatus>) -> QuorumHandle {
        QuorumHandle { raft, status }
    }

    pub fn status(&self) -> Arc<RaftStatus> {
        self.status.get()
    }

    /// Answers a request of the quorum's protocol that came by `listener`. None where raft is down.
    pub async fn serve(
        &self,
        request: QuorumRequest,
        version: i16,
        listener: &str,
        held: Option<Held>,
    ) -> Option<QuorumResponse> {
        let (reply, answer) = Reply::new();
        let listener = listener.to_owned();
        let asked = Box::new(Asked { request, version, listener, reply, held });
        self.raft.send(RaftMsg::Serve { asked }).await.ok()?;
        answer.get().await.ok()
    }

    /// Where the metadata log can be read; none where raft is down, or too busy for so long.
    pub async fn look(&self, limit: Duration) -> Option<LogPlace> {
        self.raft.ask(limit, |reply| RaftMsg::Look { reply }).await.ok()
    }

    /// Leads no more, and waits until the other voters know, at most this long.
    pub async fn stand_down(&self, limit: Duration) {
        // Who does not hear of it finds out by itself.
        let _ = self.raft.ask(limit, |reply| RaftMsg::StandDown { reply }).await;
    }
}
