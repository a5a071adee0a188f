//! Reads from one replica by requests of its own making: a replica shows nothing beyond its high watermark, and no gap.

use bytes::Bytes;
use model::Uuid;
use ottla::client::{Connection, RequestError};
use wire::FetchRequest;
use wire::batch::batches;
use wire::fetch_request::{FetchPartition, FetchTopic};

use super::clients::Tools;
use super::{LIMIT, PARTITIONS};

/// Follows each partition on one node, from its own offset.
pub async fn run(tools: Tools, name: String, id: Uuid) {
    let mut next = [0; PARTITIONS as usize];
    while !tools.story.is_calm() {
        if let Ok(connection) = tools.connect(&name).await {
            while read_each(&tools, &connection, id, &mut next).await && !tools.story.is_calm() {
                tools.sleep_ms(100).await;
            }
        }
        tools.sleep_ms(100).await;
    }
}

/// False where the connection is of no more use.
async fn read_each(tools: &Tools, connection: &Connection, id: Uuid, next: &mut [i64]) -> bool {
    let from: Vec<(i32, i64)> = (0..).zip(next.iter().copied()).collect();
    let Ok(found) = read_several(connection, id, &from).await else { return false };
    for (partition, read) in found {
        let Some(next) = next.get_mut(partition as usize) else { continue };
        let found = match records(&read.bytes, *next) {
            Ok(found) => found,
            Err(what) => {
                tools.story.wrong("a gap", format_args!("read of {partition}: {what}"));
                return false;
            }
        };
        for (offset, value) in found {
            if offset >= read.high_watermark {
                let end = read.high_watermark;
                tools.story.wrong(
                    "a read beyond the high watermark",
                    format_args!("{partition}@{offset} of {end}"),
                );
            }
            tools.story.read((partition, offset), &value);
            *next = offset + 1;
        }
    }
    true
}

pub struct Read {
    pub bytes: Bytes,
    pub high_watermark: i64,
}

/// None where the replica cannot be read.
pub async fn read(
    connection: &Connection,
    (topic_id, partition): (Uuid, i32),
    offset: i64,
) -> Result<Option<Read>, RequestError> {
    let found = read_several(connection, topic_id, &[(partition, offset)]).await?;
    Ok(found.into_iter().next().map(|(_, read)| read))
}

/// Of those partitions that can be read, each with the offset to read from.
async fn read_several(
    connection: &Connection,
    topic_id: Uuid,
    from: &[(i32, i64)],
) -> Result<Vec<(i32, Read)>, RequestError> {
    let wanted = from.iter().map(|(partition, offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    let topic = FetchTopic { topic_id, partitions: wanted.collect(), ..FetchTopic::default() };
    let request =
        FetchRequest { max_bytes: 1 << 20, topics: vec![topic], ..FetchRequest::default() };
    let answer = connection.request(&request, LIMIT).await?;
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    let found = partitions.filter(|found| found.error_code == 0).map(|found| {
        let bytes = found.records.as_ref().and_then(wire::Records::as_bytes).cloned();
        let (bytes, high_watermark) = (bytes.unwrap_or_default(), found.high_watermark);
        (found.partition_index, Read { bytes, high_watermark })
    });
    Ok(found.collect())
}

/// The records from an offset on, without a gap.
pub fn records(bytes: &Bytes, from: i64) -> Result<Vec<(i64, String)>, String> {
    let mut found: Vec<(i64, String)> = Vec::new();
    for batch in batches(bytes.clone()) {
        let batch = batch.map_err(|error| error.to_string())?;
        batch.verify_crc().map_err(|error| error.to_string())?;
        for record in batch.records(1 << 20).map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            let next = from + found.len() as i64;
            if record.offset < next && found.is_empty() {
                continue;
            }
            if record.offset != next {
                return Err(format!("offset {} where {next} comes next", record.offset));
            }
            let value = record.value.unwrap_or_default();
            found.push((record.offset, String::from_utf8_lossy(&value).into_owned()));
        }
    }
    Ok(found)
}
