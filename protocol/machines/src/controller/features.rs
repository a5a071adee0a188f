//! UpdateFeatures: the levels that the cluster uses.

use std::collections::BTreeMap;

use model::ErrorCode;
use wire::update_features_request::FeatureUpdateKey;
use wire::update_features_response::UpdatableFeatureResult;
use wire::{MetadataRecord, NoOpRecord, UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::configs::config_record;
use super::{Controller, ControllerRequest};
use crate::consensus::Refusal;
use crate::metadata::{
    ConfigResource, ELIGIBLE_LEADER_REPLICAS_VERSION, Feature, FeatureError, KRAFT_VERSION,
    LevelRange, METADATA_VERSION, MIN_INSYNC_REPLICAS, MetadataVersion, feature_level,
    supported_features,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureUpdateError {
    #[error("Invalid update version {level} for feature {feature}. {reason}")]
    Invalid { feature: String, level: i16, reason: Reason },
    #[error("Invalid metadata.version {0}. Valid versions are from {min} to {max}.", min = MetadataVersion::MINIMUM.0, max = MetadataVersion::UNSTABLE.0)]
    MetadataVersion(i16),
    #[error("Unsupported metadata.version downgrade from {from} to {to}. {reason}")]
    MetadataDowngrade { from: i16, to: i16, reason: &'static str },
    /// By the quorum, which keeps its own version.
    #[error("{}", .0.message.as_deref().unwrap_or_else(|| .0.code.message()))]
    Quorum(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("The controller does not support the given upgrade type.")]
    UpgradeType,
    #[error("A feature version cannot be less than 0.")]
    Negative,
    #[error("{0} does not support this feature.")]
    NotSupported(String),
    #[error("{who} only supports versions {min}-{max}")]
    OnlySupports { who: String, min: i16, max: i16 },
    #[error("controller {0} has not registered, and may not support this feature")]
    NotRegistered(i32),
    #[error(
        "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
    )]
    DowngradeNotAsked,
    #[error("Can't downgrade to a newer version.")]
    NotADowngrade,
    #[error("Can't downgrade the version of this feature.")]
    NoWayDown,
    #[error(transparent)]
    Level(#[from] FeatureError),
}

impl FeatureUpdateError {
    pub fn code(&self) -> ErrorCode {
        match self {
            FeatureUpdateError::Quorum(refusal) => refusal.code,
            _ => ErrorCode::InvalidUpdateVersion,
        }
    }
}

/// What the quorum says of `kraft.version`, whose level it keeps itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuorumVersion {
    pub level: i16,
    /// None until it was asked for another level.
    pub answer: Option<QuorumAnswer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumAnswer {
    /// Of the leader that answered.
    pub epoch: i32,
    pub refusal: Option<Refusal>,
}

impl Controller {
    /// The level of `kraft.version` that the quorum is to be asked for first, as nothing else stands against what is wanted.
    pub fn quorum_upgrade(&self, request: &ControllerRequest) -> Option<i16> {
        let ControllerRequest::UpdateFeatures { request, version, quorum } = request else {
            return None;
        };
        let update =
            request.feature_updates.iter().find(|update| update.feature == KRAFT_VERSION)?;
        let is_upgrade = upgrade_type(update) == Some(UpgradeType::Upgrade);
        // What another epoch's leader wrote may be void.
        let is_asked = quorum.answer.as_ref().is_some_and(|answer| answer.epoch == self.epoch);
        let allowed = || self.update_features(request, *version, quorum).1.error_code == 0;
        (is_upgrade && !is_asked && allowed()).then_some(update.max_version_level)
    }

    /// All or nothing.
    pub(super) fn update_features(
        &self,
        request: &UpdateFeaturesRequest,
        version: i16,
        quorum: &QuorumVersion,
    ) -> (Vec<MetadataRecord>, UpdateFeaturesResponse) {
        let mut proposed: BTreeMap<&str, i16> = BTreeMap::new();
        for update in &request.feature_updates {
            proposed.insert(&update.feature, update.max_version_level);
        }
        let mut records = Vec::new();
        for update in &request.feature_updates {
            if let Err(error) = self.update_feature(update, &proposed, quorum, &mut records) {
                let what =
                    "The update failed for all features since the following feature had an error";
                let response = UpdateFeaturesResponse {
                    error_code: error.code().code(),
                    error_message: Some(format!("{what}: {error}")),
                    ..Default::default()
                };
                return (Vec::new(), response);
            }
        }
        if request.validate_only {
            records.clear();
        } else if proposed.get(ELIGIBLE_LEADER_REPLICAS_VERSION).is_some_and(|level| *level > 0) {
            records.splice(0..0, self.records_before_elr());
        }
        let mut response = UpdateFeaturesResponse { error_message: None, ..Default::default() };
        if version <= LAST_WITH_RESULTS {
            let done = |update: &FeatureUpdateKey| UpdatableFeatureResult {
                feature: update.feature.clone(),
                error_message: Some(ErrorCode::None.name().to_owned()),
                ..Default::default()
            };
            response.results = request.feature_updates.iter().map(done).collect();
        }
        (records, response)
    }

    fn update_feature(
        &self,
        update: &FeatureUpdateKey,
        proposed: &BTreeMap<&str, i16>,
        quorum: &QuorumVersion,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<(), FeatureUpdateError> {
        let (name, level) = (update.feature.as_str(), update.max_version_level);
        let invalid = |reason: Reason| FeatureUpdateError::Invalid {
            feature: name.to_owned(),
            level,
            reason,
        };
        let upgrade = upgrade_type(update).ok_or_else(|| invalid(Reason::UpgradeType))?;
        if level < 0 {
            return Err(invalid(Reason::Negative));
        }
        self.check_supported(name, level).map_err(invalid)?;
        let current = match name {
            KRAFT_VERSION => quorum.level,
            _ => self.image().feature_level(name),
        };
        if level < current && upgrade == UpgradeType::Upgrade {
            return Err(invalid(Reason::DowngradeNotAsked));
        }
        if level > current && upgrade != UpgradeType::Upgrade {
            return Err(invalid(Reason::NotADowngrade));
        }
        if name == METADATA_VERSION {
            records.push(self.metadata_version_record(level, upgrade)?);
            return Ok(());
        }
        if name == KRAFT_VERSION {
            let refusal = quorum.answer.as_ref().and_then(|answer| answer.refusal.clone());
            return match refusal.filter(|_| upgrade == UpgradeType::Upgrade) {
                Some(refusal) => Err(FeatureUpdateError::Quorum(refusal)),
                None if upgrade == UpgradeType::Upgrade => {
                    // Raft writes it down itself. What the answer waits for stands behind that.
                    records.push(MetadataRecord::NoOp(NoOpRecord::default()));
                    Ok(())
                }
                None if level != current => Err(invalid(Reason::NoWayDown)),
                None => Ok(()),
            };
        }
        let feature = Feature::by_name(name).ok_or_else(|| {
            invalid(Reason::Level(FeatureError::Unknown { name: name.to_owned() }))
        })?;
        let metadata_version = proposed.get(METADATA_VERSION).copied().map(MetadataVersion);
        let metadata_version = metadata_version.unwrap_or_else(|| self.image().metadata_version());
        feature.validate(level, metadata_version).map_err(|error| invalid(Reason::Level(error)))?;
        records.push(feature_level(name, level));
        Ok(())
    }

    fn metadata_version_record(
        &self,
        level: i16,
        upgrade: UpgradeType,
    ) -> Result<MetadataRecord, FeatureUpdateError> {
        let current = self.image().metadata_version();
        let new =
            MetadataVersion::from_level(level).ok_or(FeatureUpdateError::MetadataVersion(level))?;
        if new < current && current.metadata_changed(new) {
            let reason = if upgrade == UpgradeType::UnsafeDowngrade {
                "Unsafe metadata downgrade is not supported in this version."
            } else {
                "Refusing to perform the requested downgrade because it might delete metadata information."
            };
            return Err(FeatureUpdateError::MetadataDowngrade {
                from: current.0,
                to: new.0,
                reason,
            });
        }
        Ok(feature_level(METADATA_VERSION, level))
    }

    /// By this node, by every broker, and by every controller.
    fn check_supported(&self, name: &str, level: i16) -> Result<(), Reason> {
        let local = self.config.node_id;
        let unstable = self.config.settings.boolean("unstable.feature.versions.enable");
        let supported = supported_features(MetadataVersion::newest(unstable));
        check_range(format!("Local controller {local}"), supported.get(name), level)?;
        for broker in self.image().brokers.values() {
            check_range(
                format!("Broker {}", broker.id),
                broker.supported_features.get(name),
                level,
            )?;
        }
        if !self.image().metadata_version().controller_registration() {
            return Ok(());
        }
        for controller in self.image().controllers.values().filter(|c| c.id != local) {
            check_range(
                format!("Controller {}", controller.id),
                controller.supported_features.get(name),
                level,
            )?;
        }
        let known = |id: i32| id == local || self.image().controllers.contains_key(&id);
        match self.config.quorum_ids.iter().find(|id| !known(**id)) {
            Some(id) => Err(Reason::NotRegistered(*id)),
            None => Ok(()),
        }
    }

    /// With ELR every controller must reckon with one min.insync.replicas: it becomes explicit for all brokers, and brokers' own go.
    fn records_before_elr(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        let all = ConfigResource::broker_default();
        if self.image().configs.get(&all, MIN_INSYNC_REPLICAS).is_none() {
            let min = self.config.settings.int(MIN_INSYNC_REPLICAS).to_string();
            records.push(config_record(&all, MIN_INSYNC_REPLICAS, Some(min)));
        }
        for (resource, configs) in self.image().configs.iter() {
            let of_one_broker = resource.kind == all.kind && *resource != all;
            if of_one_broker && configs.contains_key(MIN_INSYNC_REPLICAS) {
                records.push(config_record(resource, MIN_INSYNC_REPLICAS, None));
            }
        }
        records
    }
}

const LAST_WITH_RESULTS: i16 = 1;

/// Version 0 has none, and Kafka looks past what it allows: nothing goes down by it.
fn upgrade_type(update: &FeatureUpdateKey) -> Option<UpgradeType> {
    match update.upgrade_type {
        1 => Some(UpgradeType::Upgrade),
        2 => Some(UpgradeType::SafeDowngrade),
        3 => Some(UpgradeType::UnsafeDowngrade),
        _ => None,
    }
}

fn check_range(who: String, range: Option<&LevelRange>, level: i16) -> Result<(), Reason> {
    let range = range.copied().unwrap_or(LevelRange::DISABLED);
    if range.contains(level) {
        Ok(())
    } else if range.max == 0 {
        Err(Reason::NotSupported(who))
    } else {
        Err(Reason::OnlySupports { who, min: range.min, max: range.max })
    }
}
