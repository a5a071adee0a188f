//! The process's log: on stderr, its levels by OTTLA_LOG and, while it runs, by Kafka's tools (KIP-412).

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;

use crate::lines;
use runtime::{LogLevel, Loggers, NoLogLevel, RequestId};
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Where levels are given before the start: `LEVEL` or `LOGGER=LEVEL`, several with commas between them.
pub const VARIABLE: &str = "OTTLA_LOG";

/// The crates that say something: their levels can be set before they have.
const SPEAKERS: [&str; 8] = [
    "ottla",
    "ottla_client",
    "ottla_coordinators",
    "ottla_network",
    "ottla_partitions",
    "ottla_quorum",
    "ottla_runtime",
    "ractor",
];

/// Levels that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE}={text}: {why}; LEVEL or LOGGER=LEVEL is expected, several with commas between them"
)]
pub struct LoggingError {
    text: String,
    why: NoLogLevel,
}

/// The loggers with the levels that a text gives; `info`, and the actors' own crate at `warn`, where it says nothing else.
///
/// # Errors
/// A word in it is no level.
pub fn loggers(text: &str) -> Result<Loggers, LoggingError> {
    let mut root = LogLevel::Info;
    let mut levels = BTreeMap::from([("ractor".to_owned(), LogLevel::Warn)]);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (logger, level) = part.split_once('=').unwrap_or((Loggers::ROOT, part));
        let level = level.trim().parse();
        let level = level.map_err(|why| LoggingError { text: text.to_owned(), why })?;
        match logger.trim() {
            Loggers::ROOT => root = level,
            logger => drop(levels.insert(logger.to_owned(), level)),
        }
    }
    Ok(Loggers::new(root, levels, SPEAKERS))
}

/// Has what the loggers let through written to stderr.
pub fn write_to_stderr(loggers: Loggers) {
    let in_colour = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().fmt_fields(WithRequest(DefaultFields::new()));
    let lines = lines.with_ansi(in_colour).with_writer(|| &*lines::ERR);
    // It would say so on stderr, and panic where that is what is closed.
    let lines = lines.log_internal_errors(false);
    tracing_subscriber::registry().with(LevelsOf(loggers)).with(lines).init();
}

/// What is said in the course of a client's request names it.
struct WithRequest(DefaultFields);

impl<'w> FormatFields<'w> for WithRequest {
    fn format_fields<R: RecordFields>(&self, mut line: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(line.by_ref(), fields)?;
        match RequestId::current() {
            Some(request) => write!(line, " request={request}"),
            None => Ok(()),
        }
    }
}

/// Answers for each place in the program, once and again after each change: what is off costs nothing.
struct LevelsOf(Loggers);

impl<S: Subscriber> Layer<S> for LevelsOf {
    fn register_callsite(&self, said: &'static Metadata<'static>) -> Interest {
        if self.0.lets_through(said) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, said: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.0.lets_through(said)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.most())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_given_for_all_and_for_some() {
        let level = |text: &str, name: &str| loggers(text).unwrap().levels().get(name).copied();
        assert_eq!(level("", "root"), Some(LogLevel::Info));
        assert_eq!(level("", "ractor"), Some(LogLevel::Warn));
        assert_eq!(level("debug, ottla_network=TRACE", "ottla_quorum"), Some(LogLevel::Debug));
        assert_eq!(level("debug, ottla_network=TRACE", "ottla_network"), Some(LogLevel::Trace));
        let wrong = loggers("ottla=loud").err().map(|error| error.to_string());
        assert!(wrong.unwrap().starts_with("OTTLA_LOG=ottla=loud: \"loud\" is no log level"));
    }
}
