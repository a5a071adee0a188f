//! Zigzag variable-length integers, as records use them.

use super::BatchError;

pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn varint_len(value: i32) -> usize {
    unsigned_len(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

pub fn varlong_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

fn unsigned_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// What the fields of a record are read from.
pub trait Fields {
    fn byte(&mut self) -> Result<u8, BatchError>;

    fn skip(&mut self, len: usize) -> Result<(), BatchError>;

    /// How many bytes lie behind.
    fn position(&self) -> usize;

    #[inline]
    fn varint(&mut self) -> Result<i32, BatchError> {
        let first = self.byte()?;
        let mut value = u32::from(first & 0x7f);
        if first >= 0x80 {
            let mut shift = 7;
            loop {
                let byte = self.byte()?;
                value |= u32::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
                shift += 7;
                if shift > 28 {
                    return Err(BatchError::InvalidRecord("a varint is longer than 5 bytes"));
                }
            }
        }
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, BatchError> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
            if shift > 63 {
                return Err(BatchError::InvalidRecord("a varlong is longer than 10 bytes"));
            }
        }
    }

    /// A length-prefixed field; any negative length means null, as in Kafka.
    #[inline]
    fn nullable_span(&mut self) -> Result<Span, BatchError> {
        let len = self.varint()?;
        if len < 0 {
            return Ok(Span::NULL);
        }
        let start = self.position();
        self.skip(len as usize)?;
        Ok(Span { start, len: len as usize })
    }
}

/// Reads forward over a slice; positions are relative to the slice's start.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Cursor { bytes, at }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }
}

impl Fields for Cursor<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, BatchError> {
        let byte =
            *self.bytes.get(self.at).ok_or(BatchError::InvalidRecord("it ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, len: usize) -> Result<(), BatchError> {
        if len > self.remaining() {
            return Err(BatchError::InvalidRecord("a length points past its end"));
        }
        self.at += len;
        Ok(())
    }

    #[inline]
    fn position(&self) -> usize {
        self.at
    }
}

/// Where a nullable field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub len: usize,
}

impl Span {
    pub const NULL: Span = Span { start: usize::MAX, len: 0 };

    pub fn is_null(&self) -> bool {
        self.start == usize::MAX
    }

    pub fn range(&self) -> Option<std::ops::Range<usize>> {
        (!self.is_null()).then(|| self.start..self.start + self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_round_trips() {
        for shift in 0..64 {
            for value in
                [1i64 << shift, (1i64 << shift).wrapping_neg(), (1i64 << shift).wrapping_sub(1)]
            {
                let mut out = Vec::new();
                put_varlong(&mut out, value);
                assert_eq!(out.len(), varlong_len(value));
                assert_eq!(Cursor::new(&out, 0).varlong(), Ok(value));
                let small = value as i32;
                out.clear();
                put_varint(&mut out, small);
                assert_eq!(out.len(), varint_len(small));
                assert_eq!(Cursor::new(&out, 0).varint(), Ok(small));
            }
        }
    }

    #[test]
    fn endless_ones_are_refused() {
        let bytes = [0xff; 16];
        assert!(Cursor::new(&bytes, 0).varint().is_err());
        assert!(Cursor::new(&bytes, 0).varlong().is_err());
        assert!(Cursor::new(&bytes[..3], 0).varint().is_err());
    }
}
