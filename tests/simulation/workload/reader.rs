//! Reads a partition, as a consumer that follows it and as one that reads it whole.

use std::time::Duration;

use model::ErrorCode;
use wire::batch::batches;
use wire::fetch_request::{FetchPartition, FetchTopic};
use wire::fetch_response::PartitionData;
use wire::{FetchRequest, FetchResponse};

use super::{Client, TOPIC, partition};
use crate::wire_client::{BACKOFF, WireClient};

const FETCH_VERSION: i16 = 12;
const MAX_WAIT: Duration = Duration::from_millis(500);
/// More than any batch holds.
const RECORDS_LIMIT: usize = 1 << 20;

fn request(index: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition: index,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 4096,
        ..Default::default()
    };
    let topic =
        FetchTopic { topic: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: MAX_WAIT.as_millis() as i32,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// What a fetch brought: the records from an offset on, without a gap.
fn records(data: &PartitionData, from: i64) -> Result<Vec<String>, String> {
    let Some(bytes) = data.records.as_ref().and_then(|records| records.as_bytes()) else {
        return Ok(Vec::new());
    };
    let mut values = Vec::new();
    for batch in batches(bytes.clone()) {
        let batch = batch.map_err(|error| error.to_string())?;
        batch.verify_crc().map_err(|error| error.to_string())?;
        for record in batch.records(RECORDS_LIMIT).map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            let next = from + values.len() as i64;
            if record.offset < next && values.is_empty() {
                continue;
            }
            if record.offset != next {
                return Err(format!("offset {} where {next} comes next", record.offset));
            }
            let value = record.value.unwrap_or_default();
            values.push(String::from_utf8_lossy(&value).into_owned());
        }
    }
    Ok(values)
}

fn only(response: &FetchResponse) -> Option<&PartitionData> {
    response.responses.first()?.partitions.first()
}

/// Follows the end of a partition until the scenario is over.
pub async fn follow(client: Client, index: i32) {
    let mut wire = WireClient::new(&client.world, "follower");
    let mut offset = 0;
    let mut since = 0;
    while !client.is_over() {
        if !wire.connect().await {
            client.world.sleep(BACKOFF).await;
            continue;
        }
        let losses = client.history.losses();
        let Ok(response) = wire.ask(&request(index, offset), FETCH_VERSION).await else { continue };
        let Some(data) = only(&response) else { continue };
        match ErrorCode::from_code(data.error_code) {
            ErrorCode::None => match records(data, offset) {
                Ok(values) => {
                    for value in &values {
                        client.history.seen("read", &partition(index), offset, value, losses);
                        offset += 1;
                    }
                    since = losses;
                }
                Err(what) => client.history.violation(format!("read from {index}: {what}")),
            },
            ErrorCode::OffsetOutOfRange if client.history.may_have_lost(since) => offset = 0,
            error if error.retriable() && error != ErrorCode::OffsetOutOfRange => {
                client.world.sleep(BACKOFF).await;
            }
            error => {
                client.history.violation(format!("read {index} from {offset}: {error:?}"));
                client.world.sleep(BACKOFF).await;
            }
        }
    }
}

/// Everything that a partition holds, when nothing disturbs it any more.
pub async fn read_all(client: &Client, index: i32) -> Vec<String> {
    let mut wire = WireClient::new(&client.world, "last reader");
    let mut all = Vec::new();
    loop {
        let from = all.len() as i64;
        let response = wire.ask_until_answered(&request(index, from), FETCH_VERSION).await;
        let Some(data) = only(&response) else { continue };
        if data.error_code != 0 {
            client.trace.note(format_args!("last read of {index}: {}", data.error_code));
            client.world.sleep(BACKOFF).await;
            continue;
        }
        match records(data, from) {
            Ok(values) => all.extend(values),
            Err(what) => {
                client.history.violation(format!("last read of {index}: {what}"));
                return all;
            }
        }
        if all.len() as i64 >= data.high_watermark {
            return all;
        }
    }
}
