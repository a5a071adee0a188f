//! The settings of one node, as they are at one moment: given at start, then altered for all brokers, then for this one.

use std::collections::BTreeMap;

use super::describe::{ConfigSource, UNITS};
use super::error::SettingError;
use super::tables::REMOVED;
use super::value::Value;
use super::{BROKER, Honoured, Resource, listener_base, value};

/// A value that was given, with the text it was given as.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    text: String,
    value: Value,
}

type Layer = BTreeMap<&'static str, Given>;

/// A node's settings with their sources. Reading one that was never given yields its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    fixed: Layer,
    all_brokers: Layer,
    this_broker: Layer,
}

impl Values {
    /// The settings a node is started with. Everything that is wrong is reported at once.
    pub fn new<K, V>(given: impl IntoIterator<Item = (K, V)>) -> Result<Values, Vec<SettingError>>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut values = Values::default();
        let mut errors = Vec::new();
        for (name, text) in given {
            if let Err(error) = values.fix(name.as_ref(), text.as_ref()) {
                errors.push(error);
            }
        }
        values.unite_ids().unwrap_or_else(|error| errors.push(error));
        if errors.is_empty() { Ok(values) } else { Err(errors) }
    }

    /// Checks one setting of a node's own configuration: known, well-formed, honoured.
    pub fn check(name: &str, text: &str) -> Result<(), SettingError> {
        Values::default().fix(name, text)
    }

    fn fix(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let Some(setting) = Resource::Broker.setting(name) else {
            return Err(refused_name(name, text));
        };
        let value = setting.accept(text)?;
        self.fixed.insert(setting.name, Given { text: text.trim().to_owned(), value });
        Ok(())
    }

    /// `broker.id` is another name of `node.id`.
    fn unite_ids(&mut self) -> Result<(), SettingError> {
        match (self.fixed.get("node.id").cloned(), self.fixed.get("broker.id").cloned()) {
            (Some(node), Some(broker)) if node.value != broker.value => {
                let text =
                    "node.id and broker.id must be equal; broker.id is the old name, leave it out";
                return Err(SettingError::conflict(text));
            }
            (Some(node), None) => self.fixed.insert("broker.id", node),
            (None, Some(broker)) => self.fixed.insert("node.id", broker),
            _ => None,
        };
        Ok(())
    }

    /// The same node with what the metadata log says for all brokers and for this one. What cannot be used is left out
    /// and reported: another node may have accepted it.
    pub fn with_dynamic(
        &self,
        all_brokers: &BTreeMap<String, String>,
        this_broker: &BTreeMap<String, String>,
    ) -> (Values, Vec<SettingError>) {
        let mut errors = Vec::new();
        let mut layer = |given: &BTreeMap<String, String>| -> Layer {
            let mut layer = Layer::new();
            for (name, text) in given {
                match dynamic(name, text) {
                    Ok((name, given)) => drop(layer.insert(name, given)),
                    Err(error) => errors.push(error),
                }
            }
            layer
        };
        let (all_brokers, this_broker) = (layer(all_brokers), layer(this_broker));
        (Values { fixed: self.fixed.clone(), all_brokers, this_broker }, errors)
    }

    /// Whether this is what the metadata log says, so that [`with_dynamic`](Self::with_dynamic) would make the same of it.
    pub fn has_dynamic(
        &self,
        all_brokers: &BTreeMap<String, String>,
        this_broker: &BTreeMap<String, String>,
    ) -> bool {
        let same = |layer: &Layer, given: &BTreeMap<String, String>| {
            let known = layer.iter().map(|(name, given)| (*name, given.text.as_str()));
            known.eq(given.iter().map(|(name, text)| (name.as_str(), text.as_str())))
        };
        same(&self.all_brokers, all_brokers) && same(&self.this_broker, this_broker)
    }

    fn layers(&self) -> [(&Layer, ConfigSource); 3] {
        [
            (&self.this_broker, ConfigSource::DynamicBroker),
            (&self.all_brokers, ConfigSource::DynamicDefaultBroker),
            (&self.fixed, ConfigSource::StaticBroker),
        ]
    }

    /// The value and where it comes from; `None` where nothing was given and Kafka has no default.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let given = self.layers().into_iter().find_map(|(layer, _)| layer.get(name));
        match given {
            Some(given) => Some(&given.value),
            None => BROKER.get(name)?.default.as_ref(),
        }
    }

    /// Whether it was given at all, at start or later.
    pub fn is_given(&self, name: &str) -> bool {
        self.layers().into_iter().any(|(layer, _)| layer.contains_key(name))
    }

    /// Every text given for it, by descending precedence, and its default at last.
    pub(super) fn sources(&self, name: &str) -> Vec<(String, ConfigSource)> {
        let given = self.layers().into_iter().filter_map(|(layer, source)| {
            layer.get(name).map(|given| (given.text.clone(), source))
        });
        let default = Resource::Broker.setting(name).and_then(|setting| setting.default);
        given.chain(default.map(|text| (text.to_owned(), ConfigSource::Default))).collect()
    }

    pub(super) fn given_for_all_brokers(&self) -> impl Iterator<Item = &'static str> {
        self.all_brokers.keys().copied()
    }

    /// Of a setting that has several units, by its most exact name: the name that was given at start and counts, and its text.
    pub(crate) fn in_its_unit(&self, name: &'static str) -> (&'static str, &str) {
        let units = UNITS.iter().find(|units| units[0] == name).copied().unwrap_or_default();
        let given =
            units.iter().find_map(|unit| Some((*unit, self.fixed.get(unit)?.text.as_str())));
        given.unwrap_or((name, ""))
    }

    /// What the node was started with, as text.
    pub fn fixed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fixed.iter().map(|(name, given)| (*name, given.text.as_str()))
    }

    /// Those that are given and not honoured: with Kafka's default, or they would have been refused.
    pub fn not_honoured(&self) -> impl Iterator<Item = &'static str> {
        let honoured = |name: &str| {
            Resource::Broker.setting(name).is_some_and(|known| known.honoured != Honoured::No)
        };
        self.fixed().map(|(name, _)| name).filter(move |name| !honoured(name))
    }
}

