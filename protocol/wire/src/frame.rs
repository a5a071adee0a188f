//! Requests and responses as they cross a connection: four bytes of length, the header, the body.

use bytes::{Bytes, BytesMut};

use crate::{
    ApiKey, DecodeError, EncodeError, Message, Part, Reader, Request, RequestHeader, Response,
    ResponseHeader, Writer,
};

/// Of the length before a frame.
const LENGTH: usize = 4;

/// Reads the header of a request, whose version depends on the first two fields in it.
pub fn decode_request_header(r: &mut Reader) -> Result<(ApiKey, RequestHeader), DecodeError> {
    let code = r.peek_int16(0)?;
    let version = r.peek_int16(1)?;
    let key = ApiKey::from_code(code).ok_or(DecodeError::UnknownApiKey(code))?;
    let header = RequestHeader::decode(r, key.request_header_version(version))?;
    Ok((key, header))
}

/// A request as a frame.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Vec<Part>, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::KEY.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.map(str::to_owned),
        ..RequestHeader::default()
    };
    let header_version = R::KEY.request_header_version(version);
    encode(Writer::new(), &header, header_version, request, version)
}

/// A response as a frame.
pub fn encode_response<R: Response>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Part>, EncodeError> {
    encode_response_within(response, version, correlation_id, usize::MAX)
}

/// The same, given up with [`EncodeError::BeyondLimit`] where more than about `limit` bytes would be copied: records are not.
pub fn encode_response_within<R: Response>(
    response: &R,
    version: i16,
    correlation_id: i32,
    limit: usize,
) -> Result<Vec<Part>, EncodeError> {
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    let header_version = R::KEY.response_header_version(version);
    encode(Writer::within(limit), &header, header_version, response, version)
}

/// Reads a response from a frame without its length; its correlation id comes first.
pub fn decode_response<R: Response>(frame: Bytes, version: i16) -> Result<(i32, R), DecodeError> {
    let mut r = Reader::new(frame);
    let header = ResponseHeader::decode(&mut r, R::KEY.response_header_version(version))?;
    Ok((header.correlation_id, R::decode(&mut r, version)?))
}

/// Header and body of a frame, without the length before them. None where it has records, which lie in files.
pub fn without_length(parts: Vec<Part>) -> Option<Bytes> {
    let mut bytes = BytesMut::with_capacity(parts.iter().map(Part::len).sum());
    for part in parts {
        match part {
            Part::Bytes(part) => bytes.extend_from_slice(&part),
            Part::External { .. } => return None,
        }
    }
    let length = LENGTH.min(bytes.len());
    Some(bytes.freeze().slice(length..))
}

fn encode(
    mut w: Writer,
    header: &impl Message,
    header_version: i16,
    body: &impl Message,
    version: i16,
) -> Result<Vec<Part>, EncodeError> {
    w.int32(0);
    header.encode(&mut w, header_version)?;
    body.encode(&mut w, version)?;
    let length = w.len() - LENGTH;
    w.set_int32(0, i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?);
    Ok(w.into_parts())
}
