//! Why a setting is refused.

/// One refused setting. The texts for a wrong value are Kafka's, as its tools show them to their users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid { name: String, value: String, reason: String },
    #[error("Configuration '{name}' values must not be duplicated.")]
    Duplicated { name: &'static str },
    #[error("Configuration '{name}' values must not be empty.")]
    EmptyElement { name: &'static str },
    #[error("Unknown {of} config name: {name}{}", did_you_mean(.nearest))]
    Unknown { of: &'static str, name: String, nearest: Option<&'static str> },
    #[error(
        "{name}={value}: known to Kafka, not yet honoured by Ottla; only its default {} is accepted",
        default_or_none(.default)
    )]
    NotHonoured { name: String, value: String, default: Option<&'static str> },
    #[error(
        "{name}: Ottla honours it at start only; change it in the node's own configuration and restart the node"
    )]
    AtStart { name: &'static str },
    #[error("{name}: removed in Kafka 4. {instead}")]
    Removed { name: &'static str, instead: &'static str },
    #[error("{name}: required, and not given")]
    Missing { name: &'static str },
    /// Settings that do not fit together.
    #[error("{0}")]
    Conflict(String),
}

impl SettingError {
    pub(crate) fn invalid(name: &str, value: &str, reason: impl Into<String>) -> SettingError {
        let (name, value) = (name.to_owned(), super::value::shortened(value));
        SettingError::Invalid { name, value, reason: reason.into() }
    }

    pub(crate) fn conflict(text: impl Into<String>) -> SettingError {
        SettingError::Conflict(text.into())
    }

    /// The setting it is about, where it is about one.
    pub fn name(&self) -> Option<&str> {
        match self {
            SettingError::Invalid { name, .. }
            | SettingError::Unknown { name, .. }
            | SettingError::NotHonoured { name, .. } => Some(name),
            SettingError::Duplicated { name }
            | SettingError::AtStart { name }
            | SettingError::EmptyElement { name }
            | SettingError::Removed { name, .. }
            | SettingError::Missing { name } => Some(name),
            SettingError::Conflict(_) => None,
        }
    }
}

fn did_you_mean(nearest: &Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn default_or_none(default: &Option<&'static str>) -> &'static str {
    match default {
        Some("") => "(empty)",
        Some(text) => text,
        None => "(absent)",
    }
}
