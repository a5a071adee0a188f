//! Tables: events in, effects out.

use model::ProducerId;
use model::producers::{Marker, increment_sequence};

use super::*;

const MAX_LAG: std::time::Duration = std::time::Duration::from_secs(30);
pub(super) const NOW: Now = Now::new(std::time::Duration::ZERO, 1_000_000);

pub(super) fn leadership(isr: &[i32], min_insync_replicas: usize) -> Leadership {
    Leadership {
        node: NodeId(1),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: 0,
        replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
        isr: isr.iter().map(|id| NodeId(*id)).collect(),
        min_insync_replicas,
        live: [2, 3].map(live).to_vec(),
        max_lag: MAX_LAG,
        pending: None,
    }
}

pub(super) fn live(id: i32) -> LiveBroker {
    LiveBroker { id: NodeId(id), epoch: i64::from(id) * 10, in_controlled_shutdown: false }
}

/// The replica's fetch at `offset`, as its leader comes to know of it.
pub(super) fn fetched(partition: &Partition, id: i32, offset: i64, at: Now) -> Event {
    let replica = NodeId(id);
    let known = partition.replicas().find(|(known, _)| *known == replica);
    let mut state = known.map_or_else(|| ReplicaState::unheard(false, at.mono), |(_, state)| state);
    state.fetched(&ReplicaFetch {
        offset,
        log_start_offset: 0,
        leader_end: partition.written,
        broker_epoch: live(id).epoch,
        at: at.mono,
    });
    Event::ReplicaFetched { replica, state }
}

pub(super) fn opened() -> Opened {
    Opened {
        log_start_offset: 0,
        log_end_offset: 0,
        high_watermark: 0,
        producers: Producers::default(),
        completed: Vec::new(),
    }
}

pub(super) fn leader(isr: &[i32], min_insync_replicas: usize) -> Partition {
    let mut partition = Partition::new(opened());
    run(&mut partition, Event::Lead(leadership(isr, min_insync_replicas)));
    partition
}

pub(super) fn run(partition: &mut Partition, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    partition.step(NOW, event, &mut effects);
    effects
}

pub(super) fn plain(count: i32) -> BatchInfo {
    BatchInfo {
        last_offset_delta: count - 1,
        max_timestamp: 1_000_000,
        producer_id: ProducerId(-1),
        producer_epoch: ProducerEpoch(-1),
        base_sequence: -1,
        transactional: false,
        control: false,
        marker: None,
    }
}

fn idempotent(epoch: i16, base_sequence: i32, count: i32) -> BatchInfo {
    BatchInfo {
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence,
        ..plain(count)
    }
}

pub(super) fn append(ticket: u64, batch: BatchInfo, acks: Acks) -> Event {
    let origin = Origin::Client;
    Event::Append { ticket: Ticket(ticket), batch, acks, origin, leader_epoch: None }
}

pub(super) fn write(ticket: u64, base_offset: i64) -> Effect {
    Effect::Write { ticket: Ticket(ticket), base_offset, leader_epoch: LeaderEpoch(4) }
}

pub(super) fn ok(ticket: u64, base_offset: i64) -> Effect {
    let appended = Appended { base_offset, log_start_offset: 0, duplicate_timestamp: None };
    Effect::Reply { ticket: Ticket(ticket), result: Ok(appended) }
}

pub(super) fn refused(ticket: u64, error: AppendError) -> Effect {
    Effect::Reply { ticket: Ticket(ticket), result: Err(error) }
}

#[test]
fn a_sole_replica_answers_once_written() {
    let mut partition = leader(&[1], 1);
    assert_eq!(run(&mut partition, append(1, plain(3), Acks::All)), [write(1, 0)]);
    assert_eq!(run(&mut partition, append(2, plain(2), Acks::Leader)), [write(2, 3)]);
    let expected = [ok(2, 3), Effect::HighWatermark(5), ok(1, 0), Effect::LastStableOffset(5)];
    assert_eq!(run(&mut partition, Event::Written { end: 5 }), expected);
}

#[test]
fn acks_all_waits_for_every_in_sync_replica() {
    let mut partition = leader(&[1, 2, 3], 2);
    run(&mut partition, append(1, plain(1), Acks::All));
    assert_eq!(run(&mut partition, Event::Written { end: 1 }), []);
    let event = fetched(&partition, 2, 1, NOW);
    assert_eq!(run(&mut partition, event), []);
    let expected = [Effect::HighWatermark(1), ok(1, 0), Effect::LastStableOffset(1)];
    let event = fetched(&partition, 3, 1, NOW);
    assert_eq!(run(&mut partition, event), expected);
}

