//! Records as JSON: field for field the text that Kafka's converters make of them (`JsonConverterGenerator`), which its tools print.

use bytes::Bytes;
use model::Uuid;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What can be shown as JSON: every record's type and what it is made of. Requests and responses cannot.
pub trait Json {
    /// Appends the value as it is written in `version`: fields of other versions are left out, and so are tagged ones that
    /// hold their default.
    fn json(&self, out: &mut String, version: i16);
}

/// The object that a struct is shown as.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    version: i16,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut String, version: i16) -> Object<'a> {
        out.push('{');
        Object { out, version, empty: true }
    }

    pub(crate) fn field(&mut self, name: &str, value: &impl Json) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        text(self.out, name);
        self.out.push(':');
        value.json(self.out, self.version);
    }

    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

/// Appends a text in quotes.
pub fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => out.push_str(&format!("\\u{:04X}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}

macro_rules! as_displayed {
    ($($ty:ty),*) => {$(
        impl Json for $ty {
            fn json(&self, out: &mut String, _: i16) {
                out.push_str(&self.to_string());
            }
        }
    )*};
}

as_displayed!(bool, i8, i16, i32, i64, u16, u32);

impl Json for f64 {
    /// As Java writes a double: with a fraction, and with an exponent where it is far from 1. What is no number is a text.
    fn json(&self, out: &mut String, _: i16) {
        if self.is_nan() {
            return text(out, "NaN");
        }
        if self.is_infinite() {
            return text(out, if *self > 0.0 { "Infinity" } else { "-Infinity" });
        }
        let plain = *self == 0.0 || (1e-3..1e7).contains(&self.abs());
        let written = if plain { format!("{self:?}") } else { format!("{self:E}") };
        match written.split_once('E') {
            Some((mantissa, exponent)) if !mantissa.contains('.') => {
                out.push_str(&format!("{mantissa}.0E{exponent}"));
            }
            _ => out.push_str(&written),
        }
    }
}

impl Json for Uuid {
    fn json(&self, out: &mut String, _: i16) {
        text(out, &self.to_string());
    }
}

impl Json for String {
    fn json(&self, out: &mut String, _: i16) {
        text(out, self);
    }
}

impl Json for Bytes {
    /// As base64.
    fn json(&self, out: &mut String, _: i16) {
        out.push('"');
        for chunk in self.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for digit in 0..4 {
                let shown = BASE64[(bits >> (18 - 6 * digit) & 63) as usize];
                out.push(if digit <= chunk.len() { shown as char } else { '=' });
            }
        }
        out.push('"');
    }
}

impl<T: Json> Json for Vec<T> {
    fn json(&self, out: &mut String, version: i16) {
        out.push('[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            item.json(out, version);
        }
        out.push(']');
    }
}

impl<T: Json> Json for Option<T> {
    fn json(&self, out: &mut String, version: i16) {
        match self {
            Some(value) => value.json(out, version),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for Box<T> {
    fn json(&self, out: &mut String, version: i16) {
        (**self).json(out, version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TransactionLogValue, transaction_log_value::PartitionsSchema};

    fn shown(value: &impl Json, version: i16) -> String {
        let mut out = String::new();
        value.json(&mut out, version);
        out
    }

    #[test]
    fn values_are_written_as_kafka_writes_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (1048576.0, "1048576.0"),
            (9999999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (1.25e10, "1.25E10"),
            (1e-3, "0.001"),
            (1.5e-4, "1.5E-4"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NAN, "\"NaN\""),
        ] {
            assert_eq!(shown(&value, 0), expected);
        }
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xfe", "//4="),
        ] {
            assert_eq!(shown(&Bytes::copy_from_slice(bytes), 0), format!("\"{expected}\""));
        }
        assert_eq!(
            shown(&"a\"b\\c\n\t\r\u{8}\u{c}\u{1f}ä/".to_owned(), 0),
            r#""a\"b\\c\n\t\r\b\f\u001Fä/""#
        );
        assert_eq!(shown(&Uuid::ONE, 0), "\"AAAAAAAAAAAAAAAAAAAAAQ\"");
        assert_eq!(shown(&Some(vec![1i32, -2]), 0), "[1,-2]");
        assert_eq!(shown(&None::<String>, 0), "null");
    }

    #[test]
    fn fields_of_other_versions_and_tagged_defaults_are_left_out() {
        let mut record = TransactionLogValue { producer_id: 5, ..Default::default() };
        let untagged = concat!(
            r#"{"producerId":5,"producerEpoch":0,"transactionTimeoutMs":0,"transactionStatus":0,"transactionPartitions":null,"#,
            r#""transactionLastUpdateTimestampMs":0,"transactionStartTimestampMs":0}"#
        );
        record.transaction_partitions = None;
        assert_eq!(shown(&record, 1), untagged);
        record.next_producer_id = 9;
        assert_eq!(shown(&record, 0), untagged, "version 0 has no such field");
        let topic =
            PartitionsSchema { topic: "t".into(), partition_ids: vec![1], ..Default::default() };
        record.transaction_partitions = Some(vec![topic]);
        let json = shown(&record, 1);
        assert!(json.contains(r#""producerId":5,"nextProducerId":9,"producerEpoch""#), "{json}");
        assert!(
            json.contains(r#""transactionPartitions":[{"topic":"t","partitionIds":[1]}],"#),
            "{json}"
        );
    }
}
