use model::{ErrorCode, Uuid};
use wire::{
    BrokerRegistrationRequest, ControllerRegistrationRequest, MetadataRecord,
    UnregisterBrokerRequest,
};

use super::*;

#[test]
fn an_empty_log_starts_with_the_bootstrap_transaction() {
    let cluster = Cluster::with(&[], &[]);
    assert!(matches!(cluster.log.first(), Some(MetadataRecord::BeginTransaction(_))));
    assert!(matches!(cluster.log.last(), Some(MetadataRecord::EndTransaction(_))));
    assert_eq!(cluster.image().feature_level("metadata.version"), 33);
    assert!(cluster.image().elr_enabled());
}

#[test]
fn a_second_leader_writes_no_bootstrap_and_undoes_a_torn_one() {
    let mut cluster = Cluster::of(1);
    let before = cluster.log.len();
    cluster.lead();
    assert_eq!(cluster.log.len(), before);
    let mut torn = Cluster::with(&[], &[]);
    torn.log.truncate(4);
    torn.controller = Controller::new(config(&[], &[]));
    for (offset, record) in torn.log.iter().enumerate() {
        torn.controller.load(record, offset as i64, 1).unwrap();
    }
    torn.lead();
    assert!(matches!(torn.log[4], MetadataRecord::AbortTransaction(_)));
    assert!(matches!(torn.log[5], MetadataRecord::BeginTransaction(_)));
    assert_eq!(torn.image().feature_level("group.version"), 1);
}

#[test]
fn a_broker_starts_fenced_under_the_offset_of_its_record_and_is_unfenced_once_it_has_read_it() {
    let mut cluster = Cluster::with(&[], &[]);
    let offset = cluster.log.len() as i64;
    assert_eq!(cluster.register(registration(0, 1)), ErrorCode::None);
    let broker = cluster.image().broker(0).unwrap();
    assert_eq!((broker.epoch, broker.record_offset, broker.fenced), (offset, offset, true));
    let behind = cluster.heartbeat(0, |r| r.current_metadata_offset = offset - 1);
    assert_eq!((behind.is_caught_up, behind.is_fenced), (false, true));
    let there = cluster.heartbeat(0, |r| r.current_metadata_offset = offset);
    assert_eq!((there.is_caught_up, there.is_fenced), (true, false));
}

#[test]
fn registrations_that_are_refused() {
    type Set = fn(&mut BrokerRegistrationRequest);
    let cases: [(Set, ErrorCode); 9] = [
        (|r| r.cluster_id = "other".into(), ErrorCode::InconsistentClusterId),
        (|r| r.is_migrating_zk_broker = true, ErrorCode::BrokerIdNotRegistered),
        (|r| r.log_dirs.clear(), ErrorCode::InvalidRegistration),
        (|r| r.log_dirs = vec![Uuid::LOST_DIRECTORY], ErrorCode::InvalidRegistration),
        (|r| r.log_dirs = vec![directory(9), directory(9)], ErrorCode::InvalidRegistration),
        (|r| r.log_dirs = vec![directory(0)], ErrorCode::InvalidRegistration),
        (|r| r.features.retain(|f| f.name != "metadata.version"), ErrorCode::InvalidRegistration),
        (|r| r.features.retain(|f| f.name != "group.version"), ErrorCode::UnsupportedVersion),
        (
            |r| r.features.iter_mut().for_each(|f| f.max_supported_version = 0),
            ErrorCode::UnsupportedVersion,
        ),
    ];
    let mut cluster = Cluster::of(1);
    let before = cluster.log.len();
    for (case, (set, code)) in cases.into_iter().enumerate() {
        let mut request = registration(5, 1);
        set(&mut request);
        assert_eq!(cluster.register(request), code, "case {case}");
    }
    assert_eq!(cluster.log.len(), before);
}

#[test]
fn who_does_not_know_the_quorums_version_is_refused() {
    let with = |range: Option<(i16, i16)>| {
        let mut request = registration(5, 1);
        request.features.retain(|f| f.name != "kraft.version" || range.is_some());
        for feature in request.features.iter_mut().filter(|f| f.name == "kraft.version") {
            (feature.min_supported_version, feature.max_supported_version) = range.unwrap();
        }
        request
    };
    let mut cluster = Cluster::of(1);
    for (range, level, code) in [
        (None, 0, ErrorCode::None),
        (None, 1, ErrorCode::UnsupportedVersion),
        (Some((0, 0)), 0, ErrorCode::None),
        (Some((0, 0)), 1, ErrorCode::UnsupportedVersion),
        (Some((1, 1)), 0, ErrorCode::UnsupportedVersion),
        (Some((0, 1)), 1, ErrorCode::None),
    ] {
        assert_eq!(cluster.register_at(with(range), level), code, "{range:?} at {level}");
    }
}

