//! How users' types look as bytes.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use bincode::config::{Configuration, LittleEndian, Varint};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::counted::AtMost;
use super::counting::Counting;
use crate::panics;

/// Of one encoded value.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// What decoding a small and a large value may reserve: no type takes more than 32 bytes in memory, by its decoder's count, for each
/// byte of its encoding, so that whatever was written can be read.
const SMALL: usize = 1 << 20;
const MOST_FOR_SMALL: usize = 32 * SMALL;
const MOST: usize = 32 * MAX_BYTES;
/// So many elements there may be in the lists and maps of a small and a large value: more than their bytes, for those that take none.
const ELEMENTS_OF_SMALL: usize = 2 * SMALL;
const ELEMENTS: usize = 2 * MAX_BYTES;

const CONFIG: Configuration<LittleEndian, Varint> = bincode::config::standard();

/// Why bytes are not the value that they should be, or a value has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("cannot be written: {0}")]
    Encode(String),
    #[error("cannot be read: {0}")]
    Decode(String),
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    #[error("written in version {found}, where {known} is known and it has no upgrade")]
    Version { found: u32, known: u32 },
}

/// A value of a user's type.
///
/// # Errors
/// Its type does not let itself be written, panics, or the value takes more than 16 MiB, or has more than 2 Mi elements that take
/// nothing, such as those of a `Vec<()>`.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let count = Cell::new(0);
    let counting = Counting { value, count: &count, most: ELEMENTS };
    let encode = || bincode::serde::encode_to_vec(&counting, CONFIG);
    let encoded = panics::catch(AssertUnwindSafe(encode))
        .map_err(|panic| CodecError::Encode(panic.to_string()))?
        .map_err(|error| CodecError::Encode(error.to_string()))?;
    let (bytes, count) = (encoded.len(), count.get());
    if bytes <= SMALL && count > ELEMENTS_OF_SMALL {
        let message =
            format!("{count} elements in {bytes} bytes, where {ELEMENTS_OF_SMALL} are the most");
        return Err(CodecError::Encode(message));
    }
    bounded(encoded)
}

/// The value that [`encode`] wrote: for upgrades too.
///
/// # Errors
/// It is not one of this type, which may also panic.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let decode = || match bytes.len() {
        ..=SMALL => {
            let config = CONFIG.with_limit::<MOST_FOR_SMALL>();
            let read = bincode::serde::decode_from_slice::<AtMost<T, ELEMENTS_OF_SMALL>, _>;
            read(bytes, config).map(|(AtMost(value), used)| (value, used))
        }
        _ => {
            let config = CONFIG.with_limit::<MOST>();
            let read = bincode::serde::decode_from_slice::<AtMost<T, ELEMENTS>, _>;
            read(bytes, config).map(|(AtMost(value), used)| (value, used))
        }
    };
    let decoded = panics::catch(AssertUnwindSafe(decode));
    whole(bytes, decoded.map_err(|panic| CodecError::Decode(panic.to_string()))?)
}

/// The body of a record, behind its format.
pub(super) fn encode_body(format: u8, body: &impl bincode::Encode) -> Result<Bytes, CodecError> {
    let mut value = vec![format];
    bincode::encode_into_std_write(body, &mut value, CONFIG)
        .map_err(|error| CodecError::Encode(error.to_string()))?;
    bounded(value).map(Bytes::from)
}

pub(super) fn decode_body<T: bincode::Decode<()>>(body: &[u8]) -> Result<T, CodecError> {
    whole(body, bincode::decode_from_slice(body, CONFIG.with_limit::<MOST>()))
}

fn bounded(encoded: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    if encoded.len() > MAX_BYTES {
        let message = format!("{} bytes, where {MAX_BYTES} is the most", encoded.len());
        return Err(CodecError::Encode(message));
    }
    Ok(encoded)
}

