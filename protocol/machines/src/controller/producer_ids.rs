//! AllocateProducerIds: a broker's next block of producer ids.

use model::ErrorCode;
use wire::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, MetadataRecord, ProducerIdsRecord,
};

use super::Controller;

const BLOCK: i32 = 1000;

impl Controller {
    pub(super) fn allocate_producer_ids(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> (Vec<MetadataRecord>, AllocateProducerIdsResponse) {
        let refused = |code: ErrorCode| {
            (
                Vec::new(),
                AllocateProducerIdsResponse { error_code: code.code(), ..Default::default() },
            )
        };
        if let Err(error) = self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            return refused(error.code());
        }
        let first = self.image().next_producer_id.max(0);
        let Some(next) = first.checked_add(i64::from(BLOCK)) else {
            return refused(ErrorCode::UnknownServerError);
        };
        let record = ProducerIdsRecord {
            broker_id: request.broker_id,
            broker_epoch: request.broker_epoch,
            next_producer_id: next,
            ..Default::default()
        };
        let response = AllocateProducerIdsResponse {
            producer_id_start: first,
            producer_id_len: BLOCK,
            ..Default::default()
        };
        (vec![MetadataRecord::ProducerIds(record)], response)
    }
}
