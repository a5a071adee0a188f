//! Registrations: what a broker or controller told the quorum about itself.

use std::collections::BTreeMap;

use model::Uuid;
use wire::register_broker_record::{BrokerEndpoint, BrokerFeature};
use wire::register_controller_record::{ControllerEndpoint, ControllerFeature};
use wire::{RegisterBrokerRecord, RegisterControllerRecord};

use super::features::{LevelRange, MetadataVersion};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    pub host: String,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: i32,
    pub epoch: i64,
    pub incarnation_id: Uuid,
    /// In the order in which the broker named them.
    pub listeners: Vec<Endpoint>,
    pub supported_features: BTreeMap<String, LevelRange>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub is_migrating_zk_broker: bool,
    /// Sorted.
    pub directories: Vec<Uuid>,
    pub cordoned_directories: Option<Vec<Uuid>>,
    /// Where its registration stands in the log: a broker that has read so far may be unfenced.
    pub record_offset: i64,
}

impl BrokerRegistration {
    pub fn from_record(record: &RegisterBrokerRecord, offset: i64) -> BrokerRegistration {
        let mut directories = record.log_dirs.clone();
        directories.sort();
        BrokerRegistration {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            listeners: record.end_points.iter().map(Endpoint::of_broker).collect(),
            supported_features: record
                .features
                .iter()
                .map(|f| {
                    (
                        f.name.clone(),
                        LevelRange { min: f.min_supported_version, max: f.max_supported_version },
                    )
                })
                .collect(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            is_migrating_zk_broker: record.is_migrating_zk_broker,
            directories,
            cordoned_directories: record.cordoned_log_dirs.clone(),
            record_offset: offset,
        }
    }

    pub fn to_record(&self, version: MetadataVersion) -> RegisterBrokerRecord {
        let supports_dirs = version.directory_assignment();
        RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: self.is_migrating_zk_broker,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self.listeners.iter().map(Endpoint::to_broker).collect(),
            features: self
                .supported_features
                .iter()
                .map(|(name, range)| BrokerFeature {
                    name: name.clone(),
                    min_supported_version: range.min,
                    max_supported_version: range.max,
                    ..Default::default()
                })
                .collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: if supports_dirs { self.directories.clone() } else { Vec::new() },
            cordoned_log_dirs: self
                .cordoned_directories
                .clone()
                .filter(|_| version.cordoned_log_dirs()),
            ..Default::default()
        }
    }

    /// May lead and may be placed upon.
    pub fn active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|e| e.name == name)
    }

    /// Whether a replica in this directory can be served. A reserved id says that the place is not yet known, which is no reason
    /// to call it lost, except the id that says just that.
    pub fn has_online_dir(&self, directory: Uuid) -> bool {
        if directory == Uuid::MIGRATING_DIRECTORY || directory == Uuid::UNASSIGNED_DIRECTORY {
            return true;
        }
        let known =
            self.directories.is_empty() || self.directories.binary_search(&directory).is_ok();
        directory != Uuid::LOST_DIRECTORY && known
    }

    pub fn has_uncordoned_dirs(&self) -> bool {
        match &self.cordoned_directories {
            Some(cordoned) if !self.directories.is_empty() => {
                self.directories.iter().any(|d| !cordoned.contains(d))
            }
            _ => true,
        }
    }

    /// Where a new replica of this broker is said to be.
    pub fn default_dir(&self) -> Uuid {
        match self.directories.as_slice() {
            [] => Uuid::MIGRATING_DIRECTORY,
            [only] => *only,
            _ => Uuid::UNASSIGNED_DIRECTORY,
        }
    }
}

impl Endpoint {
    fn of_broker(e: &BrokerEndpoint) -> Endpoint {
        Endpoint {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
        }
    }

    fn of_controller(e: &ControllerEndpoint) -> Endpoint {
        Endpoint {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
        }
    }

    fn to_broker(&self) -> BrokerEndpoint {
        BrokerEndpoint {
            name: self.name.clone(),
            host: self.host.clone(),
            port: self.port,
            security_protocol: self.security_protocol,
            ..Default::default()
        }
    }

    fn to_controller(&self) -> ControllerEndpoint {
        ControllerEndpoint {
            name: self.name.clone(),
            host: self.host.clone(),
            port: self.port,
            security_protocol: self.security_protocol,
            ..Default::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRegistration {
    pub id: i32,
    pub incarnation_id: Uuid,
    pub zk_migration_ready: bool,
    pub listeners: Vec<Endpoint>,
    pub supported_features: BTreeMap<String, LevelRange>,
}

impl ControllerRegistration {
    pub fn from_record(record: &RegisterControllerRecord) -> ControllerRegistration {
        ControllerRegistration {
            id: record.controller_id,
            incarnation_id: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: record.end_points.iter().map(Endpoint::of_controller).collect(),
            supported_features: record
                .features
                .iter()
                .map(|f| {
                    (
                        f.name.clone(),
                        LevelRange { min: f.min_supported_version, max: f.max_supported_version },
                    )
                })
                .collect(),
        }
    }

    pub fn to_record(&self) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id: self.id,
            incarnation_id: self.incarnation_id,
            zk_migration_ready: self.zk_migration_ready,
            end_points: self.listeners.iter().map(Endpoint::to_controller).collect(),
            features: self
                .supported_features
                .iter()
                .map(|(name, range)| ControllerFeature {
                    name: name.clone(),
                    min_supported_version: range.min,
                    max_supported_version: range.max,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }
}
