use super::*;

fn in_ten_seconds(timer: &str, adds: u64) -> Command {
    Command::AddAt(timer.to_owned(), adds, START_MS + 10_000)
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_at_its_time_and_once_in_the_journal() {
    let rig = Rig::loaded(Vec::new()).await;
    rig.ask("a", in_ten_seconds("first", 5)).await;
    rig.ask("a", in_ten_seconds("gone", 50)).await;
    rig.ask("a", Command::Cancel("gone".to_owned())).await;
    rig.world.sleep(Duration::from_secs(9)).await;
    assert_eq!(rig.ask("a", Command::Get).await, 0);
    rig.world.sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.ask("a", Command::Get).await, 5);
    let again = Rig::loaded(rig.records()).await;
    again.world.sleep(Duration::from_secs(60)).await;
    assert_eq!(again.ask("a", Command::Get).await, 5);
    assert_eq!(again.records(), rig.records());
}

#[tokio::test(start_paused = true)]
async fn a_timer_survives_its_owner_also_in_a_snapshot() {
    for entries in [0, 2 * SNAPSHOT_EVERY] {
        let rig = Rig::loaded(Vec::new()).await;
        rig.ask("a", in_ten_seconds("later", 5)).await;
        rig.ask("a", Command::AddAt("late".to_owned(), 100, START_MS + 1_000_000_000)).await;
        for _ in 0..entries {
            rig.ask("a", Command::Add(0)).await;
        }
        let records = rig.records();
        drop(rig);
        // Its clock starts anew, as far from the time as the first one's.
        let again = Rig::loaded(records).await;
        assert_eq!(again.ask("a", Command::Get).await, 0);
        again.world.sleep(Duration::from_secs(11)).await;
        assert_eq!(again.ask("a", Command::Get).await, 5);
        again.world.sleep(Duration::from_secs(1_000_000)).await;
        assert_eq!(again.ask("a", Command::Get).await, 105);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_due_while_nobody_led_fires_when_somebody_does() {
    let rig = Rig::loaded(Vec::new()).await;
    let due = Command::AddAt("due".to_owned(), 5, START_MS - 10_000);
    rig.log.state().commits = false;
    let asked = rig.begin(1, "a", due);
    rig.settle().await;
    rig.log.commit_all();
    answer(asked).await.unwrap().unwrap();
    let set_alone = rig.records()[..1].to_vec();
    rig.log.state().commits = true;
    rig.settle().await;
    assert_eq!(rig.ask("a", Command::Get).await, 5);
    let again = Rig::loaded(set_alone).await;
    again.world.sleep(Duration::from_millis(200)).await;
    assert_eq!(again.ask("a", Command::Get).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_fails_is_tried_again_and_stops_nobody() {
    let rig = Rig::loaded(Vec::new()).await;
    rig.ask("a", Command::AddAt("panics".to_owned(), 1, START_MS)).await;
    rig.world.sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.ask("a", Command::Add(2)).await, 2);
    assert_eq!(rig.root.me().generation(), 1);
    assert_eq!(rig.records().len(), 2);
}

/// A log that refuses is not asked over and over.
#[tokio::test(start_paused = true)]
async fn an_overdue_timer_whose_decision_the_log_refuses_waits() {
    let rig = Rig::loaded(Vec::new()).await;
    rig.ask("a", in_ten_seconds("later", 5)).await;
    rig.log.state().refuses = Some(ErrorCode::NotEnoughReplicas);
    let before = rig.log.state().refused;
    rig.world.sleep(Duration::from_secs(20)).await;
    let refused = rig.log.state().refused - before;
    assert!((50..=110).contains(&refused), "{refused} appends in ten seconds");
    rig.log.state().refuses = None;
    rig.world.sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.ask("a", Command::Get).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_cannot_be_replayed_fires_again_seldom_and_stops_nobody() {
    let rig = Rig::loaded(Vec::new()).await;
    rig.ask("a", Command::Add(1)).await;
    rig.ask("a", in_ten_seconds("overflows", u64::MAX)).await;
    rig.ask("a", in_ten_seconds("fires", 5)).await;
    let loads = rig.log.state().reads;
    rig.world.sleep(Duration::from_secs(300)).await;
    let loads = rig.log.state().reads - loads;
    // A load reads three records in two reads.
    assert!((2..=14).contains(&loads), "{loads} reads in five minutes");
    assert_eq!(rig.ask("a", Command::Get).await, 6);
    assert_eq!(rig.root.me().generation(), 1);
    rig.ask("a", Command::Cancel("overflows".to_owned())).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_with_all_its_timers_can_end_and_replace_them() {
    let rig = Rig::loaded(Vec::new()).await;
    for n in 0..1023 {
        rig.ask("a", Command::AddAt(n.to_string(), 1, START_MS + 1_000_000)).await;
    }
    rig.ask("a", in_ten_seconds("fires", 5)).await;
    rig.try_ask("a", in_ten_seconds("one too many", 5)).await.unwrap_err();
    rig.ask("a", Command::AddAt("7".to_owned(), 1, START_MS + 2_000_000)).await;
    rig.world.sleep(Duration::from_secs(20)).await;
    assert_eq!(rig.ask("a", Command::Get).await, 5);
    rig.ask("a", in_ten_seconds("in its place", 5)).await;
    rig.ask("a", Command::Cancel("7".to_owned())).await;
}
