//! Record batches by hand, right or wrong as a test wants them.

use crate::raw::Bytes;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Batch {
    /// Of all its records, in milliseconds: now, as those of a week ago are deleted half a minute after the node's start.
    pub time: i64,
    pub attributes: i16,
    pub magic: i8,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    pub last_offset_delta: i32,
    pub records: Vec<u8>,
}

/// One batch with a record for each value, of no producer.
pub fn of(values: &[&[u8]]) -> Batch {
    let count = values.len() as i32;
    let records = values.iter().zip(0..).flat_map(|(value, delta)| record(delta, value)).collect();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    Batch {
        time: since.as_millis() as i64,
        attributes: 0,
        magic: 2,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count,
        last_offset_delta: count - 1,
        records,
    }
}

pub fn record(offset_delta: i64, value: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    varint(offset_delta, &mut body);
    varint(-1, &mut body);
    varint(value.len() as i64, &mut body);
    body.extend_from_slice(value);
    varint(0, &mut body);
    let mut record = Vec::new();
    varint(body.len() as i64, &mut record);
    record.extend(body);
    record
}

pub fn varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl Batch {
    pub fn by(mut self, producer: (i64, i16), base_sequence: i32) -> Batch {
        (self.producer_id, self.producer_epoch) = producer;
        self.base_sequence = base_sequence;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let summed = Bytes::new()
            .i16(self.attributes)
            .i32(self.last_offset_delta)
            .i64(self.time)
            .i64(self.time)
            .i64(self.producer_id)
            .i16(self.producer_epoch)
            .i32(self.base_sequence)
            .i32(self.count)
            .raw(&self.records)
            .done();
        let crc = crc32c::crc32c(&summed) as i32;
        let length = summed.len() as i32 + 9;
        Bytes::new().i64(0).i32(length).i32(-1).i8(self.magic).i32(crc).raw(&summed).done()
    }
}
