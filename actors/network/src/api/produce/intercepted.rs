//! What is produced goes through its topic's interceptor, once it is checked and before its leader has it.

use std::time::Duration;

use partitions::PartitionHandle;
use wire::batch::{BatchError, ProduceError, RecordBatch, ValidationRules};
use wire::compression::CompressionError;

use super::refusal::Refusal;
use crate::Broker;
use crate::api::RequestContext;
use crate::intercept::{On, Passed, Passing, Stop, Stopped, Way};

pub(super) struct Produced<'a> {
    pub(super) broker: &'a Broker,
    pub(super) cx: &'a RequestContext,
    pub(super) handle: &'a PartitionHandle,
    pub(super) rules: ValidationRules,
    pub(super) until: Duration,
}

impl Produced<'_> {
    pub(super) async fn pass(
        &self,
        stop: &Stop,
        batch: RecordBatch,
        log_start: i64,
    ) -> Result<RecordBatch, Refusal> {
        let (at, rules) = (&self.handle.topic_partition, &self.rules);
        let passing = Passing {
            world: &self.broker.world,
            memory: &self.broker.intercepted_batches,
            until: self.until,
            limit: rules.max_rebuilt_size,
            compression: rules.compression,
            needs_keys: rules.compacted,
        };
        let way = Way {
            on: On::Produce,
            topic: at.topic.as_str().into(),
            partition: at.partition,
            client_id: self.cx.client_id.clone(),
        };
        let refused = |error| Refusal::Batch { error, log_start };
        match stop.pass(passing, way, &batch).await {
            Ok(Passed::Unchanged) => Ok(batch),
            Ok(Passed::Changed(batch)) if batch.size() > rules.max_batch_size => {
                let (size, max) = (batch.size(), rules.max_batch_size);
                Err(refused(ProduceError::TooLarge { size, max }))
            }
            Ok(Passed::Changed(batch)) => Ok(batch),
            Err(Stopped::Batch(BatchError::Compression(CompressionError::TooLarge { limit }))) => {
                Err(Refusal::NotHeldWhole { limit })
            }
            Err(Stopped::Batch(error)) => Err(refused(error.into())),
            Err(stopped) => Err(Refusal::Intercepted(stopped)),
        }
    }
}
