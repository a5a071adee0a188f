//! Bytes -> values. Whatever the bytes say, nothing is allocated that they do not pay for.

use bytes::{Buf, Bytes};

use crate::{DecodeError, RawTaggedField};

/// Decoded values may take this many times the size of the bytes they come from, and [`MEMORY_SLACK`] more. The densest thing that a
/// well-meaning peer sends, a list of empty strings, stays below it.
const MEMORY_FACTOR: usize = 32;
const MEMORY_SLACK: usize = 64 << 10;

/// Reads a frame from its start. `bytes` and records come out as slices that share its memory.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    memory: usize,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        let memory = bytes.len().saturating_mul(MEMORY_FACTOR).saturating_add(MEMORY_SLACK);
        Self::with_memory(bytes, memory)
    }

    /// A reader whose values, taken together, may take at most `memory` bytes.
    pub fn with_memory(bytes: Bytes, memory: usize) -> Self {
        Self { bytes, memory }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// What values may still take.
    pub fn memory_left(&self) -> usize {
        self.memory
    }

    /// What has not been read.
    pub fn into_rest(self) -> Bytes {
        self.bytes
    }

    /// Fails if anything has not been read.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            remaining => Err(DecodeError::TrailingBytes { remaining }),
        }
    }

    /// The `at`th 16-bit integer from here, without reading it.
    pub(crate) fn peek_int16(&self, at: usize) -> Result<i16, DecodeError> {
        match self.bytes.get(at * 2..at * 2 + 2) {
            Some(&[high, low]) => Ok(i16::from_be_bytes([high, low])),
            _ => Err(self.end(at * 2 + 2)),
        }
    }

    #[cold]
    fn end(&self, needed: usize) -> DecodeError {
        DecodeError::UnexpectedEnd { needed, remaining: self.bytes.len() }
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(found) = self.bytes.first_chunk::<N>().copied() else { return Err(self.end(N)) };
        self.bytes.advance(N);
        Ok(found)
    }

    /// The next `length` bytes, as a slice of the frame.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.bytes.len() {
            return Err(self.end(length));
        }
        Ok(self.bytes.split_to(length))
    }

    pub(crate) fn text(&mut self, length: usize) -> Result<String, DecodeError> {
        let Some(found) = self.bytes.get(..length) else { return Err(self.end(length)) };
        // As in Kafka, what is not UTF-8 is replaced, not refused.
        let text = String::from_utf8_lossy(found).into_owned();
        self.bytes.advance(length);
        self.pay(text.len())?;
        Ok(text)
    }

    pub fn int8(&mut self) -> Result<i8, DecodeError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub fn int16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub fn int32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::VarintTooLong);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// A length, `None` for null, which as in Kafka any negative one is. In flexible versions it is an unsigned varint, one more than the
    /// length; else `wide` tells an int32 from an int16.
    pub(crate) fn length(
        &mut self,
        flexible: bool,
        wide: bool,
    ) -> Result<Option<usize>, DecodeError> {
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.int32()?),
            (false, false) => i64::from(self.int16()?),
        };
        match usize::try_from(length) {
            Ok(length) if i32::try_from(length).is_ok() => Ok(Some(length)),
            Ok(_) => Err(DecodeError::InvalidLength { length }),
            Err(_) => Ok(None),
        }
    }

    /// Whether `count` elements of at least `min_size` bytes each can follow, and memory for them is left.
    pub(crate) fn admit(
        &mut self,
        count: usize,
        min_size: usize,
        in_memory: usize,
    ) -> Result<(), DecodeError> {
        let remaining = self.bytes.len();
        if count > remaining / min_size.max(1) {
            return Err(DecodeError::TooManyElements { count, remaining });
        }
        self.pay(count.saturating_mul(in_memory))
    }

    fn pay(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.memory = self.memory.checked_sub(bytes).ok_or(DecodeError::TooMuchMemory)?;
        Ok(())
    }

    /// The number of tagged fields that follow.
    pub(crate) fn tag_count(&mut self) -> Result<u32, DecodeError> {
        self.uvarint()
    }

    /// The next tagged field's tag and size. As in Kafka, the size of a known field's value is not
    /// held against what the value then takes.
    pub(crate) fn tag(&mut self) -> Result<(u32, usize), DecodeError> {
        Ok((self.uvarint()?, self.uvarint()? as usize))
    }

    /// Keeps a tagged field that this version does not know, as it comes.
    pub(crate) fn keep_tag(
        &mut self,
        (tag, size): (u32, usize),
        unknown: &mut Vec<RawTaggedField>,
    ) -> Result<(), DecodeError> {
        if unknown.len() == unknown.capacity() {
            let more = unknown.len().max(1);
            self.pay(more * size_of::<RawTaggedField>())?;
            unknown.reserve_exact(more);
        }
        unknown.push(RawTaggedField { tag, data: self.take(size)? });
        Ok(())
    }

    /// The tagged fields of a struct that has none of its own.
    pub(crate) fn unknown_tags(
        &mut self,
        flexible: bool,
    ) -> Result<Vec<RawTaggedField>, DecodeError> {
        let mut unknown = Vec::new();
        if flexible {
            for _ in 0..self.tag_count()? {
                let next = self.tag()?;
                self.keep_tag(next, &mut unknown)?;
            }
        }
        Ok(unknown)
    }
}
