//! Writing answers: many in one vectored write, record bytes from files by sendfile.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use log::FileSlice;
use runtime::{BoxFuture, Counter, NetStream};
use tokio::io::AsyncWriteExt;
use wire::Part;

use super::responses::Outgoing;
use crate::cold::{AHEAD, ColdReads};

/// As many slices as one call takes.
const SLICES: usize = 64;
/// What is read at a time where the socket takes no files.
const CHUNK: usize = 64 * 1024;

/// Answers on their way out.
#[derive(Default)]
pub(crate) struct Writer {
    pieces: VecDeque<Piece>,
    /// Of all answers that came since it was empty.
    pins: usize,
    /// The next bytes of the file that comes first are read into the page cache.
    warming: Option<BoxFuture<'static, ()>>,
}

/// Where what is not in the page cache is read, and counted.
pub(crate) struct Cold<'a> {
    pub(crate) reads: &'a ColdReads,
    pub(crate) counter: &'a Counter,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// Read, or handed to the kernel, when its turn comes. The first `warm` bytes are known to be in the page cache.
    File {
        slice: FileSlice,
        warm: usize,
    },
}

impl Writer {
    pub(crate) fn push(&mut self, response: Outgoing) -> io::Result<()> {
        self.pins = if self.is_empty() { 0 } else { self.pins } + response.pins;
        for part in response.parts {
            self.pieces.push_back(match part {
                Part::Bytes(bytes) if bytes.is_empty() => continue,
                Part::Bytes(bytes) => Piece::Bytes(bytes),
                Part::External { token, .. } => match response.files.get(token as usize) {
                    Some(slice) if slice.len == 0 => continue,
                    Some(slice) => Piece::File { slice: slice.clone(), warm: 0 },
                    None => return Err(io::Error::other("a response without its file slice")),
                },
            });
        }
        Ok(())
    }

    /// What it holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        let in_memory = self.pieces.iter().filter(|piece| matches!(piece, Piece::Bytes(_)));
        self.pins + in_memory.map(Piece::len).sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Waits until the socket takes some of it. Dropped before its end, it has written nothing.
    pub(crate) async fn write_some(
        &mut self,
        stream: &mut NetStream,
        cold: &Cold<'_>,
    ) -> io::Result<()> {
        match self.pieces.front() {
            None => Ok(()),
            Some(Piece::Bytes(first)) => {
                let bytes = self.pieces.iter().take_while(|piece| matches!(piece, Piece::Bytes(_)));
                let count = bytes.count();
                let wrote = if count < self.pieces.len() && stream.sends_files() {
                    stream.write_before_more(first).await?
                } else {
                    let slices: Vec<IoSlice<'_>> =
                        self.pieces.iter().take(count.min(SLICES)).filter_map(io_slice).collect();
                    stream.write_vectored(&slices).await?
                };
                self.wrote(wrote, io::ErrorKind::WriteZero)
            }
            Some(Piece::File { .. }) => {
                self.warm(cold).await;
                self.write_file(stream).await
            }
        }
    }

    /// Has the next bytes of the file that comes first in the page cache: others are served while the disk is waited for. Dropped
    /// before its end, it goes on with the next call.
    async fn warm(&mut self, cold: &Cold<'_>) {
        let Some(Piece::File { slice, warm }) = self.pieces.front_mut() else { return };
        let ahead = AHEAD.min(slice.len);
        // The first byte lies behind those that are out, or was looked at with the batch's header.
        if *warm == 0
            && self.warming.is_none()
            && !slice.file.is_resident(slice.position + ahead as u64 - 1)
        {
            let slice = slice.clone();
            let read = move || drop(slice.file.read_in(slice.position, ahead));
            self.warming = Some(Box::pin(cold.reads.run(cold.counter, read)));
        }
        if let Some(warming) = &mut self.warming {
            warming.await;
            self.warming = None;
        }
        if *warm == 0 {
            *warm = ahead;
        }
    }

    async fn write_file(&mut self, stream: &mut NetStream) -> io::Result<()> {
        let Some(Piece::File { slice, warm }) = self.pieces.front() else { return Ok(()) };
        let held = || slice.file.held_fd();
        if !stream.sends_files() || held().is_none() {
            return self.read_chunk();
        }
        let file = || held().ok_or_else(|| io::Error::other("a file cannot be opened"));
        let sent = stream.send_file(file, slice.position, *warm).await?;
        self.wrote(sent, io::ErrorKind::UnexpectedEof)
    }

    /// So many bytes of the first pieces are out; `none` says what it means where there are none.
    fn wrote(&mut self, mut count: usize, none: io::ErrorKind) -> io::Result<()> {
        if count == 0 {
            return Err(none.into());
        }
        while count > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let len = piece.len();
            if count < len {
                piece.advance(count);
                break;
            }
            count -= len;
            self.pieces.pop_front();
        }
        Ok(())
    }

    /// Has the next bytes of the file that comes first in memory.
    fn read_chunk(&mut self) -> io::Result<()> {
        let Some(Piece::File { slice, warm }) = self.pieces.front_mut() else { return Ok(()) };
        let len = CHUNK.min(*warm);
        let chunk = FileSlice { len, ..slice.clone() }.read().map_err(io::Error::other)?;
        self.wrote(len, io::ErrorKind::UnexpectedEof)?;
        self.pieces.push_front(Piece::Bytes(chunk));
        Ok(())
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File { slice, .. } => slice.len,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Bytes(bytes) => bytes.advance(count),
            Piece::File { slice, warm } => {
                slice.position += count as u64;
                slice.len -= count;
                *warm = warm.saturating_sub(count);
            }
        }
    }
}

fn io_slice(piece: &Piece) -> Option<IoSlice<'_>> {
    match piece {
        Piece::Bytes(bytes) => Some(IoSlice::new(bytes)),
        Piece::File { .. } => None,
    }
}
