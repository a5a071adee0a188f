//! Brokers and controllers make themselves known, and are forgotten.

use std::collections::BTreeSet;

use model::{ErrorCode, Now, Uuid};
use wire::broker_registration_request::Feature as RequestFeature;
use wire::register_broker_record::{BrokerEndpoint, BrokerFeature};
use wire::register_controller_record::{ControllerEndpoint, ControllerFeature};
use wire::{
    BrokerRegistrationRequest, BrokerRegistrationResponse, ControllerRegistrationRequest,
    ControllerRegistrationResponse, MetadataRecord, RegisterBrokerRecord, RegisterControllerRecord,
    UnregisterBrokerRequest, UnregisterBrokerResponse, UnregisterControllerRecord,
    UnregisterControllerRequest, UnregisterControllerResponse,
};

use super::Controller;
use crate::metadata::{BrokerRegistration, Endpoint, KRAFT_VERSION, LevelRange, METADATA_VERSION};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    #[error("Expected cluster ID {expected}, but got cluster ID {got}")]
    ClusterId { expected: String, got: String },
    #[error(
        "Another broker is registered with that broker id. If the broker was recently restarted this should self-resolve once the heartbeat manager expires the broker's session."
    )]
    Duplicate,
    #[error("Controller does not support registering ZK brokers.")]
    ZooKeeper,
    #[error("No directories specified in request")]
    NoDirectories,
    #[error("Reserved directory ID in request")]
    ReservedDirectory,
    #[error("Duplicate directory ID in request")]
    DuplicateDirectory,
    #[error("Broker {broker} is already registered with directory {directory}")]
    ForeignDirectory { broker: i32, directory: Uuid },
    #[error("Request features do not contain 'metadata.version'")]
    NoMetadataVersion,
    #[error(
        "Unable to register because the broker does not support finalized version {finalized} of {feature}. The broker wants a version between {min} and {max}, inclusive."
    )]
    Feature { feature: String, finalized: i16, min: i16, max: i16 },
    #[error("Broker ID {0} is not currently registered")]
    UnknownBroker(i32),
    #[error("Controller ID {0} is not currently registered.")]
    UnknownController(i32),
    #[error("Controller cannot unregister itself while it is active.")]
    Itself,
    #[error("The current MetadataVersion is too old to support controller registrations.")]
    ControllerRegistration,
    #[error("The current MetadataVersion is too old to support controller unregistration.")]
    ControllerUnregistration,
}

impl RegistrationError {
    pub fn code(&self) -> ErrorCode {
        match self {
            RegistrationError::ClusterId { .. } => ErrorCode::InconsistentClusterId,
            RegistrationError::Duplicate => ErrorCode::DuplicateBrokerRegistration,
            RegistrationError::ZooKeeper | RegistrationError::UnknownBroker(_) => {
                ErrorCode::BrokerIdNotRegistered
            }
            RegistrationError::NoDirectories
            | RegistrationError::ReservedDirectory
            | RegistrationError::DuplicateDirectory
            | RegistrationError::ForeignDirectory { .. }
            | RegistrationError::NoMetadataVersion => ErrorCode::InvalidRegistration,
            RegistrationError::Feature { .. }
            | RegistrationError::ControllerRegistration
            | RegistrationError::ControllerUnregistration => ErrorCode::UnsupportedVersion,
            RegistrationError::UnknownController(_) => ErrorCode::ControllerIdNotRegistered,
            RegistrationError::Itself => ErrorCode::InvalidRequest,
        }
    }
}

/// Clean shutdowns are told apart by the epoch that a broker kept from before; older brokers do not send it.
const FIRST_WITH_PREVIOUS_EPOCH: i16 = 3;

impl Controller {
    pub(super) fn register_broker(
        &self,
        now: Now,
        request: &BrokerRegistrationRequest,
        version: i16,
        kraft_version: i16,
    ) -> (Vec<MetadataRecord>, BrokerRegistrationResponse) {
        match self.decide_registration(now, request, version, kraft_version) {
            Ok((records, broker_epoch)) => {
                (records, BrokerRegistrationResponse { broker_epoch, ..Default::default() })
            }
            Err(error) => {
                let error_code = error.code().code();
                (Vec::new(), BrokerRegistrationResponse { error_code, ..Default::default() })
            }
        }
    }

