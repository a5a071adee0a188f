//! What stands behind the question mark of an address.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiError;
use crate::console::query::Query;

const PAGE: usize = 50;
/// No page has more.
const MOST: usize = 200;
const LONGEST_SEARCH: usize = 256;

/// Everything that may be asked for by some address.
const KNOWN: &[&str] = &[
    "at",
    "broker",
    "from",
    "group",
    "internal",
    "limit",
    "name",
    "node",
    "offset",
    "only",
    "partition",
    "path",
    "search",
    "since",
    "sort",
    "topic",
    "until",
];

#[derive(Debug)]
pub(super) struct Asked(Query);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, ApiError> {
        Asked::parse(parts.uri.query().unwrap_or_default())
    }
}

/// A part of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Asked {
    fn parse(query: &str) -> Result<Asked, ApiError> {
        Query::parse(query, KNOWN).map(Asked).map_err(ApiError::wrong)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).filter(|text| !text.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_not_encoded_is_refused() {
        let asked = Asked::parse("search=%3Cb%3E+%26&path=").expect("known");
        assert_eq!((asked.text("search"), asked.text("path")), (Some("<b> &"), None));
        for wrong in ["serach=a", "search=%", "search=%zz", "search=%e4"] {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        let page = |query: &str| Asked::parse(query)?.page();
        assert_eq!(page("").unwrap().limit, PAGE);
        assert_eq!(page("limit=1000000").unwrap().limit, MOST);
        assert_eq!(page("limit=0").unwrap().limit, 1);
        assert!(page("limit=-1").is_err() && page("offset=x").is_err());
        assert_eq!(page("offset=3&limit=2").unwrap().of((0..9).collect()).last(), Some(4));
        let long = Asked::parse(&format!("search={}", "x".repeat(257))).expect("known");
        assert!(long.search().is_err());
    }
}
