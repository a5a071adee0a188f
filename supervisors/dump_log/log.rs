//! `.log` and `.checkpoint`: batches, and the records in them.

use std::path::Path;

use wire::batch::{
    BatchHeader, ControlRecordType, EndTxnMarker, Record, TimestampType, increment_sequence,
    parse_control_type,
};
use wire::json::Json;
use wire::{
    KRaftVersionRecord, LeaderChangeMessage, Message, Reader, SnapshotFooterRecord,
    SnapshotHeaderRecord, VotersRecord,
};

use super::batches::{Batches, Found};
use super::records::{Shown, show};
use super::{Dump, DumpError, base_offset, suffix};

/// The snapshot that a controller starts from before there is any other.
const BOOTSTRAP: &str = "bootstrap.checkpoint";

impl Dump<'_> {
    pub(super) fn log(&mut self, path: &Path) -> Result<(), DumpError> {
        if suffix(path) == ".log" {
            writeln!(self.out, "Log starting offset: {}", base_offset(path)?)?;
        } else {
            self.snapshot_title(path)?;
        }
        let mut batches = Batches::open(self.disk, path, self.options.max_bytes)?;
        let (mut valid, mut last_offset) = (0, -1);
        while let Some(batch) = batches.next()? {
            self.batch(&batch)?;
            if self.options.deep || self.print_data {
                self.records(path, &batch, &mut last_offset)?;
            }
            valid += batch.size();
        }
        let trailing = batches.end() - valid;
        if trailing > 0 && self.options.max_bytes.is_none() {
            let name = path.file_name().unwrap_or_default().display();
            writeln!(self.out, "Found {trailing} invalid bytes at the end of {name}")?;
        }
        Ok(())
    }

    fn snapshot_title(&mut self, path: &Path) -> Result<(), DumpError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == BOOTSTRAP {
            return Ok(writeln!(self.out, "KRaft bootstrap snapshot")?);
        }
        let id = name.strip_suffix(".checkpoint").and_then(|id| id.split_once('-'));
        let id = id.and_then(|(offset, epoch)| {
            Some((offset.parse::<i64>().ok()?, epoch.parse::<i32>().ok()?))
        });
        let expected = "OFFSET-EPOCH.checkpoint";
        let (offset, epoch) =
            id.ok_or_else(|| DumpError::Name { path: path.to_owned(), expected })?;
        Ok(writeln!(self.out, "Snapshot end offset: {offset}, epoch: {epoch}")?)
    }

    fn batch(&mut self, batch: &Found) -> Result<(), DumpError> {
        let header = &batch.header;
        let valid = batch.is_valid()?;
        let codec = header.codec().map_err(|error| batch.broken(&error))?;
        let delete_horizon = optional(header.delete_horizon_ms());
        write!(
            self.out,
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} ",
            header.base_offset,
            header.last_offset(),
            header.count,
            header.base_sequence,
            header.last_sequence(),
            header.producer_id,
            header.producer_epoch,
        )?;
        write!(
            self.out,
            "partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {delete_horizon} ",
            header.leader_epoch,
            header.is_transactional(),
            header.is_control(),
        )?;
        writeln!(
            self.out,
            "position: {} {}: {} size: {} magic: 2 compresscodec: {} crc: {} isvalid: {valid}",
            batch.position,
            timestamp_type(header),
            header.max_timestamp,
            header.size(),
            codec.name(),
            header.crc,
        )?;
        Ok(())
    }

    fn records(
        &mut self,
        path: &Path,
        batch: &Found,
        last_offset: &mut i64,
    ) -> Result<(), DumpError> {
        let skip = self.options.skip_record_metadata;
        for record in batch.records()? {
            let record = record.map_err(|error| batch.broken(&error))?;
            if record.offset != last_offset.wrapping_add(1) {
                self.told.gap(path, *last_offset, record.offset);
            }
            *last_offset = record.offset;
            if !skip {
                self.record_metadata(batch, &record)?;
            }
            if self.print_data && !batch.header.is_control() {
                let Shown { key, value } = show(self.decoder, &record)?;
                let mut prefix = if skip { "| " } else { " " };
                if let Some(key) = key {
                    write!(self.out, "{prefix}key: {key}")?;
                    prefix = " ";
                }
                if let Some(value) = value {
                    write!(self.out, "{prefix}payload: {value}")?;
                }
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn record_metadata(&mut self, batch: &Found, record: &Record) -> Result<(), DumpError> {
        let header = &batch.header;
        let size = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(-1, |b| b.len() as i64);
        let delta = record.offset.wrapping_sub(header.base_offset) as i32;
        let sequence = match header.base_sequence {
            0.. => increment_sequence(header.base_sequence, delta),
            _ => -1,
        };
        write!(
            self.out,
            "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [",
            record.offset,
            timestamp_type(header),
            record.timestamp,
            size(&record.key),
            size(&record.value),
        )?;
        for (index, header) in record.headers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(self.out, "{comma}{}", String::from_utf8_lossy(&header.key))?;
        }
        write!(self.out, "]")?;
        if header.is_control() {
            let shown =
                control(record).map_err(|why| DumpError::Record { offset: record.offset, why })?;
            write!(self.out, " {shown}")?;
        }
        Ok(())
    }
}

fn timestamp_type(header: &BatchHeader) -> &'static str {
    match header.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// As Java writes an `OptionalLong`.
pub(super) fn optional(value: Option<i64>) -> String {
    value.map_or("OptionalLong.empty".to_owned(), |value| format!("OptionalLong[{value}]"))
}

fn control(record: &Record) -> Result<String, String> {
    let key = record.key.as_deref().unwrap_or_default();
    let value = record.value.clone().unwrap_or_default();
    let kind = parse_control_type(key).map_err(|error| error.to_string())?;
    let marker = |name: &str| {
        let marker = EndTxnMarker::parse(&value).map_err(|error| error.to_string())?;
        Ok(format!("endTxnMarker: {name} coordinatorEpoch: {}", marker.coordinator_epoch))
    };
    match kind {
        Some(ControlRecordType::Abort) => marker("ABORT"),
        Some(ControlRecordType::Commit) => marker("COMMIT"),
        Some(ControlRecordType::LeaderChange) => {
            message::<LeaderChangeMessage>("LeaderChange:", value)
        }
        Some(ControlRecordType::SnapshotHeader) => {
            message::<SnapshotHeaderRecord>("SnapshotHeader", value)
        }
        Some(ControlRecordType::SnapshotFooter) => {
            message::<SnapshotFooterRecord>("SnapshotFooter", value)
        }
        Some(ControlRecordType::KRaftVersion) => {
            message::<KRaftVersionRecord>("KRaftVersion", value)
        }
        Some(ControlRecordType::KRaftVoters) => message::<VotersRecord>("KRaftVoters", value),
        None => {
            let id = i16::from_be_bytes([key[2], key[3]]);
            Ok(format!("controlType: UNKNOWN({id})"))
        }
    }
}

/// KRaft's control records begin with the version that they are written in.
fn message<M: Message + Json>(name: &str, value: bytes::Bytes) -> Result<String, String> {
    let version = match *value {
        [high, low, ..] => i16::from_be_bytes([high, low]),
        _ => return Err("its value is shorter than its version".to_owned()),
    };
    let version = version.clamp(M::VERSIONS.min, M::VERSIONS.max);
    let decoded = M::decode(&mut Reader::new(value), version).map_err(|error| error.to_string())?;
    let mut out = format!("{name} ");
    decoded.json(&mut out, version);
    Ok(out)
}
