//! How each type of the notation is laid out. What build.rs generates is put together from these.

use std::borrow::Cow;

use bytes::Bytes;
use model::Uuid;

use crate::{DecodeError, EncodeError, Reader, Records, Writer};

/// A string's length fits an int16 also where its length field would hold more.
const MAX_STRING: usize = i16::MAX as usize;

/// A type that fields can have. `flexible` tells whether the version, or the field in it, is of the flexible kind.
pub trait Wire: Sized {
    /// The smallest number of bytes a value takes in any version.
    const MIN_SIZE: usize;

    fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError>;

    fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError>;

    /// Reads a value that may be null. Structs, which have no length, have a byte before them: -1 is null.
    fn read_nullable(
        r: &mut Reader,
        version: i16,
        flexible: bool,
    ) -> Result<Option<Self>, DecodeError> {
        if r.int8()? < 0 { Ok(None) } else { Self::read(r, version, flexible).map(Some) }
    }

    fn write_nullable(
        value: Option<&Self>,
        w: &mut Writer,
        version: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        w.int8(if value.is_some() { 1 } else { -1 });
        value.map_or(Ok(()), |value| value.write(w, version, flexible))
    }
}

macro_rules! fixed_size {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            const MIN_SIZE: usize = size_of::<$ty>();

            fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
                r.fixed().map(<$ty>::from_be_bytes)
            }

            fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
                w.raw(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

fixed_size!(i8, i16, i32, i64, u16, u32, f64);

impl Wire for bool {
    const MIN_SIZE: usize = 1;

    fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
        r.int8().map(|value| value != 0)
    }

    fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
        w.int8(i8::from(*self));
        Ok(())
    }
}

impl Wire for Uuid {
    const MIN_SIZE: usize = 16;

    fn read(r: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
        r.fixed().map(Uuid)
    }

    fn write(&self, w: &mut Writer, _: i16, _: bool) -> Result<(), EncodeError> {
        w.raw(&self.0);
        Ok(())
    }
}

/// The three methods that a type with a length of its own derives from `read_nullable` and `write_nullable`.
macro_rules! by_length {
    ($min_size:expr) => {
        const MIN_SIZE: usize = $min_size;

        fn read(r: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError> {
            Self::read_nullable(r, version, flexible)?.ok_or(DecodeError::UnexpectedNull)
        }

        fn write(&self, w: &mut Writer, version: i16, flexible: bool) -> Result<(), EncodeError> {
            Self::write_nullable(Some(self), w, version, flexible)
        }
    };
}

impl Wire for String {
    by_length!(1);

    fn read_nullable(r: &mut Reader, _: i16, flexible: bool) -> Result<Option<Self>, DecodeError> {
        match r.length(flexible, false)? {
            None => Ok(None),
            Some(length) if length > MAX_STRING => Err(too_long(length)),
            Some(length) => match r.text(length)? {
                // What stands for bytes that are no UTF-8 is longer than they are; who reads a text may write it.
                text if text.len() > MAX_STRING => Err(too_long(text.len())),
                text => Ok(Some(text)),
            },
        }
    }

    fn write_nullable(
        value: Option<&Self>,
        w: &mut Writer,
        _: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match value {
            None => w.null(flexible, false),
            Some(value) if value.len() > MAX_STRING => {
                return Err(EncodeError::TooLong { length: value.len() });
            }
            Some(value) => {
                w.length(value.len(), flexible, false)?;
                w.raw(value.as_bytes());
            }
        }
        Ok(())
    }
}

/// A text of which as many whole characters are left as fit a string.
pub(crate) fn cut_short(text: &Option<String>) -> Cow<'_, Option<String>> {
    match text {
        Some(long) if long.len() > MAX_STRING => {
            Cow::Owned(Some(long[..long.floor_char_boundary(MAX_STRING)].to_owned()))
        }
        _ => Cow::Borrowed(text),
    }
}

fn too_long(length: usize) -> DecodeError {
    DecodeError::InvalidLength { length: length as i64 }
}

impl Wire for Bytes {
    by_length!(1);

