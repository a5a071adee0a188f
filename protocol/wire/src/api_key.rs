//! The RPCs, and in which versions they exist. The enum itself, [`ApiKey`], is generated.

use crate::{ApiKey, VersionRange};

/// Where an RPC is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    Broker,
    Controller,
}

/// What the notation says about an RPC.
#[derive(Debug)]
pub(crate) struct ApiInfo {
    pub(crate) name: &'static str,
    pub(crate) versions: VersionRange,
    pub(crate) unstable: bool,
    pub(crate) private: bool,
    pub(crate) listeners: &'static [ListenerKind],
    pub(crate) request_flexible: i16,
    pub(crate) response_flexible: i16,
}

impl ApiKey {
    pub fn from_code(code: i16) -> Option<ApiKey> {
        ApiKey::ALL.binary_search_by_key(&code, |key| key.code()).ok().map(|at| ApiKey::ALL[at])
    }

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// All versions, also one that is not stable yet.
    pub fn versions(self) -> VersionRange {
        self.info().versions
    }

    /// Whether the last version may still change: it is served only where that is asked for.
    pub fn latest_version_unstable(self) -> bool {
        self.info().unstable
    }

    /// The versions that will not change any more, if there are any.
    pub fn stable_versions(self) -> Option<VersionRange> {
        let VersionRange { min, max } = self.versions();
        let max = if self.latest_version_unstable() { max - 1 } else { max };
        (min <= max).then_some(VersionRange { min, max })
    }

    /// Whether it is Ottla's own: Kafka has none of it, and nobody is told that it is served.
    pub fn is_private(self) -> bool {
        self.info().private
    }

    pub fn listeners(self) -> &'static [ListenerKind] {
        self.info().listeners
    }

    /// Whether a broker sends it on to the controller when a client asks it (KIP-590).
    pub fn is_forwardable(self) -> bool {
        matches!(
            self,
            ApiKey::CreateTopics
                | ApiKey::DeleteTopics
                | ApiKey::CreateAcls
                | ApiKey::DeleteAcls
                | ApiKey::AlterConfigs
                | ApiKey::CreatePartitions
                | ApiKey::CreateDelegationToken
                | ApiKey::RenewDelegationToken
                | ApiKey::ExpireDelegationToken
                | ApiKey::ElectLeaders
                | ApiKey::IncrementalAlterConfigs
                | ApiKey::AlterPartitionReassignments
                | ApiKey::ListPartitionReassignments
                | ApiKey::AlterClientQuotas
                | ApiKey::AlterUserScramCredentials
                | ApiKey::DescribeQuorum
                | ApiKey::UpdateFeatures
                | ApiKey::UnregisterBroker
                | ApiKey::UnregisterController
                | ApiKey::AllocateProducerIds
                | ApiKey::AddRaftVoter
                | ApiKey::RemoveRaftVoter
        )
    }

    pub fn request_header_version(self, version: i16) -> i16 {
        if version >= self.info().request_flexible { 2 } else { 1 }
    }

    /// That of ApiVersions is 0 in all versions, so that a client can read the answer before it knows what the broker speaks.
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != ApiKey::ApiVersions && version >= self.info().response_flexible)
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