#[test]
fn too_few_in_sync_replicas_refuse_acks_all_only() {
    let mut partition = leader(&[1], 2);
    let error = AppendError::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(run(&mut partition, append(1, plain(1), Acks::All)), [refused(1, error)]);
    assert_eq!(run(&mut partition, append(2, plain(1), Acks::Leader)), [write(2, 0)]);
    assert_eq!(run(&mut partition, Event::Written { end: 1 }), [ok(2, 0)]);
}

#[test]
fn a_follower_refuses_and_answers_what_waited() {
    let mut partition = leader(&[1, 2], 1);
    run(&mut partition, append(1, plain(1), Acks::All));
    let follow = Event::Follow { leader_epoch: LeaderEpoch(5), partition_epoch: 1 };
    assert_eq!(run(&mut partition, follow), [refused(1, AppendError::NotLeader)]);
    let event = append(2, plain(1), Acks::All);
    assert_eq!(run(&mut partition, event), [refused(2, AppendError::NotLeader)]);
}

#[test]
fn an_older_leadership_is_ignored() {
    let mut partition = leader(&[1], 1);
    let older = Leadership { leader_epoch: LeaderEpoch(3), ..leadership(&[1], 1) };
    assert_eq!(run(&mut partition, Event::Lead(older)), []);
    assert_eq!(partition.leader_epoch(), LeaderEpoch(4));
}

#[test]
fn a_coordinator_is_fenced_by_its_leader_epoch() {
    let mut partition = leader(&[1], 1);
    let event = Event::Append {
        ticket: Ticket(1),
        batch: plain(1),
        acks: Acks::All,
        origin: Origin::Coordinator,
        leader_epoch: Some(LeaderEpoch(3)),
    };
    let error = AppendError::FencedLeaderEpoch { given: LeaderEpoch(3), current: LeaderEpoch(4) };
    assert_eq!(run(&mut partition, event), [refused(1, error)]);
}

#[test]
fn a_retry_gets_its_first_offset_and_is_not_written_again() {
    let mut partition = leader(&[1], 1);
    for (ticket, sequence) in [(1, 0), (2, 2), (3, 4), (4, 6), (5, 8), (6, 10)] {
        run(&mut partition, append(ticket, idempotent(0, sequence, 2), Acks::All));
    }
    assert_eq!(
        run(&mut partition, append(7, idempotent(0, 10, 2), Acks::All)),
        [],
        "a retry of what is not written yet waits with it"
    );
    let answers = run(&mut partition, Event::Written { end: 12 });
    let retry =
        Appended { base_offset: 10, log_start_offset: 0, duplicate_timestamp: Some(1_000_000) };
    assert!(answers.contains(&Effect::Reply { ticket: Ticket(7), result: Ok(retry) }));
    let error = AppendError::OutOfOrderSequence { given: 0, expected: 12 };
    let forgotten = run(&mut partition, append(8, idempotent(0, 0, 2), Acks::All));
    assert_eq!(forgotten, [refused(8, error)], "only the last five are remembered");
    let known = run(&mut partition, append(9, idempotent(0, 2, 2), Acks::All));
    let appended = Appended { base_offset: 2, ..retry };
    assert_eq!(known, [Effect::Reply { ticket: Ticket(9), result: Ok(appended) }]);
}

#[test]
fn sequences_and_epochs_are_checked() {
    let gap = |given, expected| AppendError::OutOfOrderSequence { given, expected };
    let old =
        AppendError::InvalidProducerEpoch { given: ProducerEpoch(0), known: ProducerEpoch(1) };
    for (batch, expected) in [
        (idempotent(1, 5, 1), write(2, 2)),
        (idempotent(1, 6, 1), refused(2, gap(6, 5))),
        (idempotent(0, 5, 1), refused(2, old)),
        (idempotent(2, 0, 1), write(2, 2)),
        (idempotent(2, 5, 1), refused(2, gap(5, 0))),
    ] {
        let mut partition = leader(&[1], 1);
        let first = run(&mut partition, append(1, idempotent(1, 3, 2), Acks::All));
        assert_eq!(first, [write(1, 0)], "an unknown producer may begin anywhere");
        assert_eq!(run(&mut partition, append(2, batch, Acks::All)), [expected]);
    }
}

#[test]
fn sequences_wrap_to_zero() {
    let mut partition = leader(&[1], 1);
    run(&mut partition, append(1, idempotent(0, i32::MAX - 1, 2), Acks::All));
    let next = run(&mut partition, append(2, idempotent(0, 0, 1), Acks::All));
    assert_eq!(next, [write(2, 2)]);
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    let mut partition = leader(&[1], 1);
    run(&mut partition, append(1, idempotent(0, i32::MAX, 3), Acks::All));
    run(&mut partition, Event::Written { end: 3 });
    let retry = run(&mut partition, append(2, idempotent(0, i32::MAX, 3), Acks::All));
    assert!(matches!(
        retry[..],
        [Effect::Reply { result: Ok(Appended { base_offset: 0, .. }), .. }]
    ));
}

