//! Blocks of producer ids, from the controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use machines::controller::{ControllerReply, ControllerRequest};
use model::{ErrorCode, NodeId};
use network::{AllocateBlock, Block, NoBlock};
use quorum::ControllerHandle;
use wire::AllocateProducerIdsRequest;

/// How long the controller may take.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn blocks(
    node: NodeId,
    broker_epoch: Arc<AtomicI64>,
    controller: ControllerHandle,
) -> AllocateBlock {
    Arc::new(move || {
        let request = AllocateProducerIdsRequest {
            broker_id: node.0,
            broker_epoch: broker_epoch.load(Ordering::Acquire),
            ..Default::default()
        };
        let controller = controller.clone();
        Box::pin(async move { allocate(&controller, request).await })
    })
}

async fn allocate(
    controller: &ControllerHandle,
    request: AllocateProducerIdsRequest,
) -> Result<Block, NoBlock> {
    let asked = controller.ask(ControllerRequest::AllocateProducerIds(request), LIMIT).await;
    let committed = asked.map_err(|error| NoBlock::Unreachable(error.to_string()))?;
    let ControllerReply::AllocateProducerIds(response) = committed.reply else {
        return Err(NoBlock::Unreachable("it answered something else".to_owned()));
    };
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {
            let first = response.producer_id_start;
            Ok(first..first.saturating_add(i64::from(response.producer_id_len)))
        }
        error => Err(NoBlock::Refused(error)),
    }
}
