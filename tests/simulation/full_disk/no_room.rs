//! Little or no room is left: what makes room works without.

use wire::DeleteTopicsRequest;

use super::*;

/// Segments that retention gave up, and the directory of a topic that is deleted.
#[test]
fn what_finds_no_room_to_be_removed_is_removed_later() {
    let settings: Settings = &[
        ("metadata.log.dir", "/m"),
        ("log.dirs", "/data"),
        ("log.retention.check.interval.ms", "1000"),
        ("log.segment.delete.delay.ms", "1000"),
    ];
    let Scene { mut world, ended, broker, stage, .. } =
        scene(SimOptions::seed(11), settings, |mut client| async move {
            client
                .create_with(&[("retention.ms", "30000"), ("file.delete.delay.ms", "1000")])
                .await;
            for goes in ["retained", "deleted"] {
                for _ in 0..3 {
                    assert_eq!(client.produce().await, ErrorCode::None);
                }
                client.wait_for("to be filled").await;
                if goes == "deleted" {
                    client.delete_topic().await;
                } else {
                    while client.try_read(0).await == Some(ErrorCode::None) {
                        client.life.world.sleep(BACKOFF).await;
                    }
                }
                client.wait_for("given up").await;
            }
            client.wait_for("over").await;
        });
    for path in [".deleted", "-delete"] {
        run_until(&mut world, &stage, "to be filled");
        let before = world.disk(broker).used_bytes();
        let (kind, path_contains) = (FaultKind::NoRoomToRemove, path.to_owned());
        let fault = Fault { kind, path_contains, skip: 0, times: 2 };
        world.inject(SimFault::Disk { node: broker, fault });
        stage.set("filled");
        run_until(&mut world, &stage, "given up");
        world.run_for(Duration::from_secs(10));
        let after = world.disk(broker).used_bytes();
        assert!(after + 500_000 < before, "{path}: {after} bytes, {before} before");
        stage.set("removed");
    }
    run_until(&mut world, &stage, "over");
    assert!(!ended.load(Ordering::Relaxed), "the node goes on");
}

/// Nine tenths and more of the disk is superseded, and the cleaner may not take it before producers are refused.
#[test]
fn a_disk_full_of_what_compaction_gives_up_is_emptied_by_it() {
    const LAG: Duration = Duration::from_secs(120);
    let settings: Settings = &[
        ("log.cleaner.backoff.ms", "60000"),
        ("ottla.disk.check.interval.ms", "100"),
        ("log.segment.delete.delay.ms", "3600000"),
    ];
    let disk_capacity_bytes = 3 * CAPACITY;
    let options = SimOptions { disk_capacity_bytes, ..SimOptions::seed(10) };
    let Scene { mut world, tree, stage, .. } = scene(options, settings, |mut client| async move {
        client
            .create_with(&[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "120000")])
            .await;
        client.wait_for("begun").await;
        let (taken, refused) = client.produce_while(ErrorCode::None).await;
        assert_eq!(refused, ErrorCode::KafkaStorageError);
        assert!(taken > 800, "{taken} taken");
        client.wait_for("full").await;
        let (_, taken) = client.produce_while(ErrorCode::KafkaStorageError).await;
        assert_eq!(taken, ErrorCode::None);
        client.wait_for("over").await;
    });
    run_until(&mut world, &stage, "begun");
    let begun = world.now();
    stage.set("filling");
    run_until(&mut world, &stage, "full");
    let says = |what: &str| tree.states("log-dir").iter().any(|state| state.contains(what));
    assert!(world.run_until(LIMIT, || says("FULL")), "{:?}", tree.states("log-dir"));
    assert!(world.now() - begun < LAG, "full before anything may be compacted");
    stage.set("going on");
    run_until(&mut world, &stage, "over");
    let took = world.now() - begun;
    assert!(took < LAG + Duration::from_secs(20), "{took:?}: it is looked for soon");
    assert!(world.run_until(LIMIT, || says("enough room")), "{:?}", tree.states("log-dir"));
}

/// As where blocks are looked for only when pages are written back. What could not be synced is durable in the end.
#[test]
fn a_metadata_log_that_finds_no_room_when_it_is_synced_waits_for_some() {
    let options = SimOptions::seed(9);
    let Scene { mut world, ended, broker, stage, .. } =
        scene(options, APART, |mut client| async move {
            client.create().await;
            assert_eq!(client.produce().await, ErrorCode::None);
            client.wait_for("to be filled").await;
            client.create_at_last("u").await;
            client.wait_for("created").await;
            assert_eq!(client.create_at_last("u").await, ErrorCode::TopicAlreadyExists);
            client.wait_for("over").await;
        });
    run_until(&mut world, &stage, "to be filled");
    let path_contains = "__cluster_metadata".to_owned();
    let fault = Fault { kind: FaultKind::SyncNoRoom, path_contains, skip: 0, times: 10 };
    world.inject(SimFault::Disk { node: broker, fault });
    stage.set("filled");
    run_until(&mut world, &stage, "created");
    assert!(!ended.load(Ordering::Relaxed), "the node goes on");
    world.inject(SimFault::PowerLoss { node: broker, down: Duration::from_millis(100) });
    stage.set("emptied");
    run_until(&mut world, &stage, "over");
}

impl Client {
    async fn delete_topic(&mut self) {
        let topic_names = vec![TOPIC.into()];
        let request = DeleteTopicsRequest { topic_names, timeout_ms: 3000, ..Default::default() };
        let response = self.wire.ask_until_answered(&request, 5).await;
        assert_eq!(response.responses[0].error_code, 0);
    }

    /// Once it is there: made, or made before.
    async fn create_at_last(&mut self, name: &str) -> ErrorCode {
        loop {
            let response = self.wire.ask_until_answered(&create_topic(name, 1, &[]), 7).await;
            match ErrorCode::from_code(response.topics[0].error_code) {
                code @ (ErrorCode::None | ErrorCode::TopicAlreadyExists) => return code,
                _ => self.life.world.sleep(BACKOFF).await,
            }
        }
    }
}
