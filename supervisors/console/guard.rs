//! Whom the console answers. Any page that a browser on this machine shows can make it ask here, by a name of the page's own that leads
//! to this machine; it names itself by `Host` and `Origin`, which it cannot change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;

use super::connections::Few;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Where somebody arrived; none where the connection has ended since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived(pub(super) Option<SocketAddr>);

impl Arrived {
    /// Over this machine's loopback.
    pub(super) fn is_here(self) -> bool {
        self.0.is_some_and(|local| local.ip().to_canonical().is_loopback())
    }
}

impl Connected<IncomingStream<'_, Few>> for Arrived {
    fn connect_info(stream: IncomingStream<'_, Few>) -> Arrived {
        *stream.remote_addr()
    }
}

/// Refuses what a page of elsewhere asks for. `own` are the console's names beside localhost.
pub(super) async fn refuse_foreign(
    State(own): State<Arc<[String]>>,
    ConnectInfo(arrived): ConnectInfo<Arrived>,
    request: Request,
    next: Next,
) -> Response {
    let here = arrived.0.is_none() || arrived.is_here();
    let is_page = request.method() == Method::GET && request.uri().path() == "/";
    let foreign = foreign(here, &own, request.headers())
        .or_else(|| is_sent_by_another(request.headers(), is_page).then_some(SITE));
    match foreign {
        Some(header) if header == SITE => {
            let why = "the console is not asked by pages of other sites: open the address itself, in the browser's address bar\n";
            (StatusCode::FORBIDDEN, why).into_response()
        }
        Some(header) => {
            let named = own.iter().filter(|name| !name.is_empty());
            let named: String = named.map(|name| format!(", {name}")).collect();
            let why = format!(
                "the console is not asked by others: {header} is foreign to it, which goes by its addresses, localhost{named}\n"
            );
            (StatusCode::FORBIDDEN, why).into_response()
        }
        None => next.run(request).await,
    }
}

/// The header that names somebody else.
fn foreign(here: bool, own: &[String], headers: &HeaderMap) -> Option<HeaderName> {
    let hosts = || headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    if !hosts().all(|host| is_own(here, host, own)) {
        return Some(HOST);
    }
    let is_same = |origin: &str| {
        let site = origin.strip_prefix("http://");
        site.is_some_and(|site| hosts().any(|host| host == site))
    };
    let mut origins = headers.get_all(ORIGIN).iter();
    let all_same = origins.all(|origin| is_same(origin.to_str().unwrap_or_default()));
    (!all_same).then_some(ORIGIN)
}

/// Browsers say of most requests whose page they are for. What a page of elsewhere loads as a script, a picture or a frame has no
/// `Origin`, and its answer tells it something even so: how long it took, how large it is. Who follows a link from there is let in,
/// and sees the page as one of its own, not within another.
fn is_sent_by_another(headers: &HeaderMap, is_page: bool) -> bool {
    let is = |name, value: &[&str]| {
        let mut told = headers.get_all(name).iter();
        told.any(|told| told.to_str().is_ok_and(|told| value.contains(&told)))
    };
    let is_document = headers.get_all(DEST).iter().all(|told| told == "document");
    let is_link = is_page && is(MODE, &["navigate"]) && is_document;
    is(SITE, &["cross-site", "same-site"]) && !is_link
}

/// Who does not come over this machine's loopback may use any address that leads there: no page is at an address of another.
fn is_own(here: bool, host: &str, own: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(ipv6) => ipv6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let leads_here = |address: IpAddr| !here || address.to_canonical().is_loopback();
    let mut names = own.iter().map(String::as_str).chain(["localhost"]);
    let is_named = names.any(|own| !own.is_empty() && name.eq_ignore_ascii_case(own));
    is_named || name.parse().is_ok_and(leads_here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(here: bool, given: &[(HeaderName, &'static str)]) -> Option<HeaderName> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name, axum::http::HeaderValue::from_static(value));
        }
        foreign(here, &["".to_owned(), "Kafka-1".to_owned()], &headers)
    }

    #[test]
    fn names_that_lead_to_this_machine_are_not_taken_for_it() {
        for own in
            ["localhost:80", "LOCALHOST", "127.0.0.1:80", "127.1.2.3", "[::1]:80", "kafka-1:80"]
        {
            assert_eq!(refused(true, &[(HOST, own)]), None, "{own}");
            assert_eq!(refused(false, &[(HOST, own)]), None, "{own}");
        }
        for other in ["a.example", "localhost.a.example", "127.0.0.1.a.example", "", ":80", "["] {
            for here in [true, false] {
                let with = |more: &[_]| refused(here, &[more, &[(HOST, other)]].concat());
                assert_eq!(with(&[]), Some(HOST), "{other}");
                assert_eq!(with(&[(HOST, "localhost")]), Some(HOST), "{other}");
            }
        }
        for address in ["10.0.0.1:80", "[::2]", "[fe80::1]:80"] {
            assert_eq!(refused(true, &[(HOST, address)]), Some(HOST), "{address}");
            assert_eq!(refused(false, &[(HOST, address)]), None, "{address}");
        }
        assert_eq!(refused(true, &[]), None, "no browser leaves it out");
    }

    #[test]
    fn what_a_page_of_elsewhere_loads_is_refused_and_a_link_to_the_console_is_not() {
        let by = |given: &[(HeaderName, &'static str)], is_page| {
            let given = given.iter().cloned();
            let given = given.map(|(name, it)| (name, axum::http::HeaderValue::from_static(it)));
            is_sent_by_another(&given.collect(), is_page)
        };
        let of = |site, mode, is_page| by(&[(SITE, site), (MODE, mode)], is_page);
        for own in ["same-origin", "none"] {
            assert!(!of(own, "cors", false) && !of(own, "navigate", true), "{own}");
        }
        for other in ["cross-site", "same-site"] {
            assert!(!of(other, "navigate", true), "{other}");
            for (dest, refused) in [("document", false), ("iframe", true), ("object", true)] {
                let given = [(SITE, other), (MODE, "navigate"), (DEST, dest)];
                assert_eq!(by(&given, true), refused, "{other} {dest}");
            }
            for (mode, is_page) in [("navigate", false), ("no-cors", true), ("no-cors", false)] {
                assert!(of(other, mode, is_page), "{other} {mode}");
            }
        }
        assert!(!is_sent_by_another(&HeaderMap::new(), false), "who scrapes sends none");
    }

    #[test]
    fn an_origin_is_the_console_itself_or_foreign() {
        for here in [true, false] {
            let of = |origin| refused(here, &[(HOST, "localhost:80"), (ORIGIN, origin)]);
            assert_eq!(of("http://localhost:80"), None);
            for other in
                ["http://a.example", "http://localhost:81", "https://localhost:80", "null", ""]
            {
                assert_eq!(of(other), Some(ORIGIN), "{other}");
            }
        }
        assert_eq!(refused(true, &[(ORIGIN, "http://localhost")]), Some(ORIGIN));
    }
}
