//! How records carry their schema's type and version.

use bytes::Bytes;

use crate::{DecodeError, EncodeError, Message, Reader, Writer};

/// The version of the frame itself.
const FRAME_VERSION: u32 = 1;

/// The records of one log, told apart by their type.
pub(crate) trait Family: Sized {
    fn record_type(&self) -> i16;
    fn read(record_type: i16, r: &mut Reader, version: i16) -> Result<Self, DecodeError>;
    fn write(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A record of the metadata log or of the remote log metadata: frame version, type and version, all varints, and the record.
pub(crate) fn decode_framed<F: Family>(bytes: Bytes) -> Result<(F, i16), DecodeError> {
    let mut r = Reader::new(bytes);
    let frame_version = r.uvarint()?;
    if frame_version != FRAME_VERSION {
        return Err(DecodeError::UnsupportedFrameVersion(frame_version));
    }
    let record_type = r.uvarint()?;
    let record_type = i16::try_from(record_type)
        .map_err(|_| DecodeError::UnknownRecordType(record_type.into()))?;
    let version = r.uvarint()?;
    let version = i16::try_from(version)
        .map_err(|_| DecodeError::InvalidLength { length: version.into() })?;
    let record = F::read(record_type, &mut r, version)?;
    r.finish()?;
    Ok((record, version))
}

pub(crate) fn encode_framed<F: Family>(record: &F, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.uvarint(FRAME_VERSION);
    w.uvarint(record.record_type() as u32);
    w.uvarint(version as u32);
    record.write(&mut w, version)?;
    Ok(whole(w))
}

pub(crate) fn decode_key<F: Family>(bytes: Bytes) -> Result<F, DecodeError> {
    let mut r = Reader::new(bytes);
    let record_type = r.int16()?;
    F::read(record_type, &mut r, 0)
}

pub(crate) fn encode_key<F: Family>(key: &F) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.int16(key.record_type());
    key.write(&mut w, 0)?;
    Ok(whole(w))
}

pub(crate) fn decode_value<F: Family>(
    record_type: i16,
    bytes: Bytes,
) -> Result<(F, i16), DecodeError> {
    let mut r = Reader::new(bytes);
    let version = r.int16()?;
    Ok((F::read(record_type, &mut r, version)?, version))
}

pub(crate) fn encode_value<F: Family>(value: &F, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.int16(version);
    value.write(&mut w, version)?;
    Ok(whole(w))
}

/// Reads a message that has its version before it, as the consumer protocol's and the control records' values do. One that is newer than
/// we know is read as the newest that we know: such schemas only grow at their end.
pub fn decode_prefixed<M: Message>(bytes: Bytes) -> Result<(M, i16), DecodeError> {
    let mut r = Reader::new(bytes);
    let version = r.int16()?;
    let message = M::decode(&mut r, version.min(M::VERSIONS.max))?;
    Ok((message, version))
}

pub fn encode_prefixed<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.int16(version);
    message.encode(&mut w, version)?;
    Ok(whole(w))
}

/// No schema of a record has a `records` field, so that all its bytes are its own.
fn whole(w: Writer) -> Bytes {
    w.into_bytes().unwrap_or_default()
}
