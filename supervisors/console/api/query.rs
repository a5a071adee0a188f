//! What stands behind the question mark of an address.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiError;

const PAGE: usize = 50;
/// No page has more.
const MOST: usize = 200;
const LONGEST_SEARCH: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Asked(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Infallible> {
        Ok(Asked::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Asked {
    fn parse(query: &str) -> Asked {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Asked(pairs.collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(super) fn needed(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| ApiError::wrong(format!("{name} is missing")))
    }

    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| ApiError::wrong(format!("{name} is not such a number")))
        };
        self.text(name).map(parse).transpose()
    }

    pub(super) fn page(&self) -> Result<Page, ApiError> {
        let limit = self.number("limit")?.unwrap_or(PAGE).clamp(1, MOST);
        Ok(Page { offset: self.number("offset")?.unwrap_or(0), limit })
    }

    /// In small letters, as names are compared.
    pub(super) fn search(&self) -> Result<String, ApiError> {
        let search = self.text("search").unwrap_or_default();
        match search.len() <= LONGEST_SEARCH {
            true => Ok(search.to_lowercase()),
            false => Err(ApiError::wrong("nothing that long is searched for")),
        }
    }
}

impl Page {
    pub(super) fn of<T>(self, all: Vec<T>) -> impl Iterator<Item = T> {
        all.into_iter().skip(self.offset).take(self.limit)
    }
}

/// What is no escape stands for itself.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let escaped = escaped.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 16).ok()
        });
        at += if escaped.is_some() { 3 } else { 1 };
        out.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_what_they_stand_for() {
        let asked = Asked::parse("a=%3Cb%3E+%26&c=%&d=%e4&e&=f&g=%zz");
        assert_eq!(asked.text("a"), Some("<b> &"));
        assert_eq!(asked.text("c"), Some("%"));
        assert_eq!(asked.text("d"), Some("\u{fffd}"));
        assert_eq!((asked.text("e"), asked.text("g")), (None, Some("%zz")));
    }

    #[test]
    fn pages_are_bounded() {
        let page = |query: &str| Asked::parse(query).page();
        assert_eq!(page("").unwrap().limit, PAGE);
        assert_eq!(page("limit=1000000").unwrap().limit, MOST);
        assert_eq!(page("limit=0").unwrap().limit, 1);
        assert!(page("limit=-1").is_err() && page("offset=x").is_err());
        assert_eq!(page("offset=3&limit=2").unwrap().of((0..9).collect()).last(), Some(4));
        assert!(Asked::parse(&format!("search={}", "x".repeat(257))).search().is_err());
    }
}