fn whole<T>(
    bytes: &[u8],
    decoded: Result<(T, usize), bincode::error::DecodeError>,
) -> Result<T, CodecError> {
    match decoded {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(CodecError::Trailing(bytes.len() - used)),
        Err(error) => Err(CodecError::Decode(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Map;

    /// Of each of these the decoder counts many times the bytes.
    #[test]
    fn what_can_be_written_can_be_read() {
        let small = vec![1u64; MAX_BYTES - 5];
        assert_eq!(decode::<Vec<u64>>(&encode(&small).unwrap()), Ok(small));
        let wide = vec![Some(1u128); SMALL / 2 - 5];
        assert_eq!(decode::<Vec<Option<u128>>>(&encode(&wide).unwrap()), Ok(wide));
        let events: Vec<(String, Option<i64>)> = vec![Default::default(); SMALL];
        let body = encode_body(1, &events).unwrap();
        assert_eq!(decode_body::<Vec<(String, Option<i64>)>>(&body[1..]), Ok(events));
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Of {
        Lists(Vec<(u8, Option<Box<[u16]>>)>),
        Maps { by_name: Map<String, Unit>, by_unit: Map<Unit, i8> },
        One(Unit),
        None,
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
    struct Unit;

    #[test]
    fn elements_that_take_no_bytes_are_counted() {
        let few = vec![(); SMALL];
        assert_eq!(decode::<Vec<()>>(&encode(&few).unwrap()), Ok(few));
        let many = encode(&(1u64 << 63)).unwrap();
        let refused =
            |error: CodecError| assert!(error.to_string().contains("elements"), "{error}");
        refused(decode::<Vec<()>>(&many).unwrap_err());
        refused(decode::<Map<(), Unit>>(&many).unwrap_err());
        refused(decode::<Vec<Vec<Unit>>>(&[&[1], &many[..]].concat()).unwrap_err());
        for value in [
            Of::Lists(vec![(1, None), (2, Some([3, 4].into()))]),
            Of::Maps { by_name: [("a".into(), Unit)].into(), by_unit: [(Unit, -1)].into() },
            Of::One(Unit),
            Of::None,
        ] {
            assert_eq!(decode(&encode(&value).unwrap()), Ok(value));
        }
    }

    #[test]
    fn more_elements_that_take_no_bytes_than_could_be_read_are_not_written() {
        let most = vec![(); ELEMENTS_OF_SMALL - 1];
        let within = (7u8, Some(vec![most.clone()]));
        assert_eq!(decode(&encode(&within).unwrap()), Ok(within));
        let refused = |encoded: Result<Vec<u8>, CodecError>| {
            let error = encoded.unwrap_err().to_string();
            assert!(error.contains("elements"), "{error}");
        };
        refused(encode(&vec![most.clone(), vec![()]]));
        refused(encode(&[(1u8, most.clone()), (2, vec![(); 2])]));
        let by_name: Map<&str, (Unit, &[()])> =
            [("a", (Unit, &most[..])), ("b", (Unit, &most[..0]))].into();
        refused(encode(&by_name));
        // Before it has counted to there.
        refused(encode(&vec![(); usize::MAX]));
        // A large value may have more of them.
        let large = (vec![1u8; 2 * SMALL], vec![(); 2 * ELEMENTS_OF_SMALL]);
        assert_eq!(decode(&encode(&large).unwrap()), Ok(large));
    }

    #[test]
    fn what_could_not_be_read_is_not_written() {
        assert!(encode(&vec![1u8; MAX_BYTES - 5]).is_ok());
        assert!(encode(&vec![1u8; MAX_BYTES - 4]).is_err());
        assert!(encode_body(1, &vec![1u8; MAX_BYTES - 5]).is_err());
    }

    struct Bad;

    impl Serialize for Bad {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("a bug of the user's type")
        }
    }

    #[test]
    fn a_panic_of_a_type_is_an_error() {
        let error = encode(&Bad).unwrap_err().to_string();
        assert!(error.contains("a bug of the user's type"), "{error}");
    }
}