    fn read_nullable(r: &mut Reader, _: i16, flexible: bool) -> Result<Option<Self>, DecodeError> {
        r.length(flexible, true)?.map(|length| r.take(length)).transpose()
    }

    fn write_nullable(
        value: Option<&Self>,
        w: &mut Writer,
        _: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        let Some(value) = value else {
            w.null(flexible, true);
            return Ok(());
        };
        w.length(value.len(), flexible, true)?;
        w.raw(value);
        Ok(())
    }
}

impl Wire for Records {
    by_length!(1);

    fn read_nullable(
        r: &mut Reader,
        version: i16,
        flexible: bool,
    ) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::read_nullable(r, version, flexible)?.map(Records::Bytes))
    }

    fn write_nullable(
        value: Option<&Self>,
        w: &mut Writer,
        _: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        let Some(value) = value else {
            w.null(flexible, true);
            return Ok(());
        };
        w.length(value.len(), flexible, true)?;
        w.records(value.clone());
        Ok(())
    }
}

impl<T: Wire> Wire for Vec<T> {
    by_length!(1);

    fn read_nullable(
        r: &mut Reader,
        version: i16,
        flexible: bool,
    ) -> Result<Option<Self>, DecodeError> {
        let Some(count) = r.length(flexible, true)? else { return Ok(None) };
        r.admit(count, T::MIN_SIZE, size_of::<T>())?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(r, version, flexible)?);
        }
        Ok(Some(elements))
    }

    fn write_nullable(
        value: Option<&Self>,
        w: &mut Writer,
        version: i16,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        let Some(value) = value else {
            w.null(flexible, true);
            return Ok(());
        };
        w.length(value.len(), flexible, true)?;
        value.iter().try_for_each(|element| element.write(w, version, flexible))
    }
}

/// Reads a field that is nullable in some of its versions, among them this one or not.
pub(crate) fn read_if_nullable<T: Wire>(
    nullable: bool,
    r: &mut Reader,
    version: i16,
    flexible: bool,
) -> Result<Option<T>, DecodeError> {
    if nullable {
        T::read_nullable(r, version, flexible)
    } else {
        T::read(r, version, flexible).map(Some)
    }
}

pub(crate) fn write_if_nullable<T: Wire>(
    nullable: bool,
    value: &Option<T>,
    w: &mut Writer,
    version: i16,
    flexible: bool,
    field: &'static str,
) -> Result<(), EncodeError> {
    match value {
        value if nullable => T::write_nullable(value.as_ref(), w, version, flexible),
        Some(value) => value.write(w, version, flexible),
        None => Err(EncodeError::NullInVersion { field, version }),
    }
}

/// A nullable struct in a tagged field: what stands before it is a varint, and 0 is null.
pub(crate) fn read_tagged_struct<T: Wire>(
    r: &mut Reader,
    version: i16,
) -> Result<Option<T>, DecodeError> {
    if r.uvarint()? == 0 { Ok(None) } else { T::read(r, version, true).map(Some) }
}

pub(crate) fn write_tagged_struct<T: Wire>(
    value: &Option<T>,
    w: &mut Writer,
    version: i16,
) -> Result<(), EncodeError> {
    w.int8(i8::from(value.is_some()));
    value.as_ref().map_or(Ok(()), |value| value.write(w, version, true))
}

/// Fails if a field that the version lacks, and that must not be lost silently, has been set.
pub(crate) fn absent(set: bool, field: &'static str, version: i16) -> Result<(), EncodeError> {
    if set { Err(EncodeError::NotInVersion { field, version }) } else { Ok(()) }
}

/// Whether a field whose default is empty, not null, has been set.
pub(crate) trait Filled {
    fn filled(&self) -> bool;
}

impl Filled for String {
    fn filled(&self) -> bool {
        !self.is_empty()
    }
}

impl Filled for Bytes {
    fn filled(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Filled for Vec<T> {
    fn filled(&self) -> bool {
        !self.is_empty()
    }
}

impl<T: Filled> Filled for Option<T> {
    fn filled(&self) -> bool {
        self.as_ref().is_none_or(T::filled)
    }
}
