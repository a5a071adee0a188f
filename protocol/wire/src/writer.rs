//! Values -> bytes. Records are not copied: a frame leaves as parts, some of which may still lie in a file.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{EncodeError, RawTaggedField};

/// What a `records` field holds: record batches, not looked into.
#[derive(Debug, Clone, PartialEq)]
pub enum Records {
    Bytes(Bytes),
    Chain(Vec<Bytes>),
    /// `len` bytes that only the connection's owner can find: a slice of a file, named by `token`.
    External {
        len: u32,
        token: u64,
    },
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Records::Bytes(bytes)
    }
}

impl Records {
    /// The records in one piece, as they are when they were decoded.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Records::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Records::Bytes(bytes) => bytes.len(),
            Records::Chain(chain) => chain.iter().map(Bytes::len).sum(),
            Records::External { len, .. } => *len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A piece of an encoded frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Bytes(Bytes),
    External { token: u64, len: u32 },
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::External { len, .. } => *len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug)]
pub struct Writer {
    own: BytesMut,
    /// Of `own`.
    limit: usize,
    /// Records, each with the position in `own` before which it belongs.
    records: Vec<(usize, Records)>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { own: BytesMut::new(), limit: usize::MAX, records: Vec::new() }
    }
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer that gives up where it would copy more than about `limit` bytes: records are not copied.
    pub fn within(limit: usize) -> Self {
        Self { own: BytesMut::with_capacity(256), limit, records: Vec::new() }
    }

    /// The length of all that was written, records included.
    pub fn len(&self) -> usize {
        self.own.len() + self.records.iter().map(|(_, records)| records.len()).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn int8(&mut self, value: i8) {
        self.own.put_i8(value);
    }

    pub fn int16(&mut self, value: i16) {
        self.own.put_i16(value);
    }

    pub fn int32(&mut self, value: i32) {
        self.own.put_i32(value);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.own.put_slice(bytes);
    }

    pub fn uvarint(&mut self, value: u32) {
        let (bytes, length) = uvarint_bytes(value);
        self.own.put_slice(&bytes[..length]);
    }

    pub fn records(&mut self, records: Records) {
        self.records.push((self.own.len(), records));
    }

    /// A length as [`Reader::length`](crate::Reader) reads it.
    pub(crate) fn length(
        &mut self,
        length: usize,
        flexible: bool,
        wide: bool,
    ) -> Result<(), EncodeError> {
        if self.own.len() > self.limit {
            return Err(EncodeError::BeyondLimit { limit: self.limit });
        }
        let too_long = EncodeError::TooLong { length };
        let Ok(value) = i32::try_from(length) else { return Err(too_long) };
        match (flexible, wide) {
            (true, _) => self.uvarint(value as u32 + 1),
            (false, true) => self.int32(value),
            (false, false) => match i16::try_from(value) {
                Ok(value) => self.int16(value),
                Err(_) => return Err(too_long),
            },
        }
        Ok(())
    }

    /// The length of null.
    pub(crate) fn null(&mut self, flexible: bool, wide: bool) {
        match (flexible, wide) {
            (true, _) => self.int8(0),
            (false, true) => self.int32(-1),
            (false, false) => self.int16(-1),
        }
    }

    /// Writes over four bytes that were written before.
    pub(crate) fn set_int32(&mut self, at: usize, value: i32) {
        if let Some(place) = self.own.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Puts a varint before the bytes that begin at `at`. No records may lie behind it: they cannot be tagged.
    fn insert_uvarint(&mut self, at: usize, value: u32) {
        let (bytes, length) = uvarint_bytes(value);
        let end = self.own.len();
        self.own.put_bytes(0, length);
        self.own.copy_within(at..end, at + length);
        self.own[at..at + length].copy_from_slice(&bytes[..length]);
    }

    /// The frame as one piece; `None` if a part of it lies elsewhere.
    pub fn into_bytes(self) -> Option<Bytes> {
        if self.records.is_empty() {
            return Some(self.own.freeze());
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in self.into_parts() {
            match part {
                Part::Bytes(bytes) => whole.put(bytes),
                Part::External { .. } => return None,
            }
        }
        Some(whole.freeze())
    }

    pub fn into_parts(self) -> Vec<Part> {
        let own = self.own.freeze();
        let mut parts = Vec::with_capacity(self.records.len() * 2 + 1);
        let mut from = 0;
        for (at, records) in self.records.into_iter().filter(|(_, records)| !records.is_empty()) {
            push(&mut parts, own.slice(from..at));
            from = at;
            match records {
                Records::Bytes(bytes) => push(&mut parts, bytes),
                Records::Chain(chain) => {
                    chain.into_iter().for_each(|bytes| push(&mut parts, bytes))
                }
                Records::External { len, token } => parts.push(Part::External { token, len }),
            }
        }
        push(&mut parts, own.slice(from..));
        parts
    }
}

fn push(parts: &mut Vec<Part>, bytes: Bytes) {
    if !bytes.is_empty() {
        parts.push(Part::Bytes(bytes));
    }
}

fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut length = 0;
    loop {
        bytes[length] = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return (bytes, length + 1);
        }
        bytes[length] |= 0x80;
        length += 1;
    }
}

