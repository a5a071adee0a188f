//! Cutting frames out of what a socket gives: one buffer, no copies, and no room made for bytes that were only promised.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most that is read at a time where no long frame is under way.
pub const READ_SIZE: usize = 128 * 1024;
/// What is read at a time to begin with: a connection that has shown nothing yet is given little.
pub(crate) const FIRST_READ: usize = 4 * 1024;
const LENGTH: usize = 4;

/// The peer promised a length that no frame may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes; at most {max} are allowed")]
pub(crate) struct BadLength {
    pub(crate) length: i32,
    pub(crate) max: usize,
}

#[derive(Debug)]
pub(crate) struct FrameBuffer {
    buffer: BytesMut,
    max: usize,
    /// What is read at a time: grows to the frames that have come whole, and with reads that took all there was room for.
    read_size: usize,
}

impl FrameBuffer {
    pub(crate) fn new(max: usize) -> Self {
        FrameBuffer { buffer: BytesMut::new(), max, read_size: FIRST_READ }
    }

    /// The next whole frame, without its length.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, BadLength> {
        let Some(length) = self.promised()? else { return Ok(None) };
        if self.buffer.len() < LENGTH + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH);
        let fits = (length + LENGTH).next_power_of_two().min(READ_SIZE);
        self.read_size = self.read_size.max(fits);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// The length of the frame that the buffer begins with, once it is there.
    fn promised(&self) -> Result<Option<usize>, BadLength> {
        let Some(head) = self.buffer.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = i32::from_be_bytes(*head);
        match usize::try_from(length) {
            Ok(size) if size <= self.max => Ok(Some(size)),
            _ => Err(BadLength { length, max: self.max }),
        }
    }

    /// Whether the buffer begins with a whole frame.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.promised(), Ok(Some(length)) if self.buffer.len() >= LENGTH + length)
    }

    /// What the frame that the buffer begins with lacks, as far as it is known.
    pub(crate) fn missing(&self) -> usize {
        match self.promised() {
            Ok(Some(length)) => (LENGTH + length).saturating_sub(self.buffer.len()),
            _ => 0,
        }
    }

    /// As much again as has arrived, however much was promised.
    fn next_read(&self) -> usize {
        self.buffer.len().max(self.read_size)
    }

    fn spare(&self) -> usize {
        self.buffer.capacity() - self.buffer.len()
    }

    /// The most that the next read takes.
    pub(crate) fn wanted(&self) -> usize {
        let (spare, most) = (self.spare(), self.next_read());
        match self.missing() {
            0 if spare < self.read_size / 4 => self.read_size,
            missing if missing > spare => most.min(missing),
            _ => most.min(spare),
        }
    }

    /// Room for so many bytes, and for no more: what is there may be resident, whether it is filled or not.
    pub(crate) fn space(&mut self, room: usize) -> Limit<&mut BytesMut> {
        let spare = self.spare();
        if spare == 0 && !self.buffer.is_empty() {
            self.read_size = (self.read_size * 4).min(READ_SIZE);
        }
        if spare < room {
            self.buffer.reserve(room);
        }
        (&mut self.buffer).limit(room)
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Gives the memory back while nothing is under way.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let bodies: Vec<Vec<u8>> = (0..20).map(|n| vec![n as u8; n * 37]).collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        for step in [1, 3, 64, stream.len()] {
            let mut frames = FrameBuffer::new(1000);
            let mut out = Vec::new();
            for chunk in stream.chunks(step) {
                frames.buffer.extend_from_slice(chunk);
                while let Some(frame) = frames.next().unwrap() {
                    out.push(frame.to_vec());
                }
            }
            assert_eq!(out, bodies, "in steps of {step}");
            assert_eq!(frames.len(), 0);
        }
    }

    #[test]
    fn lengths_out_of_bounds_are_refused() {
        for length in [-1, i32::MIN, 1001, i32::MAX] {
            let mut frames = FrameBuffer::new(1000);
            frames.buffer.extend_from_slice(&length.to_be_bytes());
            assert_eq!(frames.next(), Err(BadLength { length, max: 1000 }));
        }
    }

    #[test]
    fn a_promise_takes_no_memory() {
        let mut frames = FrameBuffer::new(100 << 20);
        frames.buffer.extend_from_slice(&(100_i32 << 20).to_be_bytes());
        frames.space(frames.wanted());
        assert!(frames.buffer.capacity() <= 3 * FIRST_READ);
        frames.buffer.extend_from_slice(&vec![0; 200_000]);
        frames.space(frames.wanted());
        assert!(frames.buffer.capacity() <= 1 << 19, "it grows with what has arrived");
    }

    #[test]
    fn memory_is_given_back_between_frames() {
        let mut frames = FrameBuffer::new(1000);
        frames.buffer.extend_from_slice(&framed(b"x"));
        frames.next().unwrap();
        frames.release();
        assert_eq!(frames.buffer.capacity(), 0);
    }
}