#[test]
fn another_process_of_the_id_must_wait_for_the_session_unless_it_holds_the_same_directory() {
    let mut cluster = Cluster::of(1);
    let mut stranger = registration(0, 2);
    stranger.log_dirs = vec![directory(70)];
    assert_eq!(cluster.register(stranger.clone()), ErrorCode::DuplicateBrokerRegistration);
    let mut copy = registration(0, 2);
    copy.listeners[0].host = "elsewhere".into();
    assert_eq!(cluster.register(copy), ErrorCode::DuplicateBrokerRegistration);
    let old_epoch = cluster.image().broker(0).unwrap().epoch;
    assert_eq!(cluster.register(registration(0, 2)), ErrorCode::None);
    assert!(cluster.image().broker(0).unwrap().epoch > old_epoch);
    cluster.heartbeat(0, |_| {});
    cluster.pass(9_000);
    assert_eq!(cluster.register(stranger), ErrorCode::None);
}

#[test]
fn a_fenced_broker_that_heartbeats_keeps_its_id() {
    let mut cluster = Cluster::with(&[], &[]);
    cluster.register(registration(0, 1));
    let mut stranger = registration(0, 2);
    stranger.log_dirs = vec![directory(70)];
    for _ in 0..3 {
        cluster.pass(8_000);
        let behind = cluster.heartbeat(0, |r| r.current_metadata_offset = 0);
        assert!(behind.is_fenced);
        assert_eq!(cluster.register(stranger.clone()), ErrorCode::DuplicateBrokerRegistration);
    }
    cluster.pass(9_000);
    assert_eq!(cluster.fire(ControllerTimer::FenceStaleBrokers), [], "fenced it is already");
    assert_eq!(cluster.register(stranger), ErrorCode::None);
}

#[test]
fn the_same_process_keeps_its_epoch() {
    let mut cluster = Cluster::of(2);
    let before = cluster.image().broker(0).unwrap().clone();
    assert_eq!(cluster.register(registration(0, 1)), ErrorCode::None);
    let after = cluster.image().broker(0).unwrap();
    assert_eq!((after.epoch, after.fenced), (before.epoch, false));
    assert!(!after.in_controlled_shutdown);
    cluster.create(assigned("t", &[&[0, 1]]));
    cluster.heartbeat(0, |r| r.want_shut_down = true);
    assert_eq!(cluster.register(registration(0, 1)), ErrorCode::None);
    let stopping = cluster.image().broker(0).unwrap();
    assert!(stopping.in_controlled_shutdown && !stopping.fenced);
}

#[test]
fn only_a_registration_that_names_the_epoch_from_before_is_of_a_clean_stop() {
    // Before version 3 no broker could name it; what stands there is not looked at.
    for (version, named, eligible) in
        [(4, true, vec![0]), (3, true, vec![0]), (2, true, vec![]), (4, false, vec![])]
    {
        let mut cluster = Cluster::of(2);
        cluster
            .create(configured(assigned("t", &[&[0, 1]]), &[("min.insync.replicas", Some("2"))]));
        cluster.fence(0);
        assert_eq!(cluster.partition("t", 0).elr, [0]);
        let mut request = registration(0, 2);
        let epoch = cluster.image().broker(0).unwrap().epoch;
        request.previous_broker_epoch = if named { epoch } else { epoch - 1 };
        cluster.ask(ControllerRequest::RegisterBroker { request, version, kraft_version: 0 });
        assert_ne!(cluster.image().broker(0).unwrap().epoch, epoch);
        assert_eq!(cluster.partition("t", 0).elr, eligible, "version {version}, {named}");
    }
}

#[test]
fn before_3_7_registrations_name_no_directories() {
    for (level, directories) in [(16, vec![]), (17, vec![directory(0)])] {
        let mut cluster = Cluster::with(&[], &[("metadata.version", level)]);
        assert_eq!(cluster.register(registration(0, 1)), ErrorCode::None);
        assert_eq!(cluster.image().broker(0).unwrap().directories, directories, "{level}");
    }
}

