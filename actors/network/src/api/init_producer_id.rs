//! InitProducerId, API key 22.
//!
//! Versions: 0–5 (v3 a producer that resumes, v4 PRODUCER_FENCED, v5 TRANSACTION_ABORTABLE; v6 is not stable).
//! Source: `KafkaApis.handleInitProducerIdRequest`, `TransactionCoordinator.handleInitProducerId`, `RPCProducerIdManager`.
//! Not supported: transactional ids (no coordinator is available for them).

use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use wire::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Api, RequestContext};
use crate::Broker;

const NONE: i64 = -1;
const NO_EPOCH: i16 = -1;
/// Longer than this nobody waits for the controller.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct InitProducerId;

impl Api for InitProducerId {
    type Request = InitProducerIdRequest;

    async fn handle(
        broker: Arc<Broker>,
        _cx: RequestContext,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        if (request.producer_id == NONE) != (request.producer_epoch == NO_EPOCH) {
            return refuse(ErrorCode::InvalidRequest);
        }
        match request.transactional_id.as_deref() {
            None => {}
            Some("") => return refuse(ErrorCode::InvalidRequest),
            Some(_) => return refuse(ErrorCode::CoordinatorNotAvailable),
        }
        match broker.world.timeout(PATIENCE, broker.producer_ids.next()).await {
            Ok(Ok(id)) => InitProducerIdResponse {
                producer_id: id.0,
                producer_epoch: 0,
                ..Default::default()
            },
            Ok(Err(error)) => {
                tracing::warn!(%error, "no producer ids");
                refuse(ErrorCode::CoordinatorLoadInProgress)
            }
            Err(_) => refuse(ErrorCode::CoordinatorLoadInProgress),
        }
    }
}

fn refuse(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: NONE,
        producer_epoch: NO_EPOCH,
        ..Default::default()
    }
}
