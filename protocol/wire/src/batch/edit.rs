//! Batches whose records are changed or left out on their way. Offsets, sequences, timestamps and flags stay: a record that is left out
//! leaves its offset unused, as where a log was compacted.

use super::builder::{encoded_headers, put_record};
use super::{
    BatchError, BatchHeader, HEADER_LEN, HeaderRef, LOG_OVERHEAD, NO_TIMESTAMP, Record,
    RecordBatch, TimestampType, empty_batch,
};
use crate::compression::{self, Codec, Compression, CompressionError};

/// Writes a batch anew, record by record.
#[derive(Debug)]
pub struct BatchEditor {
    header: BatchHeader,
    compression: Compression,
    limit: usize,
    newest: i64,
    count: i32,
    /// Room for the header, then the records uncompressed.
    out: Vec<u8>,
}

impl BatchEditor {
    /// `compression` is used where its codec is the batch's own. Uncompressed its records may become as large as `limit`.
    pub fn new(
        header: &BatchHeader,
        compression: Option<Compression>,
        limit: usize,
    ) -> Result<BatchEditor, BatchError> {
        let codec = header.codec()?;
        let compression = compression.filter(|wanted| wanted.codec == codec);
        Ok(BatchEditor {
            header: *header,
            compression: compression.unwrap_or(Compression::of(codec)),
            limit,
            newest: NO_TIMESTAMP,
            count: 0,
            out: vec![0; HEADER_LEN],
        })
    }

    /// The next record that stays, one of the batch's, with this in it.
    pub fn keep(
        &mut self,
        record: &Record,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), BatchError> {
        let timestamp_delta = match self.header.timestamp_type() {
            TimestampType::CreateTime => record.timestamp.wrapping_sub(self.header.base_timestamp),
            TimestampType::LogAppendTime => 0,
        };
        let offset_delta = record.offset.wrapping_sub(self.header.base_offset) as i32;
        let headers = encoded_headers(headers);
        let parts = [key, value].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        if self.out.len() - HEADER_LEN + parts + headers.len() > self.limit {
            return Err(CompressionError::TooLarge { limit: self.limit }.into());
        }
        put_record(&mut self.out, (timestamp_delta, offset_delta), key, value, &headers);
        self.newest = self.newest.max(record.timestamp);
        self.count += 1;
        Ok(())
    }

    /// What it would take if it were not compressed.
    pub fn uncompressed_size(&self) -> usize {
        self.out.len()
    }

    pub fn finish(mut self) -> Result<RecordBatch, BatchError> {
        let mut header = self.header;
        if self.count == 0 {
            return RecordBatch::parse(&empty_batch(&header).encode().to_vec().into());
        }
        if self.compression.codec != Codec::None {
            let mut out = vec![0; HEADER_LEN];
            compression::compress(self.compression, &self.out[HEADER_LEN..], &mut out)?;
            self.out = out;
        }
        header.count = self.count;
        if header.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = self.newest;
        }
        header.length = i32::try_from(self.out.len() - LOG_OVERHEAD)
            .map_err(|_| CompressionError::TooLarge { limit: i32::MAX as usize })?;
        header.crc = header.compute_crc(&self.out[HEADER_LEN..]);
        self.out[..HEADER_LEN].copy_from_slice(&header.encode());
        RecordBatch::parse(&self.out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchBuilder;

    const LIMIT: usize = 1 << 20;

    fn three(codec: Codec, log_append_time: Option<i64>) -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::of(codec))
            .base_offset(40)
            .leader_epoch(3)
            .producer(7, 2, 11)
            .transactional(true);
        if let Some(now) = log_append_time {
            builder = builder.log_append_time(now);
        }
        builder.append(1000, Some(b"a"), Some(b"first"), &[(b"h", Some(b"1"))]);
        builder.append(1100, Some(b"b"), Some(b"second"), &[]);
        builder.append(900, None, Some(b"third"), &[(b"h", None)]);
        builder.build().unwrap()
    }

    fn read(batch: &RecordBatch) -> Vec<Record> {
        batch.verify_crc().unwrap();
        batch.records(LIMIT).unwrap().map(Result::unwrap).collect()
    }

    fn edited(batch: &RecordBatch, value: impl Fn(usize) -> Option<Vec<u8>>) -> RecordBatch {
        let mut editor = BatchEditor::new(batch.header(), None, LIMIT).unwrap();
        for (at, record) in read(batch).iter().enumerate() {
            let Some(value) = value(at) else { continue };
            editor.keep(record, record.key.as_deref(), Some(&value), &[]).unwrap();
        }
        editor.finish().unwrap()
    }

    #[test]
    fn what_stays_keeps_its_place_and_the_batch_its_range() {
        for codec in Codec::ALL {
            for log_append_time in [None, Some(5000)] {
                let batch = three(codec, log_append_time);
                let edited = edited(&batch, |at| (at != 1).then(|| vec![b'x'; 300 * at + 1]));
                let (was, is) = (batch.header(), edited.header());
                assert_eq!((is.base_offset, is.last_offset()), (40, 42));
                assert_eq!((is.base_sequence, is.last_sequence()), (11, 13));
                assert_eq!((is.leader_epoch, is.attributes), (3, was.attributes));
                assert_eq!((is.producer_id, is.producer_epoch, is.count), (7, 2, 2));
                assert_eq!(is.max_timestamp, log_append_time.unwrap_or(1000), "b was the newest");
                let (before, after) = (read(&batch), read(&edited));
                let placed = |r: &Record| (r.offset, r.timestamp, r.key.clone());
                let kept: Vec<_> = [0, 2].map(|at| placed(&before[at])).into();
                assert_eq!(after.iter().map(placed).collect::<Vec<_>>(), kept);
                assert_eq!(after[1].value.as_ref().unwrap().len(), 601);
            }
        }
    }

    #[test]
    fn a_batch_of_which_nothing_stays_holds_its_range() {
        for codec in Codec::ALL {
            let empty = edited(&three(codec, None), |_| None);
            assert_eq!((empty.size(), read(&empty).len()), (HEADER_LEN, 0));
            assert_eq!((empty.header().base_offset, empty.header().next_offset()), (40, 43));
            assert_eq!((empty.header().base_sequence, empty.header().last_sequence()), (11, 13));
        }
    }

    #[test]
    fn a_batch_does_not_grow_beyond_its_limit() {
        let batch = three(Codec::None, None);
        let mut editor = BatchEditor::new(batch.header(), None, 1000).unwrap();
        let record = &read(&batch)[0];
        editor.keep(record, None, Some(&[0; 500]), &[]).unwrap();
        assert!(editor.keep(record, None, Some(&[0; 500]), &[]).is_err());
    }
}
