//! What is wrong with a configuration, and where.

use std::fmt;

use model::settings::SettingError;

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Line {
        file: String,
        line: usize,
    },
    /// A file as a whole.
    File(String),
    /// A flag of the command line, as `--set`.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(f, "{file}:{line}"),
            Place::File(file) => f.write_str(file),
            Place::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// `None` where it lies in what was not said.
    pub place: Option<Place>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is larger than a configuration may be ({0} bytes)")]
    TooLarge(usize),
    #[error("is malformed: {0}")]
    Malformed(String),
    #[error("{key}: there is no such key here{}; known are: {known}", did_you_mean(.nearest))]
    UnknownKey { key: String, nearest: Option<&'static str>, known: String },
    #[error("{key}={value}: {allowed}")]
    WrongValue { key: String, value: String, allowed: String },
    #[error("{key}: required, and not given")]
    Missing { key: String },
    #[error("{key}: {instead}")]
    NotHere { key: String, instead: String },
    #[error("there is no node {id}; there are: {known}")]
    NoSuchNode { id: i32, known: String },
}

fn did_you_mean(nearest: &Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean {name}?"))
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}

/// Everything that is wrong, so that it can be put right at once; one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl ConfigErrors {
    pub(super) fn one(place: impl Into<Option<Place>>, reason: impl Into<Reason>) -> ConfigErrors {
        ConfigErrors(vec![ConfigError { place: place.into(), reason: reason.into() }])
    }

    /// Of what was said in a program rather than a file.
    pub(crate) fn wrong(key: &str, value: &str, allowed: impl Into<String>) -> ConfigErrors {
        let (key, value) = (key.to_owned(), value.chars().take(80).collect());
        Self::one(None, Reason::WrongValue { key, value, allowed: allowed.into() })
    }
}
