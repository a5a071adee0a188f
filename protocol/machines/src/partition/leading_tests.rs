//! Tables of what a leader decides of the others: replicas 2 and 3 of a partition that 1 leads, broker epochs 20 and 30.

use std::time::Duration;

use super::tests::{NOW, append, fetched, leader, leadership, live, ok, plain, refused, run};
use super::*;

fn seconds(seconds: u64) -> Now {
    NOW.advanced(Duration::from_secs(seconds))
}

fn at(partition: &mut Partition, now: Now, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    partition.step(now, event, &mut effects);
    effects
}

fn fetches(partition: &mut Partition, id: i32, offset: i64, now: Now) -> Vec<Effect> {
    let event = fetched(partition, id, offset, now);
    at(partition, now, event)
}

fn change(isr: &[(i32, i64)]) -> IsrChange {
    IsrChange {
        leader_epoch: LeaderEpoch(4),
        partition_epoch: 0,
        isr: isr.iter().map(|(id, epoch)| (NodeId(*id), *epoch)).collect(),
    }
}

fn asks(isr: &[(i32, i64)]) -> Effect {
    Effect::AlterIsr(change(isr))
}

fn altered(partition_epoch: i32, isr: &[i32]) -> AlteredIsr {
    let isr = isr.iter().map(|id| NodeId(*id)).collect();
    AlteredIsr { leader_epoch: LeaderEpoch(4), partition_epoch, isr }
}

/// Leads with `isr`; its log has one record, which waits for acks=all where there are others.
fn with_a_record(isr: &[i32], min_insync_replicas: usize) -> Partition {
    let mut partition = leader(isr, min_insync_replicas);
    run(&mut partition, append(1, plain(1), Acks::Leader));
    run(&mut partition, Event::Written { end: 1 });
    partition
}

fn answered(asked: &[(i32, i64)], answer: Result<AlteredIsr, ErrorCode>) -> Event {
    Event::IsrAnswered { asked: change(asked), answer }
}

fn isr(partition: &Partition) -> Vec<i32> {
    partition.leadership().unwrap().isr.iter().map(|id| id.0).collect()
}

const TWO_JOINS: &[(i32, i64)] = &[(1, -1), (2, 20)];

#[test]
fn a_replica_that_caught_up_joins_the_isr_once_the_controller_agrees() {
    let mut partition = with_a_record(&[1], 1);
    assert_eq!(partition.high_watermark(), 1);
    assert_eq!(fetches(&mut partition, 2, 0, NOW), [], "it has nothing yet");
    assert_eq!(fetches(&mut partition, 2, 1, NOW), [asks(TWO_JOINS)]);
    assert_eq!(fetches(&mut partition, 3, 1, NOW), [], "one change at a time");
    assert_eq!(isr(&partition), [1]);
    let event = answered(TWO_JOINS, Ok(altered(1, &[1, 2])));
    assert_eq!(run(&mut partition, event), []);
    assert_eq!(isr(&partition), [1, 2]);
    let effects = fetches(&mut partition, 3, 1, NOW);
    let next = IsrChange { partition_epoch: 1, ..change(&[(1, -1), (2, 20), (3, 30)]) };
    assert_eq!(effects, [Effect::AlterIsr(next)]);
}

#[test]
fn whoever_may_be_in_the_isr_holds_the_watermark_and_does_not_count_for_min_isr() {
    let mut partition = with_a_record(&[1], 2);
    assert_eq!(partition.high_watermark(), 0, "one of two that are required");
    assert_eq!(fetches(&mut partition, 2, 1, NOW), [asks(TWO_JOINS)]);
    let error = AppendError::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(run(&mut partition, append(2, plain(1), Acks::All)), [refused(2, error)]);
    let event = answered(TWO_JOINS, Ok(altered(1, &[1, 2])));
    let moved = [Effect::HighWatermark(1), Effect::LastStableOffset(1)];
    assert_eq!(run(&mut partition, event), moved);

    let mut partition = with_a_record(&[1], 1);
    fetches(&mut partition, 2, 1, NOW);
    run(&mut partition, append(2, plain(1), Acks::All));
    let later = seconds(60);
    assert_eq!(at(&mut partition, later, Event::Written { end: 2 }), [], "2 may be in the ISR");
    let moved = [Effect::HighWatermark(2), ok(2, 1), Effect::LastStableOffset(2)];
    assert_eq!(fetches(&mut partition, 2, 2, later), moved);
}

