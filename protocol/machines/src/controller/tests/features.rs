use model::ErrorCode;
use wire::update_features_request::FeatureUpdateKey;
use wire::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::super::{QuorumAnswer, QuorumVersion};
use super::*;
use crate::consensus::Refusal;
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
    let quorum = QuorumVersion { level: 0, answer: None };
    match cluster.ask(ControllerRequest::UpdateFeatures { request, version, quorum }) {
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

#[test]
fn the_quorum_is_asked_for_its_version_when_nothing_else_stands_against_it() {
    let mut cluster = Cluster::of(1);
    let asked = |updates: &[(&str, i16, i8)], level, answer| {
        let key = |(feature, level, kind): &(&str, i16, i8)| FeatureUpdateKey {
            feature: (*feature).to_owned(),
            max_version_level: *level,
            upgrade_type: *kind,
            ..Default::default()
        };
        let feature_updates = updates.iter().map(key).collect();
        let request = UpdateFeaturesRequest { feature_updates, ..Default::default() };
        let quorum = QuorumVersion { level, answer };
        ControllerRequest::UpdateFeatures { request, version: 2, quorum }
    };
    let up = ("kraft.version", 1, UPGRADE);
    let wanted = |cluster: &Cluster, request| cluster.controller.quorum_upgrade(&request);
    assert_eq!(wanted(&cluster, asked(&[up], 0, None)), Some(1));
    assert_eq!(wanted(&cluster, asked(&[up], 1, None)), Some(1), "raft finds that it is so");
    let bad = ("share.version", 7, UPGRADE);
    assert_eq!(wanted(&cluster, asked(&[up, bad], 0, None)), None);
    assert_eq!(wanted(&cluster, asked(&[("kraft.version", 2, UPGRADE)], 0, None)), None);
    let said = |epoch, refusal| Some(QuorumAnswer { epoch, refusal });
    assert_eq!(wanted(&cluster, asked(&[up], 0, said(1, None))), None, "it has answered");
    assert_eq!(wanted(&cluster, asked(&[up], 0, said(0, None))), Some(1), "as another leader");

    let mut response = |request| match cluster.ask(request) {
        ControllerReply::UpdateFeatures(response) => (response, cluster.log.len()),
        other => panic!("{other:?}"),
    };
    let (done, end) = response(asked(&[up], 0, said(1, None)));
    assert_eq!(done.error_code, 0);
    let message = Some("not all of the voters support it".to_owned());
    let refusal = Refusal { code: ErrorCode::InvalidUpdateVersion, message };
    let (refused, after) = response(asked(&[up], 0, said(1, Some(refusal))));
    let told = refused.error_message.unwrap();
    assert!(told.ends_with("had an error: not all of the voters support it"), "{told}");
    for (level, kind, message) in [
        (0, UPGRADE, "Can't downgrade the version of this feature without setting"),
        (0, SAFE_DOWNGRADE, "Can't downgrade the version of this feature."),
        (0, UNSAFE_DOWNGRADE, "Can't downgrade the version of this feature."),
    ] {
        let (refused, _) = response(asked(&[("kraft.version", level, kind)], 1, None));
        let told = refused.error_message.unwrap();
        let of = format!("Invalid update version {level} for feature kraft.version. {message}");
        assert!(told.contains(&of), "{told}");
    }
    let (same, last) = response(asked(&[("kraft.version", 1, SAFE_DOWNGRADE)], 1, None));
    assert_eq!((same.error_code, last), (0, end), "nothing is to be done");
    assert_eq!(after, end, "what is refused writes nothing");
    assert!(matches!(cluster.log.last(), Some(MetadataRecord::NoOp(_))), "what its answer awaits");
}
