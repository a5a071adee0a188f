//! What follows the question mark of an address.

use std::collections::BTreeMap;

/// Names and values. One that nobody knows is refused.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Query(BTreeMap<&'static str, String>);

impl Query {
    pub(super) fn parse(query: &str, known: &[&'static str]) -> Result<Query, String> {
        let mut values = BTreeMap::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = known.iter().find(|there| **there == name);
            let name =
                name.ok_or_else(|| format!("{part}: one of {} is expected", known.join(", ")))?;
            let value = decoded(value).ok_or_else(|| format!("{part}: it is not well encoded"))?;
            values.insert(*name, value);
        }
        Ok(Query(values))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = behind.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
                rest = &behind[2..];
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// So that it stands for itself in an address.
pub(super) fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for value in ["", "orders-3", "a b&c=d%/?#ü", "100%"] {
            assert_eq!(decoded(&encoded(value)).as_deref(), Some(value));
        }
        assert_eq!(decoded("a+b").as_deref(), Some("a b"));
        for wrong in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        let query = Query::parse("depth=2&filter=x", &["depth", "filter"]).expect("known");
        assert_eq!((query.get("depth"), query.get("filter")), (Some("2"), Some("x")));
        let refused = Query::parse("depht=2", &["depth", "filter"]);
        assert_eq!(refused, Err("depht=2: one of depth, filter is expected".to_owned()));
    }
}
