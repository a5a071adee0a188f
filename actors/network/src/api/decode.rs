//! Decoding a request's body within the node's memory: its values may take many times the size of its bytes.

use std::sync::Arc;

use bytes::Bytes;
use runtime::Credit;
use wire::{DecodeError, Message, Reader};

use crate::Broker;

/// Values that take no more than this are decoded where the frame was read, and are not accounted for: each connection has one
/// such request, or a few small Produce requests, under way.
const SMALL: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    #[error("not decoded: {0}")]
    Lost(#[from] runtime::JobLost),
}

/// The decoded body, and what accounts for its memory until its answer is there. What is large is decoded on a blocking
/// thread, one body of the node at a time. Where there is no room for it, it is not kept: it waits for room without having
/// a turn, and is decoded again.
pub(super) async fn body<M: Message + Send + 'static>(
    broker: &Arc<Broker>,
    bytes: Bytes,
    version: i16,
) -> Result<(M, Option<Credit>), BodyError> {
    let mut reader = Reader::new(bytes.clone());
    let most = reader.memory_left().min(broker.decoded_memory.limit() as usize);
    if most > SMALL {
        reader = Reader::with_memory(bytes.clone(), SMALL);
    }
    match M::decode(&mut reader, version) {
        Err(DecodeError::TooMuchMemory) if most > SMALL => {}
        decoded => return Ok((decoded?, None)),
    }
    let mut room = None;
    loop {
        let (decoded, taken) = large::<M>(broker, bytes.clone(), version, most).await?;
        room = room.or_else(|| broker.decoded_memory.try_take(taken));
        if room.is_some() {
            return Ok((decoded, room));
        }
        drop(decoded);
        room = Some(broker.decoded_memory.take(taken).await);
    }
}

/// A body whose values take much, and how many bytes they take.
async fn large<M: Message + Send + 'static>(
    broker: &Broker,
    bytes: Bytes,
    version: i16,
    most: usize,
) -> Result<(M, u32), BodyError> {
    let _turn = broker.large_bodies.take(1).await;
    let job = move || {
        let mut reader = Reader::with_memory(bytes, most);
        let decoded = M::decode(&mut reader, version);
        decoded.map(|decoded| (decoded, most - reader.memory_left()))
    };
    let (decoded, taken) = broker.world.blocking("decode", job).await??;
    Ok((decoded, u32::try_from(taken).unwrap_or(u32::MAX)))
}
