//! Writing responses: many in one vectored write, record bytes from files by sendfile.

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

pub(crate) async fn write_all(stream: &mut NetStream, responses: Vec<Outgoing>) -> io::Result<()> {
    let mut bytes: Vec<Bytes> = Vec::new();
    for response in responses {
        for part in response.parts {
            match part {
                Part::Bytes(part) => bytes.push(part),
                Part::External { token, .. } => {
                    let file = response.files.get(token as usize).ok_or_else(|| {
                        io::Error::other("a response names a file slice that it does not have")
                    })?;
                    if stream.sends_files() && file.file.held_fd().is_some() {
                        for part in bytes.drain(..) {
                            stream.write_before_more(&part).await?;
                        }
                        send_file(stream, file).await?;
                    } else {
                        write_bytes(stream, &mut bytes).await?;
                        copy_file(stream, file).await?;
                    }
                }
            }
        }
    }
    write_bytes(stream, &mut bytes).await
}

async fn write_bytes(stream: &mut NetStream, bytes: &mut Vec<Bytes>) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let slices: Vec<IoSlice<'_>> =
            bytes[at..].iter().take(SLICES).map(|part| IoSlice::new(part)).collect();
        let mut wrote = stream.write_vectored(&slices).await?;
        if wrote == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while at < bytes.len() && wrote >= bytes[at].len() {
            wrote -= bytes[at].len();
            at += 1;
        }
        if wrote > 0 {
            bytes[at].advance(wrote);
        }
    }
    bytes.clear();
    Ok(())
}

async fn send_file(stream: &mut NetStream, slice: &FileSlice) -> io::Result<()> {
    let held = || slice.file.held_fd().ok_or_else(|| io::Error::other("a file cannot be opened"));
    let (mut pos, mut left) = (slice.position, slice.len);
    while left > 0 {
        let sent = stream.send_file(held, pos, left).await?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pos += sent as u64;
        left -= sent;
    }
    Ok(())
}

async fn copy_file(stream: &mut NetStream, slice: &FileSlice) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(slice.len)];
    let (mut pos, mut left) = (slice.position, slice.len);
    while left > 0 {
        let chunk = &mut buffer[..CHUNK.min(left)];
        slice.file.read_exact_at(chunk, pos).map_err(io::Error::other)?;
        stream.write_all(chunk).await?;
        pos += chunk.len() as u64;
        left -= chunk.len();
    }
    Ok(())
}
