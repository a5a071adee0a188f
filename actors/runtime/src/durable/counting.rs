//! Elements are counted where they are written, too: a list of more that take no bytes (`Vec<()>`) than [`AtMost`](super::counted::AtMost)
//! lets pass could not be read any more.

use std::cell::Cell;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value whose lists and maps tell how many elements they have, as it is written; no more than this many.
pub(super) struct Counting<'c, T: ?Sized> {
    pub value: &'c T,
    pub count: &'c Cell<usize>,
    pub most: usize,
}

/// Does what that which is in it does, and has all that is below it do it likewise.
pub(super) struct Count<'c, X> {
    inner: X,
    count: &'c Cell<usize>,
    most: usize,
}

impl<T: Serialize + ?Sized> Serialize for Counting<'_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Count { inner, count: self.count, most: self.most })
    }
}

impl<'c, X> Count<'c, X> {
    fn below<'v, T: ?Sized>(&self, value: &'v T) -> Counting<'v, T>
    where
        'c: 'v,
    {
        Counting { value, count: self.count, most: self.most }
    }

    fn with<Y>(&self, inner: Y) -> Count<'c, Y> {
        Count { inner, count: self.count, most: self.most }
    }

    /// Before the first of them is written: there may be 2^63.
    fn add<E: Error>(&self, elements: Option<usize>) -> Result<(), E> {
        let count = self.count.get().saturating_add(elements.unwrap_or(0));
        self.count.set(count);
        match count > self.most {
            true => {
                Err(E::custom(format_args!("{count} elements, where {} are the most", self.most)))
            }
            false => Ok(()),
        }
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method(self, $($name: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        })*
    };
}

impl<'c, S: Serializer> Serializer for Count<'c, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Count<'c, S::SerializeSeq>;
    type SerializeTuple = Count<'c, S::SerializeTuple>;
    type SerializeTupleStruct = Count<'c, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Count<'c, S::SerializeTupleVariant>;
    type SerializeMap = Count<'c, S::SerializeMap>;
    type SerializeStruct = Count<'c, S::SerializeStruct>;
    type SerializeStructVariant = Count<'c, S::SerializeStructVariant>;

    forward! {
        serialize_bool(v: bool) serialize_i8(v: i8) serialize_i16(v: i16) serialize_i32(v: i32)
        serialize_i64(v: i64) serialize_i128(v: i128) serialize_u8(v: u8) serialize_u16(v: u16)
        serialize_u32(v: u32) serialize_u64(v: u64) serialize_u128(v: u128) serialize_f32(v: f32)
        serialize_f64(v: f64) serialize_char(v: char) serialize_str(v: &str)
        serialize_bytes(v: &[u8]) serialize_none() serialize_unit()
        serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.below(value);
        self.inner.serialize_some(&value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.below(value);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.below(value);
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.add(len)?;
        let around = self.with(());
        Ok(around.with(self.inner.serialize_seq(len)?))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.add(len)?;
        let around = self.with(());
        Ok(around.with(self.inner.serialize_map(len)?))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let around = self.with(());
        Ok(around.with(self.inner.serialize_tuple(len)?))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let around = self.with(());
        Ok(around.with(self.inner.serialize_tuple_struct(name, len)?))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let around = self.with(());
        Ok(around.with(self.inner.serialize_tuple_variant(name, index, variant, len)?))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let around = self.with(());
        Ok(around.with(self.inner.serialize_struct(name, len)?))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let around = self.with(());
        Ok(around.with(self.inner.serialize_struct_variant(name, index, variant, len)?))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! compound {
    ($($of:ident: $($method:ident($($name:ident: $type:ty)?))*;)*) => {
        $(impl<X: $of> $of for Count<'_, X> {
            type Ok = X::Ok;
            type Error = X::Error;

            $(fn $method<T: Serialize + ?Sized>(&mut self, $($name: $type,)? value: &T) -> Result<(), X::Error> {
                let value = self.below(value);
                self.inner.$method($($name,)? &value)
            })*

            fn end(self) -> Result<X::Ok, X::Error> {
                self.inner.end()
            }
        })*
    };
}

compound! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key() serialize_value();
    SerializeStruct: serialize_field(key: &'static str);
    SerializeStructVariant: serialize_field(key: &'static str);
}