/// The tagged fields of one struct as they are written: known and unknown ones merged in the order of their tags.
pub(crate) struct Tags<'a> {
    at: usize,
    count: u32,
    last: Option<u32>,
    unknown: &'a [RawTaggedField],
}

impl<'a> Tags<'a> {
    pub(crate) fn begin(w: &Writer, unknown: &'a [RawTaggedField]) -> Self {
        Self { at: w.own.len(), count: 0, last: None, unknown }
    }

    fn tag(&mut self, w: &mut Writer, tag: u32) -> Result<(), EncodeError> {
        if self.last.is_some_and(|last| last >= tag) {
            return Err(EncodeError::TagOrder { tag });
        }
        self.last = Some(tag);
        self.count += 1;
        w.uvarint(tag);
        Ok(())
    }

    fn write_unknown(&mut self, w: &mut Writer, below: u32) -> Result<(), EncodeError> {
        while let Some((field, rest)) =
            self.unknown.split_first().filter(|(field, _)| field.tag < below)
        {
            self.tag(w, field.tag)?;
            let length = field.data.len();
            w.uvarint(u32::try_from(length).map_err(|_| EncodeError::TooLong { length })?);
            w.raw(&field.data);
            self.unknown = rest;
        }
        Ok(())
    }

    /// Begins a known field; its value is written next.
    pub(crate) fn open(&mut self, w: &mut Writer, tag: u32) -> Result<usize, EncodeError> {
        self.write_unknown(w, tag)?;
        self.tag(w, tag)?;
        Ok(w.own.len())
    }

    /// Ends the field whose value began at `at`.
    pub(crate) fn close(&mut self, w: &mut Writer, at: usize) {
        w.insert_uvarint(at, (w.own.len() - at) as u32);
    }

    pub(crate) fn end(mut self, w: &mut Writer) -> Result<(), EncodeError> {
        self.write_unknown(w, u32::MAX)?;
        if let Some(left) = self.unknown.first() {
            return Err(EncodeError::TagOrder { tag: left.tag });
        }
        w.insert_uvarint(self.at, self.count);
        Ok(())
    }
}

/// The tagged fields of a struct that has none of its own.
pub(crate) fn write_unknown_tags(
    unknown: &[RawTaggedField],
    w: &mut Writer,
    version: i16,
    flexible: bool,
) -> Result<(), EncodeError> {
    match (flexible, unknown.is_empty()) {
        (true, true) => w.int8(0),
        (true, false) => Tags::begin(w, unknown).end(w)?,
        (false, true) => {}
        (false, false) => return Err(EncodeError::NoTagsInVersion { version }),
    }
    Ok(())
}
