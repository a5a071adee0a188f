//! Writing answers: many in one vectored write, record bytes from files by sendfile.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use log::FileSlice;
use runtime::NetStream;
use tokio::io::AsyncWriteExt;
use wire::Part;

use super::responses::Outgoing;

/// As many slices as one call takes.
const SLICES: usize = 64;
/// What is read at a time where the socket takes no files.
const CHUNK: usize = 64 * 1024;

/// Answers on their way out.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pieces: VecDeque<Piece>,
    /// Of all answers that came since it was empty.
    pins: usize,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// Read, or handed to the kernel, when its turn comes.
    File(FileSlice),
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
                    Some(slice) => Piece::File(slice.clone()),
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
    pub(crate) async fn write_some(&mut self, stream: &mut NetStream) -> io::Result<()> {
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
            Some(Piece::File(slice)) => {
                let held = || slice.file.held_fd();
                if !stream.sends_files() || held().is_none() {
                    return self.read_chunk();
                }
                let file = || held().ok_or_else(|| io::Error::other("a file cannot be opened"));
                let sent = stream.send_file(file, slice.position, slice.len).await?;
                self.wrote(sent, io::ErrorKind::UnexpectedEof)
            }
        }
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
        let Some(Piece::File(slice)) = self.pieces.front_mut() else { return Ok(()) };
        let len = CHUNK.min(slice.len);
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
            Piece::File(slice) => slice.len,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Bytes(bytes) => bytes.advance(count),
            Piece::File(slice) => {
                slice.position += count as u64;
                slice.len -= count;
            }
        }
    }
}

fn io_slice(piece: &Piece) -> Option<IoSlice<'_>> {
    match piece {
        Piece::Bytes(bytes) => Some(IoSlice::new(bytes)),
        Piece::File(_) => None,
    }
}