#[test]
fn one_that_is_about_to_join_is_waited_for() {
    let mut partition = with_a_record(&[1], 1);
    fetches(&mut partition, 3, 1, NOW);
    run(&mut partition, answered(&[(1, -1), (3, 30)], Err(ErrorCode::IneligibleReplica)));
    run(&mut partition, append(2, plain(1), Acks::Leader));
    assert_eq!(run(&mut partition, Event::Written { end: 2 }), [ok(2, 1)], "3 was caught up");
    let moved = [Effect::HighWatermark(2), Effect::LastStableOffset(2)];
    assert_eq!(at(&mut partition, seconds(31), Event::CheckIsr), moved, "not for ever");
}

#[test]
fn who_is_not_eligible_neither_joins_nor_is_waited_for() {
    let stopping = LiveBroker { in_controlled_shutdown: true, ..live(2) };
    let reborn = LiveBroker { epoch: 21, ..live(2) };
    for broker in [None, Some(stopping), Some(reborn)] {
        let mut partition = with_a_record(&[1], 1);
        let told = Leadership { live: broker.into_iter().collect(), ..leadership(&[1], 1) };
        assert_eq!(run(&mut partition, Event::Lead(told)), []);
        assert_eq!(fetches(&mut partition, 2, 1, NOW), [], "{broker:?}");
        run(&mut partition, append(2, plain(1), Acks::Leader));
        run(&mut partition, Event::Written { end: 2 });
        assert_eq!(partition.high_watermark(), 2, "{broker:?}");
    }
}

#[test]
fn who_is_back_joins_when_it_fetches_and_not_for_what_it_fetched_before() {
    let mut partition = with_a_record(&[1], 1);
    let gone = Leadership { live: vec![], ..leadership(&[1], 1) };
    run(&mut partition, Event::Lead(gone));
    let Event::ReplicaFetched { replica, state } = fetched(&partition, 2, 1, NOW) else {
        unreachable!()
    };
    assert_eq!(run(&mut partition, Event::ReplicaFetched { replica, state }), [], "it is fenced");
    run(&mut partition, Event::Lead(leadership(&[1], 1)));
    for event in [Event::ReplicaKnown { replica, state }, Event::CheckIsr] {
        assert_eq!(at(&mut partition, seconds(600), event), []);
    }
    assert_eq!(fetches(&mut partition, 2, 1, seconds(600)), [asks(TWO_JOINS)]);
}

#[test]
fn a_new_leaders_followers_must_reach_its_epoch() {
    let opened = Opened { log_end_offset: 5, high_watermark: 3, ..super::tests::opened() };
    let mut partition = Partition::new(opened);
    run(&mut partition, Event::Lead(leadership(&[1, 3], 1)));
    assert_eq!(fetches(&mut partition, 2, 4, NOW), [], "past the watermark is not enough");
    assert_eq!(fetches(&mut partition, 2, 5, NOW), [asks(&[(1, -1), (3, -1), (2, 20)])]);
}

