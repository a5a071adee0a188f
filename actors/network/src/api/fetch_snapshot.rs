//! FetchSnapshot, API key 59.
//!
//! Versions: 0–1 (v1 directory ids and endpoints). Answered by raft.
//! Source: `KafkaRaftClient.handleFetchSnapshotRequest`.

use std::sync::Arc;

use wire::{FetchSnapshotRequest, FetchSnapshotResponse};

use super::{Answering, RequestContext, Staged, quorum};
use crate::Broker;

pub(crate) struct FetchSnapshot;

impl Staged for FetchSnapshot {
    type Request = FetchSnapshotRequest;

    async fn begin(
        broker: &Arc<Broker>,
        cx: RequestContext,
        request: FetchSnapshotRequest,
    ) -> Answering<FetchSnapshotResponse> {
        quorum::ask(broker, cx, request)
    }
}
