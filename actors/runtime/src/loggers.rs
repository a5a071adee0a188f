//! Which of what is said is written down: a level for each logger, altered while the process runs (KIP-412).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Metadata;
use tracing::level_filters::LevelFilter;

/// Kafka's levels, by what they let through. Nothing is said as `FATAL` here: it lets through what `OFF` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Off,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const ALL: [LogLevel; 7] = [
        LogLevel::Off,
        LogLevel::Fatal,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Off | LogLevel::Fatal => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Off => "OFF",
            LogLevel::Fatal => "FATAL",
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        })
    }
}

/// A word that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log level: OFF, FATAL, ERROR, WARN, INFO, DEBUG or TRACE is expected")]
pub struct NoLogLevel(String);

impl FromStr for LogLevel {
    type Err = NoLogLevel;

    /// In any case of letters.
    fn from_str(text: &str) -> Result<LogLevel, NoLogLevel> {
        let found = LogLevel::ALL.into_iter().find(|l| l.to_string().eq_ignore_ascii_case(text));
        found.ok_or_else(|| NoLogLevel(text.to_owned()))
    }
}

/// The loggers of a process: the modules that say something, each under its crate, and `root` above all. One without a level of its own
/// has that of the nearest above it.
///
/// The default knows none, and alters nothing: that of a process whose log is somebody else's.
#[derive(Clone, Default)]
pub struct Loggers(Option<Arc<Mutex<State>>>);

struct State {
    root: LogLevel,
    levels: BTreeMap<String, LogLevel>,
    known: BTreeSet<String>,
}

impl Loggers {
    /// As Kafka calls the one above all.
    pub const ROOT: &str = "root";

    /// Knows `known` before they have said anything.
    pub fn new<'a>(
        root: LogLevel,
        levels: BTreeMap<String, LogLevel>,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Loggers {
        let known = known.into_iter().map(str::to_owned).chain(levels.keys().cloned()).collect();
        Loggers(Some(Arc::new(Mutex::new(State { root, levels, known }))))
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every logger with the level in force.
    pub fn levels(&self) -> BTreeMap<String, LogLevel> {
        let Some(state) = self.state() else { return BTreeMap::new() };
        let known = state.known.iter().map(|name| (name.clone(), state.level(name)));
        known.chain([(Loggers::ROOT.to_owned(), state.root)]).collect()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.state().is_some_and(|state| name == Loggers::ROOT || state.known.contains(name))
    }

    /// From now on the logger, and those below it without a level of their own, let this through.
    pub fn set(&self, name: &str, level: LogLevel) {
        self.change(|state| match name {
            Loggers::ROOT => state.root = level,
            _ => drop(state.levels.insert(name.to_owned(), level)),
        });
    }

    /// The logger has the level of the nearest above it again; `root` keeps its own.
    pub fn unset(&self, name: &str) {
        self.change(|state| {
            state.levels.remove(name);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let Some(mut state) = self.state() else { return };
        change(&mut state);
        // Each place that says something is asked about anew, which takes the lock.
        drop(state);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether what is said there is written down. Also makes the logger known, and those above it.
    pub fn lets_through(&self, said: &Metadata<'_>) -> bool {
        let Some(mut state) = self.state() else { return false };
        if !state.known.contains(said.target()) {
            state.known.extend(and_above(said.target()).map(str::to_owned));
        }
        *said.level() <= state.level(said.target()).filter()
    }

    /// The most that any logger lets through.
    pub fn most(&self) -> LevelFilter {
        let state = self.state();
        let most = state.and_then(|state| state.levels.values().copied().chain([state.root]).max());
        most.map_or(LevelFilter::OFF, LogLevel::filter)
    }
}

impl State {
    fn level(&self, name: &str) -> LogLevel {
        and_above(name).find_map(|name| self.levels.get(name)).copied().unwrap_or(self.root)
    }
}

/// A module, and those that it is in, the nearest first.
fn and_above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.rsplit_once("::").map(|(above, _)| above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_has_its_own_level_or_that_of_the_nearest_above() {
        let given = BTreeMap::from([("ractor".to_owned(), LogLevel::Warn)]);
        let loggers = Loggers::new(LogLevel::Info, given, ["ottla", "ottla::api::fetch"]);
        let level = |name: &str| loggers.levels().get(name).copied();
        assert_eq!(level("ractor"), Some(LogLevel::Warn));
        assert_eq!(level("ottla::api::fetch"), Some(LogLevel::Info));
        loggers.set("ottla", LogLevel::Debug);
        assert_eq!(level("ottla::api::fetch"), Some(LogLevel::Debug));
        assert_eq!(loggers.most(), LevelFilter::DEBUG);
        loggers.set("ottla::api::fetch", LogLevel::Fatal);
        loggers.set("root", LogLevel::Error);
        assert_eq!(level("ottla::api::fetch"), Some(LogLevel::Fatal));
        loggers.unset("ottla");
        assert_eq!((level("ottla"), level("root")), (Some(LogLevel::Error), Some(LogLevel::Error)));
        loggers.unset("ottla::api::fetch");
        assert_eq!(level("ottla::api::fetch"), Some(LogLevel::Error));
        assert!(loggers.exists("root") && !loggers.exists("ottla::api") && level("no").is_none());
    }

    #[test]
    fn without_a_log_of_ones_own_there_are_no_loggers() {
        let loggers = Loggers::default();
        loggers.set("root", LogLevel::Trace);
        assert!(loggers.levels().is_empty() && !loggers.exists("root"));
    }

    #[test]
    fn levels_are_words_in_any_case() {
        for level in LogLevel::ALL {
            assert_eq!(level.to_string().to_lowercase().parse(), Ok(level));
        }
        assert!("loud".parse::<LogLevel>().unwrap_err().to_string().contains("\"loud\""));
    }
}
