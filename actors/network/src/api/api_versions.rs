//! ApiVersions, API key 18.
//!
//! Versions: 0–5 (v3 client software, v4 features with a minimum of 0, v5 cluster and node check, KIP-1242). A version that is
//! not known is answered in version 0, with the range that is.

use std::sync::Arc;

use machines::metadata::{
    KRAFT_VERSION, LevelRange, METADATA_VERSION, MetadataImage, MetadataVersion, supported_features,
};
use model::ErrorCode;
use wire::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use wire::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, ListenerKind, VersionRange};

use super::{Api, RequestContext, SERVED, served};
use crate::Broker;

pub(crate) struct ApiVersions;

impl Api for ApiVersions {
    type Request = ApiVersionsRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: ApiVersionsRequest,
    ) -> ApiVersionsResponse {
        if !is_valid(&request, cx.version) {
            return refuse(ErrorCode::InvalidRequest);
        }
        if cx.version >= 5 && is_misrouted(&broker, &request) {
            return refuse(ErrorCode::RebootstrapRequired);
        }
        if cx.version >= 3 {
            let (name, version) = (&request.client_software_name, &request.client_software_version);
            cx.connection.tell_software(name, version);
        }
        let listener = &cx.connection.listener;
        let api_keys = SERVED
            .iter()
            .filter(|key| !key.is_private() && key.listeners().contains(&listener.kind))
            .filter_map(|key| advertised(*key, listener.unstable_versions))
            .filter_map(|version| taken(&broker, version))
            .collect();
        let image = broker.metadata.get();
        ApiVersionsResponse {
            api_keys,
            supported_features: supported(cx.version, listener.metadata_version),
            finalized_features_epoch: image.provenance.offset,
            finalized_features: finalized(&image, broker.quorum.status().kraft_version),
            ..Default::default()
        }
    }
}

/// The answer to a version that is not known: version 0 says which are.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: advertised(ApiKey::ApiVersions, false).into_iter().collect(),
        ..refuse(ErrorCode::UnsupportedVersion)
    }
}

fn refuse(error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: error.code(), ..Default::default() }
}

/// Produce is advertised from version 0, although 0 to 2 are refused: librdkafka would otherwise switch compression off (KAFKA-18659).
fn advertised(key: ApiKey, unstable: bool) -> Option<ApiVersion> {
    let versions = served(key, unstable)?;
    let min_version = if key == ApiKey::Produce { 0 } else { versions.min };
    Some(ApiVersion {
        api_key: key.code(),
        min_version,
        max_version: versions.max,
        ..Default::default()
    })
}

/// What is sent on is advertised as far as the controller takes it.
fn taken(broker: &Broker, ours: ApiVersion) -> Option<ApiVersion> {
    let key = ApiKey::from_code(ours.api_key).filter(|key| key.is_forwardable());
    let Some(key) = key.filter(|_| broker.role == ListenerKind::Broker) else { return Some(ours) };
    let versions = VersionRange::new(ours.min_version, ours.max_version);
    let VersionRange { min, max } = broker.controller.takes(key, versions)?;
    Some(ApiVersion { min_version: min, max_version: max, ..ours })
}

fn is_valid(request: &ApiVersionsRequest, version: i16) -> bool {
    let named = version < 3
        || (is_software_word(&request.client_software_name)
            && is_software_word(&request.client_software_version));
    let both = version < 5 || request.cluster_id.is_some() == (request.node_id != -1);
    named && both
}

fn is_misrouted(broker: &Broker, request: &ApiVersionsRequest) -> bool {
    request.cluster_id.as_ref().is_some_and(|cluster_id| {
        *cluster_id != broker.cluster_id || request.node_id != broker.node.0
    })
}

/// Letters and digits, and between them also `-` and `.`.
fn is_software_word(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    word.chars().all(inner)
        && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Before version 4 clients could not read a feature whose minimum is 0 (KAFKA-17011): there it is left out.
fn supported(version: i16, newest: MetadataVersion) -> Vec<SupportedFeatureKey> {
    supported_features(newest)
        .into_iter()
        .filter(|(_, LevelRange { min, .. })| version >= 4 || *min > 0)
        .map(|(name, LevelRange { min, max })| SupportedFeatureKey {
            name,
            min_version: min,
            max_version: max,
            ..Default::default()
        })
        .collect()
}

/// The quorum's own level is in its log and not in the metadata.
fn finalized(image: &MetadataImage, kraft_version: i16) -> Vec<FinalizedFeatureKey> {
    let metadata = (METADATA_VERSION.to_owned(), image.feature_level(METADATA_VERSION));
    let quorum = (KRAFT_VERSION.to_owned(), kraft_version);
    let others = image.features.iter().map(|(name, level)| (name.clone(), *level));
    others
        .chain([metadata, quorum])
        .filter(|(_, level)| *level > 0)
        .map(|(name, level)| FinalizedFeatureKey {
            name,
            max_version_level: level,
            min_version_level: level,
            ..Default::default()
        })
        .collect()
}
