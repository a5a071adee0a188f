//! Who votes, and how the voter set is written down.

use std::collections::BTreeMap;

use model::Uuid;
use wire::VotersRecord;
use wire::voters_record::{Endpoint, KRaftVersionFeature, Voter as VoterData};

use crate::metadata::LevelRange;

/// A replica of the metadata log. The directory is zero where it is not known, as in a static quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    pub id: i32,
    pub directory_id: Uuid,
}

impl ReplicaKey {
    /// Whether this names that replica: without a directory it names any of its id.
    pub fn names(self, replica: ReplicaKey) -> bool {
        self.id == replica.id
            && (self.directory_id.is_zero() || self.directory_id == replica.directory_id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterEndpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub key: ReplicaKey,
    pub endpoints: Vec<VoterEndpoint>,
    pub kraft_versions: LevelRange,
}

/// By id: two directories of one id cannot both vote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VoterSet {
    voters: BTreeMap<i32, Voter>,
}

impl VoterSet {
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> VoterSet {
        VoterSet { voters: voters.into_iter().map(|v| (v.key.id, v)).collect() }
    }

    pub fn len(&self) -> usize {
        self.voters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    pub fn get(&self, id: i32) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// A voter whose directory is not known is met by any directory of its id.
    pub fn is_voter(&self, key: ReplicaKey) -> bool {
        self.voters.get(&key.id).is_some_and(|voter| voter.key.names(key))
    }

    pub fn is_only_voter(&self, key: ReplicaKey) -> bool {
        self.voters.len() == 1 && self.is_voter(key)
    }

    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    pub fn with(&self, voter: Voter) -> VoterSet {
        VoterSet::new(self.voters.values().cloned().chain([voter]))
    }

    /// None where it is no voter, or the only one.
    pub fn without(&self, key: ReplicaKey) -> Option<VoterSet> {
        let found = self.voters.get(&key.id).is_some_and(|voter| voter.key == key);
        let others = self.voters.values().filter(|voter| voter.key.id != key.id);
        (found && self.voters.len() > 1).then(|| VoterSet::new(others.cloned()))
    }

    /// As [`VoterSet::updated`], whatever directory the voter of this id had before.
    pub fn renamed(&self, voter: &Voter) -> Option<VoterSet> {
        self.voters.contains_key(&voter.key.id).then(|| self.with(voter.clone()))
    }

    /// With this voter's endpoints and versions as given. None where it is no voter.
    pub fn updated(&self, voter: &Voter) -> Option<VoterSet> {
        if !self.is_voter(voter.key) {
            return None;
        }
        self.renamed(voter)
    }

    pub fn to_record(&self) -> VotersRecord {
        let voters = self.voters.values().map(|v| VoterData {
            voter_id: v.key.id,
            voter_directory_id: v.key.directory_id,
            endpoints: v
                .endpoints
                .iter()
                .map(|e| Endpoint {
                    name: e.listener.clone(),
                    host: e.host.clone(),
                    port: e.port,
                    ..Default::default()
                })
                .collect(),
            kraft_version_feature: KRaftVersionFeature {
                min_supported_version: v.kraft_versions.min,
                max_supported_version: v.kraft_versions.max,
                ..Default::default()
            },
            ..Default::default()
        });
        VotersRecord { version: 0, voters: voters.collect(), ..Default::default() }
    }

    pub fn from_record(record: &VotersRecord) -> VoterSet {
        VoterSet::new(record.voters.iter().map(|v| {
            Voter {
                key: ReplicaKey { id: v.voter_id, directory_id: v.voter_directory_id },
                endpoints: v
                    .endpoints
                    .iter()
                    .map(|e| VoterEndpoint {
                        listener: e.name.clone(),
                        host: e.host.clone(),
                        port: e.port,
                    })
                    .collect(),
                kraft_versions: LevelRange {
                    min: v.kraft_version_feature.min_supported_version,
                    max: v.kraft_version_feature.max_supported_version,
                },
            }
        }))
    }
}