#[test]
fn heartbeats_of_an_old_epoch_are_refused() {
    let mut cluster = Cluster::of(1);
    let beat = cluster.heartbeat(0, |r| r.broker_epoch -= 1);
    assert_eq!(ErrorCode::from_code(beat.error_code), ErrorCode::StaleBrokerEpoch);
    let unknown = cluster.heartbeat(9, |_| {});
    assert_eq!(ErrorCode::from_code(unknown.error_code), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn who_is_silent_for_a_session_is_fenced_and_leads_no_more() {
    let mut cluster = Cluster::of(3);
    cluster.create(assigned("t", &[&[0, 1, 2]]));
    cluster.pass(8_000);
    (1..3).for_each(|id| drop(cluster.heartbeat(id, |_| {})));
    assert_eq!(cluster.fire(ControllerTimer::FenceStaleBrokers), []);
    cluster.pass(1_000);
    let records = cluster.fire(ControllerTimer::FenceStaleBrokers);
    assert!(matches!(records[0], MetadataRecord::PartitionChange(_)));
    assert!(
        matches!(&records[1], MetadataRecord::BrokerRegistrationChange(r) if r.broker_id == 0 && r.fenced == 1)
    );
    let partition = cluster.partition("t", 0);
    assert_eq!(
        (partition.leader, partition.isr.as_slice(), partition.leader_epoch),
        (1, [1, 2].as_slice(), 1)
    );
    assert_eq!(cluster.fire(ControllerTimer::FenceStaleBrokers), []);
}

#[test]
fn several_silent_brokers_go_one_after_the_other_without_delay() {
    let mut cluster = Cluster::of(3);
    cluster.pass(10_000);
    for left in (0..3).rev() {
        assert_eq!(cluster.fire(ControllerTimer::FenceStaleBrokers).len(), 1);
        let next = cluster.timers[&ControllerTimer::FenceStaleBrokers];
        assert_eq!(next == cluster.now.mono, left > 0);
    }
    assert!(cluster.image().brokers.values().all(|b| b.fenced));
}

#[test]
fn a_new_controller_gives_every_broker_a_new_session() {
    let mut cluster = Cluster::of(2);
    cluster.pass(60_000);
    cluster.lead();
    assert_eq!(cluster.fire(ControllerTimer::FenceStaleBrokers), []);
}

#[test]
fn a_broker_seen_dead_is_fenced_at_once_but_not_its_successor() {
    let mut cluster = Cluster::of(2);
    let epoch = cluster.image().broker(0).unwrap().epoch;
    cluster.ask(ControllerRequest::BrokerGone { broker_id: 0, broker_epoch: epoch - 1 });
    assert!(!cluster.image().broker(0).unwrap().fenced);
    cluster.ask(ControllerRequest::BrokerGone { broker_id: 0, broker_epoch: epoch });
    assert!(cluster.image().broker(0).unwrap().fenced);
}

#[test]
fn a_controlled_shutdown_moves_the_leaders_then_waits_for_the_others_to_know() {
    let mut cluster = Cluster::of(2);
    cluster.create(assigned("t", &[&[0, 1]]));
    let first = cluster.heartbeat(0, |r| r.want_shut_down = true);
    assert_eq!((first.is_fenced, first.should_shut_down), (false, false));
    assert!(cluster.image().broker(0).unwrap().in_controlled_shutdown);
    assert_eq!(cluster.partition("t", 0).leader, 1);
    let told_at = cluster.log.len() as i64 - 1;
    let early = cluster.heartbeat(0, |r| r.want_shut_down = true);
    assert!(!early.should_shut_down, "broker 1 has not read of it");
    cluster.heartbeat(1, |r| r.current_metadata_offset = told_at);
    let done = cluster.heartbeat(0, |r| r.want_shut_down = true);
    assert_eq!((done.is_fenced, done.should_shut_down), (true, true));
    assert!(cluster.image().broker(0).unwrap().fenced);
}

#[test]
fn a_controlled_shutdown_ends_although_others_write_stop_or_are_gone() {
    let mut cluster = Cluster::of(4);
    cluster.create(assigned("t", &[&[0, 3], &[1, 3]]));
    cluster.fence(2);
    for id in [0, 1] {
        assert!(!cluster.heartbeat(id, |r| r.want_shut_down = true).should_shut_down);
    }
    let told_at = cluster.log.len() as i64 - 1;
    for _ in 0..3 {
        cluster.fire(ControllerTimer::WriteNoOp);
        for id in [0, 1] {
            // Nor must they follow the log any more.
            let beat = cluster.heartbeat(id, |r| {
                (r.want_shut_down, r.current_metadata_offset) = (true, 0);
            });
            assert!(!beat.should_shut_down, "3 has not read of it");
        }
    }
    cluster.heartbeat(3, |r| r.current_metadata_offset = told_at);
    for id in [0, 1] {
        assert!(cluster.heartbeat(id, |r| r.want_shut_down = true).should_shut_down, "{id}");
    }
}

#[test]
fn a_new_controller_does_not_wait_for_what_an_earlier_one_waited_for() {
    let mut cluster = Cluster::of(2);
    cluster.create(assigned("t", &[&[0, 1]]));
    assert!(!cluster.heartbeat(0, |r| r.want_shut_down = true).should_shut_down);
    cluster.lead();
    assert!(cluster.heartbeat(0, |r| r.want_shut_down = true).should_shut_down);
}

#[test]
fn a_sole_broker_stops_in_two_heartbeats() {
    let mut cluster = Cluster::of(1);
    cluster.create(topic("t", 3, 1));
    assert!(!cluster.heartbeat(0, |r| r.want_shut_down = true).should_shut_down);
    assert!(cluster.heartbeat(0, |r| r.want_shut_down = true).should_shut_down);
    let partition = cluster.partition("t", 0);
    assert_eq!((partition.leader, partition.elr.as_slice()), (-1, [0].as_slice()));
    // As it comes back with its epoch from before, it leads again.
    let mut again = registration(0, 2);
    again.previous_broker_epoch = cluster.image().broker(0).unwrap().epoch;
    cluster.register(again);
    cluster.heartbeat(0, |_| {});
    let partition = cluster.partition("t", 0);
    assert_eq!(
        (partition.leader, partition.isr.as_slice(), partition.elr.len()),
        (0, [0].as_slice(), 0)
    );
}

#[test]
fn an_unregistered_broker_is_out_of_every_isr() {
    let mut cluster = Cluster::of(3);
    cluster.create(assigned("t", &[&[0, 1, 2]]));
    let unregister = |cluster: &mut Cluster, broker_id: i32| {
        let request = UnregisterBrokerRequest { broker_id, ..Default::default() };
        match cluster.ask(ControllerRequest::UnregisterBroker(request)) {
            ControllerReply::UnregisterBroker(response) => response,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unregister(&mut cluster, 0).error_code, 0);
    assert_eq!(cluster.partition("t", 0).isr, [1, 2]);
    assert!(cluster.image().broker(0).is_none());
    let unknown = unregister(&mut cluster, 0);
    assert_eq!(ErrorCode::from_code(unknown.error_code), ErrorCode::BrokerIdNotRegistered);
    assert_eq!(unknown.error_message.as_deref(), Some("Broker ID 0 is not currently registered"));
}

#[test]
fn controllers_register() {
    let mut cluster = Cluster::with(&[], &[]);
    let request = ControllerRegistrationRequest { controller_id: 3000, ..Default::default() };
    let reply = cluster.ask(ControllerRequest::RegisterController(request));
    assert!(matches!(reply, ControllerReply::RegisterController(r) if r.error_code == 0));
    assert!(cluster.image().controllers.contains_key(&3000));
    let unregister = |cluster: &mut Cluster, controller_id: i32| {
        let request = wire::UnregisterControllerRequest { controller_id, ..Default::default() };
        match cluster.ask(ControllerRequest::UnregisterController(request)) {
            ControllerReply::UnregisterController(r) => ErrorCode::from_code(r.error_code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unregister(&mut cluster, 1), ErrorCode::InvalidRequest, "itself");
    assert_eq!(unregister(&mut cluster, 3000), ErrorCode::None);
    assert_eq!(unregister(&mut cluster, 3000), ErrorCode::ControllerIdNotRegistered);
}

#[test]
fn an_idle_log_is_written_to() {
    let mut cluster = Cluster::with(&[], &[]);
    assert!(matches!(
        cluster.fire(ControllerTimer::WriteNoOp).as_slice(),
        [MetadataRecord::NoOp(_)]
    ));
    let quiet = Cluster::with(&[("metadata.max.idle.interval.ms", "0")], &[]);
    assert!(!quiet.timers.contains_key(&ControllerTimer::WriteNoOp));
}
