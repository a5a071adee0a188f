//! Frames as they cross the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::Part;

/// More is allocated only as bytes arrive: a length alone costs nothing.
const FIRST_ALLOCATION: usize = 1 << 20;

/// An encoded frame on its way out: its pieces are written together, without being copied together.
pub(super) struct FrameBuf(VecDeque<Bytes>);

impl FrameBuf {
    /// `None` where a part of it lies in a file.
    pub(super) fn new(parts: Vec<Part>) -> Option<FrameBuf> {
        let bytes = parts.into_iter().map(|part| match part {
            Part::Bytes(bytes) => Some(bytes),
            Part::External { .. } => None,
        });
        bytes.collect::<Option<_>>().map(FrameBuf)
    }

    pub(super) async fn write_to(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all_buf(self).await?;
        to.flush().await
    }
}

impl Buf for FrameBuf {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, bytes) in slices.iter_mut().zip(&self.0) {
            *slice = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.0.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
    }
}

/// Reads a frame, without its length.
pub(super) async fn read_frame(
    from: &mut (impl AsyncRead + Unpin),
    limit: u32,
) -> io::Result<Bytes> {
    let length = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(io::Error::new(error.kind(), "the broker closed it"));
        }
        Err(error) => return Err(error),
    };
    if length > limit {
        let why = format!("an answer of {length} bytes, more than the {limit} allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let length = length as usize;
    let mut frame = BytesMut::with_capacity(length.min(FIRST_ALLOCATION));
    while frame.len() < length {
        let mut rest = (&mut *from).take((length - frame.len()) as u64);
        if frame.len() == frame.capacity() {
            frame.reserve(frame.len().min(length - frame.len()));
        }
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_in_pieces_arrives_whole() {
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let mut pieces = vec![Part::Bytes(Bytes::from((body.len() as u32).to_be_bytes().to_vec()))];
        pieces.extend(body.chunks(700_001).map(|piece| Part::Bytes(Bytes::copy_from_slice(piece))));
        let (mut near, mut far) = tokio::io::duplex(4096);
        let mut frame = FrameBuf::new(pieces).unwrap();
        let (written, read) =
            tokio::join!(frame.write_to(&mut near), read_frame(&mut far, 3_000_000));
        written.unwrap();
        assert!(read.unwrap() == body);
    }

    #[tokio::test]
    async fn a_frame_longer_than_allowed_is_refused_by_its_length() {
        let mut bytes: &[u8] = &[0x7f, 0xff, 0xff, 0xff, 0];
        let error = read_frame(&mut bytes, 100).await.unwrap_err();
        assert!(error.to_string().contains("2147483647 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_off_is_an_error() {
        let mut bytes: &[u8] = &[0, 0, 0, 9, 1, 2];
        let error = read_frame(&mut bytes, 100).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
