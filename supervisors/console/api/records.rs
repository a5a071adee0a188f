//! Records shown, and one produced.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use client::ProducerRecord;
use serde_json::{Map, Value, json};
use wire::batch::Record;

use super::cluster::{EARLIEST, LATEST, REQUEST};
use super::query::Asked;
use super::reading::{FETCH, Read, Wanted, read};
use super::{All, Answer, ApiError, Json, Seen, in_time};

/// Of a key, a value or a header; one record alone is shown with more.
const SHOWN: usize = 1 << 10;
const SHOWN_OF_ONE: usize = 256 << 10;
/// Headers of a record.
const HEADERS: usize = 64;

/// `from`: an offset, `earliest`, `latest` (the last page), or `time` with `at` in Unix milliseconds.
pub(super) async fn read_from(
    seen: &Seen,
    asked: &Asked,
    topic: &str,
    partition: i32,
) -> Result<i64, ApiError> {
    let at = [(topic.to_owned(), partition)];
    let limit = i64::try_from(asked.page()?.limit).unwrap_or(0);
    let untold = || ApiError::elsewhere("the partition's leader does not tell its offsets");
    // By time, logs are looked into.
    let told = async |timestamp| {
        let offsets = seen.cluster.offsets(&at, timestamp, REQUEST).await;
        offsets.get(&at[0]).copied()
    };
    let ends = async || {
        let (start, end) = seen.cluster.ends(&at).await;
        let both = start.get(&at[0]).copied().zip(end.get(&at[0]).copied());
        both.ok_or_else(untold)
    };
    match asked.text("from").unwrap_or("latest") {
        "earliest" => told(EARLIEST).await.ok_or_else(untold),
        "latest" => {
            let (start, end) = ends().await?;
            Ok((end - limit).max(start))
        }
        "time" => {
            let ms: i64 = asked.number("at")?.unwrap_or(0);
            // Where nothing is that new, the end.
            match told(ms.max(0)).await.filter(|offset| *offset >= 0) {
                Some(offset) => Ok(offset),
                None => told(LATEST).await.ok_or_else(untold),
            }
        }
        offset => {
            let offset = offset.parse::<i64>().map_err(|_| ApiError::wrong("from is no offset"))?;
            let (start, end) = ends().await?;
            Ok(offset.clamp(start, end))
        }
    }
}

pub(super) async fn read_records(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page, search) = (all.meant(&asked)?, asked.page()?, asked.search()?);
    let (topic, partition) = (asked.needed("topic")?, asked.number("partition")?.unwrap_or(0));
    let answer = async {
        let from = read_from(seen, &asked, topic, partition).await?;
        let until = asked.number("until")?.unwrap_or(i64::MAX);
        let search = search.as_bytes();
        let limit = page.limit;
        let wanted = Wanted { topic, partition, from, until, limit, search, bytes: FETCH };
        let most = if limit == 1 { SHOWN_OF_ONE } else { SHOWN };
        let found = read(seen, &wanted, |record| shown(record, most)).await?;
        let Read { records, next, scanned, at_end, start, end, stopped, .. } = found;
        let stopped = stopped.map(|stopped| json!({ "at": stopped.at, "why": stopped.why }));
        Ok(Json(json!({
            "topic": topic, "partition": partition, "from": from, "next": next, "start": start, "end": end,
            "scanned": scanned, "at_end": at_end, "stopped": stopped, "records": records,
        })))
    };
    in_time(seen, answer).await
}

/// Bytes as they are, up to so many: what they mean is seen by who reads them.
fn hex(bytes: &[u8], most: usize) -> Value {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    let cut = &bytes[..bytes.len().min(most)];
    let text: String = cut.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect();
    json!({ "hex": text, "bytes": bytes.len() })
}

fn shown(record: &Record, most: usize) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .take(HEADERS)
        .map(|header| json!({ "key": hex(&header.key, most), "value": header.value.map(|value| hex(&value, most)) }))
        .collect();
    json!({
        "offset": record.offset, "timestamp": record.timestamp,
        "key": record.key.as_ref().map(|key| hex(key, most)),
        "value": record.value.as_ref().map(|value| hex(value, most)),
        "headers": headers, "header_count": record.headers.len(),
    })
}

/// One record. Only of the console's own pages: browsers name the page that sends something, and a foreign one is refused before.
pub(super) async fn produce(
    State(all): State<Arc<All>>,
    asked: Asked,
    headers: HeaderMap,
    axum::Json(record): axum::Json<Value>,
) -> Answer {
    if !headers.contains_key(ORIGIN) {
        let why = "records are produced by the console's own pages: Origin is missing";
        return Err(ApiError(StatusCode::FORBIDDEN, why.to_owned()));
    }
    let seen = all.meant(&asked)?;
    let record = record.as_object().ok_or_else(|| ApiError::wrong("no record"))?;
    let record = to_produce(record)?;
    let image = seen.image();
    let missing = || ApiError::missing("there is no such topic or partition");
    let topic = image.topics.by_name(&record.topic).ok_or_else(missing)?;
    if record.partition.is_some_and(|partition| topic.partition(partition).is_none()) {
        return Err(missing());
    }
    let producer = seen.cluster.producer()?;
    in_time(seen, async {
        let delivered = producer.send(record).await.await?;
        Ok(Json(json!({ "partition": delivered.partition, "offset": delivered.offset })))
    })
    .await
}

fn to_produce(given: &Map<String, Value>) -> Result<ProducerRecord, ApiError> {
    let topic = given.get("topic").and_then(Value::as_str);
    let topic = topic.ok_or_else(|| ApiError::wrong("topic is missing"))?;
    let partition = match given.get("partition") {
        None | Some(Value::Null) => None,
        Some(id) => {
            let id = id.as_i64().and_then(|id| i32::try_from(id).ok());
            Some(id.ok_or_else(|| ApiError::wrong("partition is not such a number"))?)
        }
    };
    let mut record = ProducerRecord::to(topic);
    record.partition = partition;
    record.key = bytes(given.get("key"), "key")?;
    record.value = bytes(given.get("value"), "value")?;
    let headers = given.get("headers").and_then(Value::as_array).map(Vec::as_slice);
    for header in headers.unwrap_or_default() {
        let key = bytes(header.get("key"), "a header's key")?;
        let key = key.ok_or_else(|| ApiError::wrong("a header has no key"))?;
        record.headers.push((key, bytes(header.get("value"), "a header's value")?));
    }
    Ok(record)
}

/// From hexadecimal digits; null is nothing.
fn bytes(given: Option<&Value>, what: &str) -> Result<Option<Bytes>, ApiError> {
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(None) };
    let wrong = || ApiError::wrong(format!("{what} is not in hexadecimal digits"));
    let text = given.as_str().ok_or_else(wrong)?;
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty()).map(|bytes| Some(bytes.into())).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_there_and_back_as_hexadecimal_digits() {
        let all: Vec<u8> = (0..=255).collect();
        let told = hex(&all, 1000);
        assert_eq!(bytes(Some(&told["hex"]), "it").unwrap(), Some(all.clone().into()));
        assert_eq!(hex(&all, 2), json!({ "hex": "0001", "bytes": 256 }));
        assert_eq!(bytes(Some(&Value::Null), "it").unwrap(), None);
        for wrong in [json!("0"), json!("0g"), json!("é"), json!(7), json!("+1")] {
            assert!(bytes(Some(&wrong), "it").is_err(), "{wrong}");
        }
    }
}
