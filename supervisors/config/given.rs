//! Settings as they were given, each with its place, until they make a node's configuration.

use std::collections::BTreeMap;

use model::NodeConfig;
use model::node_config::ClusterId;
use model::settings::{SettingError, Values};

use super::error::{ConfigError, ConfigErrors, Place};

/// The settings of one node. The last one given counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    settings: BTreeMap<String, (String, Option<Place>)>,
}

impl Given {
    /// Sets what was said somewhere.
    pub fn set(&mut self, name: impl Into<String>, text: impl Into<String>, place: Option<Place>) {
        self.settings.insert(name.into(), (text.into(), place));
    }

    /// Sets what follows from something else, unless it was said.
    pub fn set_default(&mut self, name: &str, text: impl Into<String>) {
        self.settings.entry(name.to_owned()).or_insert_with(|| (text.into(), None));
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|(text, _)| text.as_str())
    }

    pub fn set_all(&mut self, flags: &[(String, String)]) {
        for (name, text) in flags {
            self.set(name.trim(), text.as_str(), Some(Place::Flag("--set")));
        }
    }

    /// The node's configuration, or everything that is wrong with it, each in its place.
    pub fn into_node(
        self,
        cluster_id: ClusterId,
        machine: &str,
    ) -> Result<NodeConfig, ConfigErrors> {
        let mut errors = Vec::new();
        for (name, (text, place)) in &self.settings {
            if let Err(error) = Values::check(name, text) {
                errors.push(ConfigError { place: place.clone(), reason: error.into() });
            }
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let texts = self.settings.iter().map(|(name, (text, _))| (name, text));
        Values::new(texts)
            .and_then(|values| NodeConfig::new(values, cluster_id, machine))
            .map_err(|errors| self.placed(errors))
    }

    fn placed(&self, errors: Vec<SettingError>) -> ConfigErrors {
        let place = |error: &SettingError| self.settings.get(error.name()?)?.1.clone();
        let placed =
            |error: SettingError| ConfigError { place: place(&error), reason: error.into() };
        ConfigErrors(errors.into_iter().map(placed).collect())
    }
}
