//! No block is free: what makes room works without.

use super::*;

/// All of it is old, the segment in use included.
#[test]
fn retention_takes_what_there_is_where_no_block_is_free() {
    let settings: Settings = &[
        ("metadata.log.dir", "/m"),
        ("log.dirs", "/data"),
        ("log.retention.check.interval.ms", "1000"),
    ];
    let Scene { mut world, tree, ended, broker, stage } =
        scene(SimOptions::seed(8), settings, |mut client| async move {
            client
                .create_with(&[("retention.ms", "30000"), ("file.delete.delay.ms", "1000")])
                .await;
            for _ in 0..3 {
                assert_eq!(client.produce().await, ErrorCode::None);
            }
            client.wait_for("to be filled").await;
            while client.try_read(0).await == Some(ErrorCode::None) {
                client.life.world.sleep(BACKOFF).await;
            }
            for _ in 0..60 {
                assert_eq!(client.try_read(0).await, Some(ErrorCode::OffsetOutOfRange));
                client.life.world.sleep(BACKOFF).await;
            }
            client.wait_for("deleted").await;
            while client.produce().await != ErrorCode::None {
                client.life.world.sleep(BACKOFF).await;
            }
            client.wait_for("over").await;
        });
    run_until(&mut world, &stage, "to be filled");
    world.inject(no_room_in_logs(broker));
    stage.set("filled");
    let before = world.disk(broker).used_bytes();
    run_until(&mut world, &stage, "deleted");
    let leads = || tree.states("partition").iter().all(|state| state.starts_with("leader"));
    assert!(leads(), "{:?}", tree.states("partition"));
    world.run_for(Duration::from_secs(5));
    let after = world.disk(broker).used_bytes();
    assert!(after + 500_000 < before, "{after} bytes, {before} before");
    world.disk(broker).forget_plan();
    stage.set("emptied");
    run_until(&mut world, &stage, "over");
    assert!(!ended.load(Ordering::Relaxed), "the node goes on");
}
