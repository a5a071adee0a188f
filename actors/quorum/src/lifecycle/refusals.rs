//! Why a controller refuses a broker, and what would help: its response has room for a code alone.

use std::collections::BTreeMap;

use machines::metadata::{LevelRange, METADATA_VERSION, Provenance, supported_features};
use model::{ErrorCode, Uuid};

use super::Lifecycle;

impl Lifecycle {
    /// As far as it is known here.
    pub(super) fn reason(&self, error: ErrorCode) -> String {
        let what = match error {
            ErrorCode::UnsupportedVersion => self.unknown_levels(),
            ErrorCode::InconsistentClusterId => format!(
                "its cluster's id is not this broker's, {}; meta.properties in each log directory says of which cluster it is: start it \
                 with the directories of this cluster, or with controllers of the other",
                self.args.cluster_id
            ),
            ErrorCode::DuplicateBrokerRegistration => format!(
                "another process is registered as broker {}, and lives as far as the controller knows; only one may use the id",
                self.args.node
            ),
            ErrorCode::InvalidRegistration => self.wrong_directory(),
            _ => error.message().to_owned(),
        };
        format!("{}: {what}", error.name())
    }

    /// A log directory whose id is another's, or none that a directory may have.
    fn wrong_directory(&self) -> String {
        let image = self.args.metadata.get();
        let others = image.brokers.values().filter(|broker| broker.id != self.args.node.0);
        let owners: BTreeMap<Uuid, i32> = others
            .flat_map(|broker| broker.directories.iter().map(|id| (*id, broker.id)))
            .collect();
        let mut seen = BTreeMap::new();
        for dir in self.args.log_dirs.online() {
            let (id, path) = (dir.id, dir.path.display());
            let who = match (owners.get(&id), seen.insert(id, dir.path.clone())) {
                _ if id.is_reserved_directory() => "means something else to Kafka".to_owned(),
                (Some(broker), _) => format!("is that of a directory of broker {broker}"),
                (None, Some(first)) => format!("is also that of {}", first.display()),
                (None, None) => continue,
            };
            return format!(
                "directory.id={id} in {path}/meta.properties {who}: it was copied or written by hand. Without that line it gets an id of \
                 its own at the next start; is the directory a copy of another broker's, start with an empty one"
            );
        }
        ErrorCode::InvalidRegistration.message().to_owned()
    }

    /// Features that are in force at a level which this build does not know.
    fn unknown_levels(&self) -> String {
        let image = self.args.metadata.get();
        let ranges = supported_features(self.args.metadata_version);
        let read = (image.provenance != Provenance::EMPTY).then_some(METADATA_VERSION);
        let levels = image.features.keys().map(String::as_str).chain(read);
        let unknown = levels.filter_map(|name| {
            let level = image.feature_level(name);
            let range = ranges.get(name).copied().unwrap_or(LevelRange::DISABLED);
            let LevelRange { min, max } = range;
            let says = format!("{name} is at level {level}, and this broker knows {min} to {max}");
            (!range.contains(level)).then_some(says)
        });
        match unknown.collect::<Vec<_>>().as_slice() {
            [] => "the cluster's features are at levels which this broker does not know".to_owned(),
            unknown => format!(
                "{}; run a build that knows it, or alter it with kafka-features.sh",
                unknown.join(", ")
            ),
        }
    }
}
