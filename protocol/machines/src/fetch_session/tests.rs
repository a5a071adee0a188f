use super::*;

fn key(partition: i32) -> FetchKey {
    FetchKey { topic: TopicKey::Name("t".into()), partition }
}

fn want(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        key: key(partition),
        fetch_offset,
        log_start_offset: -1,
        max_bytes: 1000,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
    }
}

fn quiet(high_watermark: i64) -> Answered {
    Answered {
        has_records: false,
        high_watermark,
        log_start_offset: 0,
        error: false,
        must_send: false,
    }
}

fn begin(session_id: i32, epoch: i32, partitions: Vec<FetchPartition>) -> Begin {
    Begin { session_id, epoch, uses_topic_ids: false, partitions, forgotten: vec![] }
}

/// Sessions with one open over partitions 0 and 1, both known at high watermark 10.
fn with_session(slots: usize) -> (FetchSessions, i32) {
    let mut sessions = FetchSessions::new(slots, 1000);
    let answered = [(want(0, 0), quiet(10)), (want(1, 0), quiet(10))];
    let id = sessions.open(0, false, false, answered.to_vec(), || 42);
    (sessions, id)
}

fn incremental(sessions: &mut FetchSessions, request: Begin) -> (i32, Vec<i32>) {
    match sessions.begin(1, request).unwrap() {
        Begun::Incremental { epoch, partitions, .. } => {
            (epoch, partitions.iter().map(|p| p.key.partition).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_changes_are_sent() {
    let (mut sessions, id) = with_session(1);
    let (epoch, served) = incremental(&mut sessions, begin(id, 1, vec![]));
    assert_eq!((epoch, served), (2, vec![0, 1]));
    let mut send = |epoch, zero: Answered, one: Answered| {
        sessions.finish(id, epoch, [(&key(0), zero), (&key(1), one)].into_iter())
    };
    assert_eq!(send(2, quiet(10), quiet(11)), Ok(vec![false, true]));
    assert_eq!(send(2, quiet(10), quiet(11)), Ok(vec![false, false]));
    let failed = Answered { error: true, ..quiet(11) };
    assert_eq!(send(2, quiet(10), failed), Ok(vec![false, true]));
    assert_eq!(send(2, quiet(10), quiet(11)), Ok(vec![false, true]), "sent again when it is well");
    assert_eq!(send(1, quiet(10), quiet(11)), Err(ErrorCode::InvalidFetchSessionEpoch));
}

#[test]
fn who_asks_under_another_leader_epoch_is_told_all_again() {
    let (mut sessions, id) = with_session(1);
    let newer = FetchPartition { current_leader_epoch: 7, ..want(1, 0) };
    let (epoch, _) = incremental(&mut sessions, begin(id, 1, vec![want(0, 0), newer]));
    let answers = [(&key(0), quiet(10)), (&key(1), quiet(10))];
    assert_eq!(sessions.finish(id, epoch, answers.into_iter()), Ok(vec![false, true]));
}

#[test]
fn who_was_sent_records_goes_last() {
    let (mut sessions, id) = with_session(1);
    let (epoch, _) = incremental(&mut sessions, begin(id, 1, vec![]));
    let data = Answered { has_records: true, ..quiet(12) };
    let answers = [(&key(0), data), (&key(1), quiet(10))];
    assert_eq!(sessions.finish(id, epoch, answers.into_iter()), Ok(vec![true, false]));
    assert_eq!(incremental(&mut sessions, begin(id, 2, vec![])).1, [1, 0]);
}

#[test]
fn a_session_is_changed_by_its_requests() {
    let (mut sessions, id) = with_session(1);
    let mut request = begin(id, 1, vec![want(2, 5)]);
    request.forgotten = vec![key(0)];
    assert_eq!(incremental(&mut sessions, request).1, [1, 2]);
    let mut last = begin(id, 2, vec![]);
    last.forgotten = vec![key(1), key(2)];
    assert_eq!(sessions.begin(1, last), Ok(Begun::Sessionless(vec![])));
    assert!(sessions.is_empty());
}

#[test]
fn a_session_out_of_step_is_refused() {
    let (mut sessions, id) = with_session(1);
    let by_id = Begin { uses_topic_ids: true, ..begin(id, 1, vec![]) };
    for (request, error) in [
        (begin(id + 1, 1, vec![]), ErrorCode::FetchSessionIdNotFound),
        (begin(id, 5, vec![]), ErrorCode::InvalidFetchSessionEpoch),
        (by_id, ErrorCode::FetchSessionTopicIdError),
    ] {
        assert_eq!(sessions.begin(1, request), Err(error));
    }
}

#[test]
fn a_full_fetch_closes_the_session_it_names() {
    let (mut sessions, id) = with_session(1);
    let full = sessions.begin(1, begin(id, INITIAL_EPOCH, vec![want(0, 3)]));
    assert_eq!(full, Ok(Begun::Full(vec![want(0, 3)])));
    assert!(sessions.is_empty());
    let last = sessions.begin(1, begin(id, FINAL_EPOCH, vec![want(0, 3)]));
    assert_eq!(last, Ok(Begun::Sessionless(vec![want(0, 3)])));
}

#[test]
fn a_full_table_gives_way_to_the_stale_or_the_larger() {
    let open = |sessions: &mut FetchSessions, now, privileged, size: i32| {
        let answered: Vec<_> = (0..size).map(|p| (want(p, 0), quiet(0))).collect();
        sessions.open(now, privileged, false, answered, || 77)
    };
    let (mut sessions, _) = with_session(1);
    assert_eq!(open(&mut sessions, 500, false, 9), NO_SESSION, "the other is young and in use");
    assert_eq!(open(&mut sessions, 1001, false, 1), 77, "the other is stale");
    let (mut sessions, id) = with_session(1);
    sessions.begin(900, begin(id, 1, vec![])).unwrap();
    assert_eq!(open(&mut sessions, 1100, false, 1), NO_SESSION, "the other is larger");
    assert_eq!(open(&mut sessions, 1100, false, 2), 77);
    let (mut sessions, _) = with_session(1);
    assert_eq!(open(&mut sessions, 500, true, 1), 77, "a follower outweighs a consumer");
    assert_eq!(sessions.evictions(), 1);
}

#[test]
fn epochs_wrap_to_one() {
    for (epoch, next) in [(0, 1), (1, 2), (i32::MAX, 1), (FINAL_EPOCH, FINAL_EPOCH)] {
        assert_eq!(next_epoch(epoch), next);
    }
}

#[test]
fn what_all_sessions_remember_is_bounded() {
    let mut sessions = FetchSessions::with_max_partitions(10, 1000, 3);
    let open = |sessions: &mut FetchSessions, id: i32, count: i32| {
        let answered: Vec<_> = (0..count).map(|n| (want(n, 0), quiet(10))).collect();
        sessions.open(0, false, false, answered, || id)
    };
    assert_eq!(open(&mut sessions, 1, 2), 1);
    assert_eq!(open(&mut sessions, 2, 2), NO_SESSION);
    assert_eq!(open(&mut sessions, 2, 1), 2);
    // One that grows beyond it is closed, and its room is free again.
    let grown = sessions.begin(1, begin(1, 1, vec![want(7, 0)]));
    assert_eq!(grown, Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(sessions.len(), 1);
    assert_eq!(open(&mut sessions, 3, 2), 3);
    // What is forgotten leaves room, too.
    let forgets = Begin { forgotten: vec![key(0)], ..begin(3, 1, vec![]) };
    assert_eq!(incremental(&mut sessions, forgets).1, [1]);
    assert_eq!(open(&mut sessions, 4, 1), 4);
}

#[test]
fn names_that_no_topic_can_have_are_not_remembered() {
    let named = |length: usize| {
        let topic = TopicKey::Name("t".repeat(length).into());
        FetchPartition { key: FetchKey { topic, partition: 0 }, ..want(0, 0) }
    };
    let (mut sessions, id) = with_session(3);
    let mut open =
        |length, id| sessions.open(0, false, false, vec![(named(length), quiet(10))], || id);
    assert_eq!((open(249, 2), open(250, 3)), (2, NO_SESSION));
    let longer = sessions.begin(1, begin(id, 1, vec![named(250)]));
    assert_eq!(longer, Err(ErrorCode::FetchSessionIdNotFound), "a full fetch goes on without");
    assert_eq!(sessions.len(), 1);
}
