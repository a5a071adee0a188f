//! kraft.version is the quorum's own: raft is asked for another level before the controller answers.

use std::time::Duration;

use machines::controller::{ControllerRequest, QuorumAnswer};
use runtime::{Cx, Held, Reply};

use super::{ControllerActor, ControllerAnswer, ControllerMsg, Unavailable};
use crate::raft::RaftMsg;

/// Raft is of this node, and waits for nobody.
const LIMIT: Duration = Duration::from_secs(30);

impl ControllerActor {
    /// The request comes back with raft's answer.
    pub(super) fn ask_quorum(
        &self,
        cx: &mut Cx<Self>,
        level: i16,
        mut request: ControllerRequest,
        reply: Reply<ControllerAnswer>,
        held: Option<Held>,
    ) {
        let (raft, me, epoch) = (self.args.raft.clone(), cx.me().clone(), self.active);
        cx.spawn_task(async move {
            let (Some(epoch), ControllerRequest::UpdateFeatures { request: asked, quorum, .. }) =
                (epoch, &mut request)
            else {
                return;
            };
            let validate_only = asked.validate_only;
            let upgrade = |reply| RaftMsg::Upgrade { epoch, level, validate_only, reply };
            let Ok(Ok(refusal)) = raft.ask(LIMIT, upgrade).await else {
                reply.send(Err(Unavailable::NotController));
                return;
            };
            quorum.answer = Some(QuorumAnswer { epoch, refusal });
            let request = Box::new(request);
            // One that has ended has nobody to answer to.
            let _ = me.send(ControllerMsg::Request { request, reply, held }).await;
        });
    }
}