/// Typed reading.
///
/// # Panics
/// Where the name is no setting of the type: the name is written in the program, and a test reads each once.
impl Values {
    pub fn boolean(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Boolean(value)) => *value,
            _ => wrong_type(name),
        }
    }

    pub fn int(&self, name: &str) -> i32 {
        self.opt_int(name).unwrap_or_else(|| wrong_type(name))
    }

    pub fn opt_int(&self, name: &str) -> Option<i32> {
        match self.get(name)? {
            Value::Int(value) => Some(*value),
            Value::Short(value) => Some(i32::from(*value)),
            _ => wrong_type(name),
        }
    }

    pub fn long(&self, name: &str) -> i64 {
        self.opt_long(name).unwrap_or_else(|| wrong_type(name))
    }

    pub fn opt_long(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Long(value) => Some(*value),
            Value::Int(value) => Some(i64::from(*value)),
            Value::Short(value) => Some(i64::from(*value)),
            _ => wrong_type(name),
        }
    }

    pub fn double(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Value::Double(value)) => *value,
            _ => wrong_type(name),
        }
    }

    pub fn text(&self, name: &str) -> &str {
        self.opt_text(name).unwrap_or_else(|| wrong_type(name))
    }

    pub fn opt_text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(value) => Some(value),
            _ => wrong_type(name),
        }
    }

    /// The elements; none where nothing was given.
    pub fn list(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::List(values)) => values,
            None => &[],
            _ => wrong_type(name),
        }
    }
}

fn wrong_type(name: &str) -> ! {
    panic!("{name} is not a setting of this type, or has no default")
}

fn dynamic(name: &str, text: &str) -> Result<(&'static str, Given), SettingError> {
    let Some(setting) = Resource::Broker.setting(name) else {
        return Err(refused_name(name, text));
    };
    let value = setting.accept_dynamic(text)?;
    Ok((setting.name, Given { text: text.trim().to_owned(), value }))
}

/// Why a name that is not in the table is refused.
pub(super) fn refused_name(name: &str, text: &str) -> SettingError {
    if let Some((name, instead)) = REMOVED.iter().find(|(removed, _)| *removed == name) {
        return SettingError::Removed { name, instead };
    }
    let is_plugins = ["rsm.config.", "rlmm.config."].iter().any(|prefix| name.starts_with(prefix));
    let is_listeners =
        listener_base(name).is_some_and(|base| Resource::Broker.setting(base).is_some());
    if is_plugins || is_listeners {
        let sensitive = listener_base(name)
            .and_then(|base| Resource::Broker.setting(base))
            .is_none_or(|setting| setting.is_sensitive());
        let value = if sensitive { "[hidden]".to_owned() } else { value::shortened(text) };
        return SettingError::NotHonoured { name: value::shortened(name), value, default: None };
    }
    Resource::Broker.unknown(name)
}