#[test]
fn those_that_fall_behind_leave_the_isr() {
    let mut partition = with_a_record(&[1, 2, 3], 1);
    fetches(&mut partition, 2, 1, seconds(1));
    // It never has all, but each time what the leader had at the fetch before.
    for second in 0..40 {
        run(&mut partition, append(2 + second, plain(1), Acks::Leader));
        run(&mut partition, Event::Written { end: 2 + second as i64 });
        fetches(&mut partition, 3, 1 + second as i64, seconds(second));
    }
    assert_eq!(at(&mut partition, seconds(30), Event::CheckIsr), []);
    let shrunk = [(1, -1), (3, 30)];
    assert_eq!(at(&mut partition, seconds(32), Event::CheckIsr), [asks(&shrunk)]);
    assert_eq!(at(&mut partition, seconds(33), Event::CheckIsr), [], "it was asked for");
    assert_eq!(partition.high_watermark(), 1, "2 may still be in the ISR");
    let moved = [Effect::HighWatermark(40), Effect::LastStableOffset(40)];
    assert_eq!(at(&mut partition, seconds(33), answered(&shrunk, Ok(altered(1, &[1, 3])))), moved);
}

#[test]
fn a_replica_that_was_never_heard_of_leaves_in_time() {
    let mut partition = with_a_record(&[1, 2], 1);
    assert_eq!(at(&mut partition, seconds(30), Event::CheckIsr), []);
    assert_eq!(at(&mut partition, seconds(31), Event::CheckIsr), [asks(&[(1, -1)])]);
}

#[test]
fn what_an_answer_of_the_controller_leads_to() {
    let retried = [asks(TWO_JOINS)];
    let none: [Effect; 0] = [];
    for (code, effects, asks_anew) in [
        (ErrorCode::OperationNotAttempted, &none[..], true),
        (ErrorCode::IneligibleReplica, &none, true),
        (ErrorCode::UnknownTopicOrPartition, &none, false),
        (ErrorCode::UnknownTopicId, &none, false),
        (ErrorCode::FencedLeaderEpoch, &none, false),
        (ErrorCode::InvalidUpdateVersion, &none, false),
        (ErrorCode::InvalidRequest, &none, false),
        (ErrorCode::NewLeaderElected, &none, false),
        (ErrorCode::NotController, &retried, false),
        (ErrorCode::UnknownServerError, &retried, false),
    ] {
        let mut partition = with_a_record(&[1], 1);
        fetches(&mut partition, 2, 1, NOW);
        assert_eq!(run(&mut partition, answered(TWO_JOINS, Err(code))), effects, "{code:?}");
        let again = fetches(&mut partition, 2, 1, NOW);
        assert_eq!(again == retried, asks_anew, "{code:?}");
        // The metadata tells how it is, whatever the answer was.
        let told = Leadership { partition_epoch: 1, ..leadership(&[1], 1) };
        run(&mut partition, Event::Lead(told));
        let again = fetches(&mut partition, 2, 1, NOW);
        assert_eq!(
            again,
            [Effect::AlterIsr(IsrChange { partition_epoch: 1, ..change(TWO_JOINS) })]
        );
    }
}

#[test]
fn an_answer_to_what_is_no_longer_asked_counts_for_nothing() {
    let elsewhere = AlteredIsr { leader_epoch: LeaderEpoch(5), ..altered(1, &[1, 2]) };
    let mut partition = with_a_record(&[1], 1);
    fetches(&mut partition, 2, 1, NOW);
    run(&mut partition, answered(TWO_JOINS, Ok(elsewhere)));
    run(&mut partition, answered(&[(1, -1)], Ok(altered(1, &[1, 2]))));
    assert_eq!(isr(&partition), [1]);
    run(&mut partition, Event::Lead(Leadership { partition_epoch: 2, ..leadership(&[1], 1) }));
    run(&mut partition, answered(TWO_JOINS, Ok(altered(1, &[1, 2]))));
    assert_eq!(isr(&partition), [1]);
}