    fn decide_registration(
        &self,
        now: Now,
        request: &BrokerRegistrationRequest,
        version: i16,
        kraft_version: i16,
    ) -> Result<(Vec<MetadataRecord>, i64), RegistrationError> {
        if request.cluster_id != self.config.cluster_id {
            return Err(RegistrationError::ClusterId {
                expected: self.config.cluster_id.clone(),
                got: request.cluster_id.clone(),
            });
        }
        let existing = self.image().broker(request.broker_id);
        let same_process = existing.is_some_and(|b| b.incarnation_id == request.incarnation_id);
        if let Some(broker) = existing
            && !same_process
            && !is_successor(broker, request)
            && self.heartbeats.has_valid_session(
                broker.id,
                broker.epoch,
                now,
                self.session_timeout(),
            )
        {
            return Err(RegistrationError::Duplicate);
        }
        if request.is_migrating_zk_broker {
            return Err(RegistrationError::ZooKeeper);
        }
        let directories = self.image().metadata_version().directory_assignment();
        if directories {
            self.check_directories(request)?;
        }
        self.check_features(&request.features, kraft_version)?;
        let mut record = registration_record(request);
        if !directories {
            record.log_dirs.clear();
        }
        let mut records = Vec::new();
        match existing.filter(|_| same_process) {
            Some(broker) => {
                record.fenced = broker.fenced;
                record.in_controlled_shutdown = broker.in_controlled_shutdown;
                record.broker_epoch = broker.epoch;
            }
            None => {
                let clean = version >= FIRST_WITH_PREVIOUS_EPOCH
                    && existing.is_some_and(|b| b.epoch == request.previous_broker_epoch);
                records = self.records_for_shutdown(request.broker_id, clean);
                record.broker_epoch = self.next_offset;
            }
        }
        let epoch = record.broker_epoch;
        records.push(MetadataRecord::RegisterBroker(record));
        Ok((records, epoch))
    }

    fn check_directories(
        &self,
        request: &BrokerRegistrationRequest,
    ) -> Result<(), RegistrationError> {
        let dirs = &request.log_dirs;
        if dirs.is_empty() {
            return Err(RegistrationError::NoDirectories);
        }
        if dirs.iter().any(|d| d.is_reserved_directory()) {
            return Err(RegistrationError::ReservedDirectory);
        }
        let distinct: BTreeSet<&Uuid> = dirs.iter().collect();
        if distinct.len() != dirs.len() {
            return Err(RegistrationError::DuplicateDirectory);
        }
        let others = self.image().brokers.values().filter(|b| b.id != request.broker_id);
        for other in others {
            if let Some(directory) = other.directories.iter().find(|d| distinct.contains(d)) {
                return Err(RegistrationError::ForeignDirectory {
                    broker: other.id,
                    directory: *directory,
                });
            }
        }
        Ok(())
    }

    /// Every level that is in force must be one that the broker knows; a feature it does not name, it knows at level 0.
    fn check_features(
        &self,
        features: &[RequestFeature],
        kraft_version: i16,
    ) -> Result<(), RegistrationError> {
        let check = |name: &str, range: LevelRange| {
            let finalized = match name {
                KRAFT_VERSION => kraft_version,
                _ => self.image().feature_level(name),
            };
            if range.contains(finalized) {
                return Ok(());
            }
            let (feature, LevelRange { min, max }) = (name.to_owned(), range);
            Err(RegistrationError::Feature { feature, finalized, min, max })
        };
        for f in features {
            check(
                &f.name,
                LevelRange { min: f.min_supported_version, max: f.max_supported_version },
            )?;
        }
        if !features.iter().any(|f| f.name == METADATA_VERSION) {
            return Err(RegistrationError::NoMetadataVersion);
        }
        let named = |name: &str| features.iter().any(|f| f.name == name);
        let in_force = self.image().features.keys().map(String::as_str).chain([KRAFT_VERSION]);
        for name in in_force.filter(|name| !named(name)) {
            check(name, LevelRange::DISABLED)?;
        }
        Ok(())
    }

