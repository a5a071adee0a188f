//! Asking a running node's console.

use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::time::Duration;

use model::node_config::HostPort;
use runtime::{ActorTree, AskTrace, Fault, Order, Scope, SetFault, TopPage, Traced};

use super::printable;
use super::query::encoded;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A tree of some hundred thousand actors.
const MAX_ANSWER: u64 = 512 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "no console answers on {address} ({source}): is the node running, and not with --console off?"
    )]
    Io { address: String, source: std::io::Error },
    #[error("{address} does not answer as a console does: {answer}")]
    Answer { address: String, answer: String },
    #[error("{0}")]
    Refused(String),
    #[error("there is no thread to ask in: {0}")]
    Thread(std::io::Error),
    #[error("{address} sent what cannot be read: {source}")]
    Json { address: String, source: serde_json::Error },
}

/// The trees of the nodes behind a console, as much of them as is asked for.
///
/// # Errors
/// Nobody answers there, or it is refused.
pub fn fetch_tree(console: &HostPort, scope: &Scope) -> Result<Vec<ActorTree>, FetchError> {
    let depth = scope.depth.map(|depth| depth.to_string());
    let asked = [("under", &scope.under), ("filter", &scope.filter), ("depth", &depth)];
    let answer = request(console, &format!("GET /tree{}", query(&asked)), "")?;
    serde_json::from_str(&answer).map_err(|source| unreadable(console, source))
}

/// The first actors in an order.
///
/// # Errors
/// As [`fetch_tree`].
pub fn fetch_top(
    console: &HostPort,
    scope: &Scope,
    order: Order,
    most: usize,
) -> Result<TopPage, FetchError> {
    let (sort, limit) = (Some(order.name().to_owned()), Some(most.to_string()));
    let (under, filter) = (&scope.under, &scope.filter);
    let asked = [("sort", &sort), ("limit", &limit), ("under", under), ("filter", filter)];
    let answer = request(console, &format!("GET /top{}", query(&asked)), "")?;
    serde_json::from_str(&answer).map_err(|source| unreadable(console, source))
}

fn query(asked: &[(&str, &Option<String>)]) -> String {
    let mut text = String::new();
    for (name, value) in asked.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        let opening = if text.is_empty() { '?' } else { '&' };
        text += &format!("{opening}{name}={}", encoded(value));
    }
    text
}

fn unreadable(console: &HostPort, source: serde_json::Error) -> FetchError {
    FetchError::Json { address: console.to_string(), source }
}

/// Where the cluster of a console's nodes can be asked.
///
/// # Errors
/// As [`fetch_tree`].
pub fn fetch_reach(console: &HostPort) -> Result<Vec<serde_json::Value>, FetchError> {
    let answer = request(console, "GET /reach", "")?;
    serde_json::from_str(&answer).map_err(|source| unreadable(console, source))
}

/// Lets a fault befall an actor; which one that is.
///
/// # Errors
/// Nobody answers there, or it is refused.
pub fn set_fault(console: &HostPort, actor: String, fault: Fault) -> Result<String, FetchError> {
    let answer = post(console, "POST /fault", serde_json::to_string(&SetFault { actor, fault }))?;
    Ok(printable(&answer).into_owned())
}

/// What an actor did since it was asked for before.
///
/// # Errors
/// Nobody answers there, or it is refused.
pub fn fetch_trace(console: &HostPort, asked: &AskTrace) -> Result<Traced, FetchError> {
    let answer = post(console, "POST /trace", serde_json::to_string(asked))?;
    serde_json::from_str(&answer).map_err(|source| unreadable(console, source))
}

fn post(
    console: &HostPort,
    what: &str,
    asked: serde_json::Result<String>,
) -> Result<String, FetchError> {
    let address = console.to_string();
    let asked = asked.map_err(|source| FetchError::Io { address, source: source.into() })?;
    request(console, what, &asked)
}

fn request(console: &HostPort, what: &str, asked: &str) -> Result<String, FetchError> {
    let address = console.to_string();
    let answer = ask(console, what, asked);
    let answer = answer.map_err(|source| FetchError::Io { address: address.clone(), source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut words = head.split_whitespace();
    match (words.next(), words.next()) {
        (Some("HTTP/1.0" | "HTTP/1.1"), Some("200")) => Ok(body.trim_end().to_owned()),
        (Some("HTTP/1.0" | "HTTP/1.1"), Some("400" | "403" | "404" | "409"))
            if !body.is_empty() =>
        {
            Err(FetchError::Refused(printable(body.trim_end()).into_owned()))
        }
        _ => Err(FetchError::Answer { address, answer: first_line(head) }),
    }
}

fn first_line(head: &str) -> String {
    printable(head.lines().next().unwrap_or_default()).into_owned()
}

/// HTTP/1.0, so that the answer ends with the connection and is not chunked.
fn ask(console: &HostPort, what: &str, body: &str) -> std::io::Result<String> {
    let mut stream = connect(console)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // By its address: a console takes no other name for its own.
    let address = stream.peer_addr()?;
    let about = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    write!(stream, "{what} HTTP/1.0\r\nHost: {address}\r\n{about}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

/// To the first of its addresses that answers.
#[expect(clippy::disallowed_types, reason = "a command for people, outside of any node's world")]
fn connect(console: &HostPort) -> std::io::Result<std::net::TcpStream> {
    let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address");
    let host = if console.host.is_empty() { "localhost" } else { &console.host };
    for address in (host, console.port).to_socket_addrs()? {
        match std::net::TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