#[test]
fn the_same_partition_epoch_again_changes_no_isr_and_disturbs_nobody() {
    let mut partition = with_a_record(&[1, 2], 1);
    run(&mut partition, append(2, plain(1), Acks::All));
    run(&mut partition, Event::Written { end: 2 });
    assert_eq!(run(&mut partition, Event::Lead(leadership(&[1, 2], 1))), []);
    assert_eq!(at(&mut partition, seconds(31), Event::CheckIsr), [asks(&[(1, -1)])]);
    assert_eq!(run(&mut partition, Event::Lead(leadership(&[1, 2], 1))), []);
    let moved = [Effect::HighWatermark(2), ok(2, 1), Effect::LastStableOffset(2)];
    let event = answered(&[(1, -1)], Ok(altered(1, &[1])));
    assert_eq!(run(&mut partition, event), moved, "still pending");
    run(&mut partition, Event::Lead(leadership(&[1, 2], 1)));
    assert_eq!(isr(&partition), [1], "an older epoch");
}

#[test]
fn a_higher_min_isr_holds_the_watermark() {
    let mut partition = with_a_record(&[1, 2], 1);
    run(&mut partition, append(2, plain(1), Acks::All));
    run(&mut partition, Event::Written { end: 2 });
    run(&mut partition, Event::Lead(leadership(&[1, 2], 3)));
    assert!(partition.is_under_min_isr());
    assert_eq!(fetches(&mut partition, 2, 2, NOW), []);
    let moved = [Effect::HighWatermark(2), ok(2, 1), Effect::LastStableOffset(2)];
    assert_eq!(run(&mut partition, Event::Lead(leadership(&[1, 2], 2))), moved);
    let all = Leadership { replicas: vec![NodeId(1)], ..leadership(&[1], 9) };
    run(&mut partition, Event::Lead(Leadership { partition_epoch: 1, ..all }));
    assert!(!partition.is_under_min_isr(), "no more than there are replicas");
}

#[test]
fn a_successor_of_the_actor_goes_on_with_what_was_asked() {
    let mut partition = Partition::new(super::tests::opened());
    let pending = Some(change(TWO_JOINS));
    let effects = run(&mut partition, Event::Lead(Leadership { pending, ..leadership(&[1], 1) }));
    assert!(effects.contains(&asks(TWO_JOINS)), "{effects:?}");
    run(&mut partition, append(1, plain(1), Acks::All));
    let effects = at(&mut partition, seconds(99), Event::Written { end: 1 });
    assert_eq!(effects, [], "2 may be in the ISR");
}

#[test]
fn a_leader_that_is_elected_again_keeps_what_it_knows() {
    let mut partition = with_a_record(&[1, 2], 1);
    fetches(&mut partition, 2, 1, NOW);
    let told =
        Leadership { leader_epoch: LeaderEpoch(5), partition_epoch: 1, ..leadership(&[1, 2], 1) };
    at(&mut partition, seconds(60), Event::Lead(told));
    run(&mut partition, append(2, plain(1), Acks::Leader));
    at(&mut partition, seconds(60), Event::Written { end: 2 });
    assert_eq!(at(&mut partition, seconds(90), Event::CheckIsr), [], "counted from the election");
    let (_, known) = partition.replicas().next().unwrap();
    assert_eq!((known.log_end_offset, known.broker_epoch), (1, Some(20)));
}

/// Kafka's `Partition.makeLeader` takes their ends for what they still have.
#[test]
fn what_followers_had_counts_no_more_where_another_may_have_led_between() {
    let mut partition = with_a_record(&[1, 2, 3], 2);
    fetches(&mut partition, 2, 1, NOW);
    assert_eq!(partition.high_watermark(), 0, "3 has not fetched it");
    let told = Leadership {
        leader_epoch: LeaderEpoch(6),
        partition_epoch: 2,
        ..leadership(&[1, 2, 3], 2)
    };
    run(&mut partition, Event::Lead(told));
    fetches(&mut partition, 3, 1, NOW);
    assert_eq!(partition.high_watermark(), 0, "2 may have cut it");
    fetches(&mut partition, 2, 1, NOW);
    assert_eq!(partition.high_watermark(), 1);
}