#[test]
fn an_idle_producer_is_forgotten() {
    let mut partition = leader(&[1], 1);
    run(&mut partition, append(1, idempotent(0, 0, 1), Acks::All));
    let mut effects = Vec::new();
    let tick = Event::Tick { producer_id_expiration_ms: 1000 };
    partition.step(Now { wall_ms: NOW.wall_ms + 999, ..NOW }, tick.clone(), &mut effects);
    assert!(partition.producers().entry(ProducerId(7)).is_some());
    partition.step(Now { wall_ms: NOW.wall_ms + 1000, ..NOW }, tick, &mut effects);
    assert!(partition.producers().is_empty());
}

/// A leader whose log has an open transaction of three records.
fn in_transaction() -> Partition {
    let mut producers = Producers::default();
    let data = BatchInfo { transactional: true, ..idempotent(0, 0, 3) };
    assert_eq!(producers.apply(&data, 10), None);
    let opened = Opened { log_end_offset: 13, high_watermark: 13, producers, ..opened() };
    let mut partition = Partition::new(opened);
    run(&mut partition, Event::Lead(leadership(&[1, 2], 1)));
    partition
}

fn end_transaction(ticket: u64, commit: bool, coordinator_epoch: i32) -> Event {
    let batch = BatchInfo {
        control: true,
        marker: Some(Marker { commit, coordinator_epoch }),
        ..idempotent(0, -1, 1)
    };
    let (origin, acks) = (Origin::Coordinator, Acks::Leader);
    Event::Append { ticket: Ticket(ticket), batch, acks, origin, leader_epoch: None }
}

#[test]
fn an_open_transaction_holds_back_the_last_stable_offset() {
    let mut partition = in_transaction();
    assert_eq!(partition.last_stable_offset(), 10);
    assert_eq!(run(&mut partition, end_transaction(1, false, 2)), [write(1, 13)]);
    assert_eq!(run(&mut partition, Event::Written { end: 14 }), [ok(1, 13)]);
    assert_eq!(partition.last_stable_offset(), 10, "the marker is not replicated");
    let event = fetched(&partition, 2, 14, NOW);
    let expected = [Effect::HighWatermark(14), Effect::LastStableOffset(14)];
    assert_eq!(run(&mut partition, event), expected);
    let fenced = AppendError::TransactionCoordinatorFenced { given: 1, known: 2 };
    assert_eq!(run(&mut partition, end_transaction(2, true, 1)), [refused(2, fenced)]);
}

#[test]
fn the_last_stable_offset_is_not_below_the_log_start() {
    let mut partition = in_transaction();
    let effects = run(&mut partition, Event::LogStartAdvanced { offset: 12 });
    assert_eq!(effects, [Effect::LastStableOffset(12)]);
    let producers = partition.producers().clone();
    let found = Opened {
        log_start_offset: 12,
        log_end_offset: 13,
        high_watermark: 13,
        producers,
        ..opened()
    };
    assert_eq!(Partition::new(found).last_stable_offset(), 12);
}

#[test]
fn an_ended_transaction_holds_it_back_after_a_restart_until_its_marker_is_replicated() {
    let mut producers = Producers::default();
    producers.apply(&BatchInfo { transactional: true, ..idempotent(0, 0, 3) }, 10);
    let Event::Append { batch, .. } = end_transaction(1, true, 0) else { unreachable!() };
    let completed = vec![producers.apply(&batch, 13).unwrap()];
    let opened =
        Opened { log_end_offset: 14, high_watermark: 12, producers, completed, ..opened() };
    let mut partition = Partition::new(opened);
    assert_eq!(partition.last_stable_offset(), 10);
    let expected = [
        Effect::StartEpoch { leader_epoch: LeaderEpoch(4), start_offset: 14 },
        Effect::HighWatermark(14),
        Effect::LastStableOffset(14),
    ];
    assert_eq!(run(&mut partition, Event::Lead(leadership(&[1], 1))), expected);
}

#[test]
fn a_transactional_batch_needs_its_transaction() {
    let mut partition = leader(&[1], 1);
    let batch = BatchInfo { transactional: true, ..idempotent(0, 0, 1) };
    let effects = run(&mut partition, append(1, batch, Acks::All));
    assert!(matches!(
        effects[..],
        [Effect::Reply { result: Err(AppendError::InvalidTxnState { .. }), .. }]
    ));
}
