use model::ErrorCode;
use wire::update_features_request::FeatureUpdateKey;
use wire::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::*;
use crate::metadata::ConfigResource;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

fn update(
    cluster: &mut Cluster,
    updates: &[(&str, i16, i8)],
    version: i16,
) -> UpdateFeaturesResponse {
    let key = |(feature, level, kind): &(&str, i16, i8)| FeatureUpdateKey {
        feature: (*feature).to_owned(),
        max_version_level: *level,
        upgrade_type: *kind,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest {
        feature_updates: updates.iter().map(key).collect(),
        ..Default::default()
    };
    match cluster.ask(ControllerRequest::UpdateFeatures { request, version }) {
        ControllerReply::UpdateFeatures(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn up_and_down() {
    let mut cluster = Cluster::of(1);
    assert_eq!(update(&mut cluster, &[("share.version", 1, SAFE_DOWNGRADE)], 2).error_code, 0);
    assert_eq!(cluster.image().feature_level("share.version"), 1);
    let response = update(&mut cluster, &[("share.version", 2, UPGRADE)], 1);
    assert_eq!((response.error_code, response.results.len()), (0, 1), "results up to version 1");
    assert_eq!(cluster.image().feature_level("share.version"), 2);
}

#[test]
fn what_is_refused_is_refused_as_a_whole() {
    let mut cluster = Cluster::of(1);
    let cases: &[(&str, i16, i8, &str)] = &[
        (
            "share.version",
            1,
            UPGRADE,
            "Can't downgrade the version of this feature without setting the upgrade type",
        ),
        ("share.version", 3, UPGRADE, "Local controller 1 only supports versions 0-2"),
        ("no.such", 1, UPGRADE, "Local controller 1 does not support this feature."),
        ("share.version", -1, SAFE_DOWNGRADE, "A feature version cannot be less than 0."),
        ("share.version", 1, 0, "The controller does not support the given upgrade type."),
        ("group.version", 1, 9, "The controller does not support the given upgrade type."),
        ("metadata.version", 29, SAFE_DOWNGRADE, "Refusing to perform the requested downgrade"),
        (
            "metadata.version",
            29,
            UNSAFE_DOWNGRADE,
            "Unsafe metadata downgrade is not supported in this version.",
        ),
        ("metadata.version", 34, UPGRADE, "Local controller 1 only supports versions 7-33"),
    ];
    let before = cluster.log.len();
    for (feature, level, kind, message) in cases {
        let good = ("transaction.version", 1, SAFE_DOWNGRADE);
        let response = update(&mut cluster, &[good, (feature, *level, *kind)], 2);
        assert_eq!(
            ErrorCode::from_code(response.error_code),
            ErrorCode::InvalidUpdateVersion,
            "{feature} {level}"
        );
        let told = response.error_message.unwrap();
        assert!(told.contains(message), "{told}");
        assert!(told.starts_with(
            "The update failed for all features since the following feature had an error: "
        ));
    }
    assert_eq!(cluster.log.len(), before);
}

#[test]
fn every_broker_must_know_the_level() {
    let mut cluster = Cluster::with(&[], &[("share.version", 1)]);
    let mut old = registration(4, 1);
    old.features
        .iter_mut()
        .filter(|f| f.name == "share.version")
        .for_each(|f| f.max_supported_version = 1);
    cluster.register(old);
    let told = update(&mut cluster, &[("share.version", 2, UPGRADE)], 2).error_message.unwrap();
    assert!(told.contains("Broker 4 only supports versions 0-1"), "{told}");
}

#[test]
fn elr_makes_min_insync_replicas_explicit() {
    let mut cluster =
        Cluster::with(&[("min.insync.replicas", "2")], &[("eligible.leader.replicas.version", 0)]);
    let all = ConfigResource::broker_default();
    assert_eq!(cluster.image().configs.get(&all, "min.insync.replicas"), None);
    update(&mut cluster, &[("eligible.leader.replicas.version", 1, UPGRADE)], 2);
    assert_eq!(cluster.image().configs.get(&all, "min.insync.replicas"), Some("2"));
}