    pub(super) fn unregister_broker(
        &self,
        request: &UnregisterBrokerRequest,
    ) -> (Vec<MetadataRecord>, UnregisterBrokerResponse) {
        match self.image().broker(request.broker_id) {
            Some(broker) => {
                (self.records_for_unregistration(broker), UnregisterBrokerResponse::default())
            }
            None => {
                let error = RegistrationError::UnknownBroker(request.broker_id);
                let response = UnregisterBrokerResponse {
                    error_code: error.code().code(),
                    error_message: Some(error.to_string()),
                    ..Default::default()
                };
                (Vec::new(), response)
            }
        }
    }

    pub(super) fn register_controller(
        &self,
        request: &ControllerRegistrationRequest,
    ) -> (Vec<MetadataRecord>, ControllerRegistrationResponse) {
        if !self.image().metadata_version().controller_registration() {
            let error = RegistrationError::ControllerRegistration;
            let response = ControllerRegistrationResponse {
                error_code: error.code().code(),
                error_message: Some(error.to_string()),
                ..Default::default()
            };
            return (Vec::new(), response);
        }
        let record = RegisterControllerRecord {
            controller_id: request.controller_id,
            incarnation_id: request.incarnation_id,
            zk_migration_ready: false,
            end_points: request
                .listeners
                .iter()
                .map(|l| ControllerEndpoint {
                    name: l.name.clone(),
                    host: l.host.clone(),
                    port: l.port,
                    security_protocol: l.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: request
                .features
                .iter()
                .map(|f| ControllerFeature {
                    name: f.name.clone(),
                    min_supported_version: f.min_supported_version,
                    max_supported_version: f.max_supported_version,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        (
            vec![MetadataRecord::RegisterController(record)],
            ControllerRegistrationResponse::default(),
        )
    }

    pub(super) fn unregister_controller(
        &self,
        request: &UnregisterControllerRequest,
    ) -> (Vec<MetadataRecord>, UnregisterControllerResponse) {
        let controller_id = request.controller_id;
        let refused = if controller_id == self.config.node_id {
            Some(RegistrationError::Itself)
        } else if !self.image().metadata_version().controller_unregistration() {
            Some(RegistrationError::ControllerUnregistration)
        } else if !self.image().controllers.contains_key(&controller_id) {
            Some(RegistrationError::UnknownController(controller_id))
        } else {
            None
        };
        match refused {
            Some(error) => {
                let response = UnregisterControllerResponse {
                    error_code: error.code().code(),
                    error_message: Some(error.to_string()),
                    ..Default::default()
                };
                (Vec::new(), response)
            }
            None => {
                let record = UnregisterControllerRecord { controller_id, ..Default::default() };
                (
                    vec![MetadataRecord::UnregisterController(record)],
                    UnregisterControllerResponse::default(),
                )
            }
        }
    }
}

/// Whoever holds all the directories that the registered process held, on the same host, is its successor: a directory is locked by
/// the process that uses it, so the other one is gone, and there is no session to wait for. A copy of the directories on another
/// machine has locks of its own, and waits.
fn is_successor(broker: &BrokerRegistration, request: &BrokerRegistrationRequest) -> bool {
    let same_host = |of: &Endpoint| request.listeners.iter().any(|l| l.host == of.host);
    !broker.directories.is_empty()
        && broker.directories.iter().all(|d| request.log_dirs.contains(d))
        && broker.listeners.iter().all(same_host)
}

fn registration_record(request: &BrokerRegistrationRequest) -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: request.broker_id,
        incarnation_id: request.incarnation_id,
        end_points: request
            .listeners
            .iter()
            .map(|l| BrokerEndpoint {
                name: l.name.clone(),
                host: l.host.clone(),
                port: l.port,
                security_protocol: l.security_protocol,
                ..Default::default()
            })
            .collect(),
        features: request
            .features
            .iter()
            .map(|f| BrokerFeature {
                name: f.name.clone(),
                min_supported_version: f.min_supported_version,
                max_supported_version: f.max_supported_version,
                ..Default::default()
            })
            .collect(),
        rack: request.rack.clone(),
        log_dirs: request.log_dirs.clone(),
        ..Default::default()
    }
}
