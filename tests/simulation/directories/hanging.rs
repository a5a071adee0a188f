//! A log directory whose device hangs: what is in the other one is served, and the controller goes on.

use super::*;

/// More than jobs run at a time.
const HELD: i32 = 24;
const HANGS: Duration = Duration::from_secs(40);

impl Client {
    /// One record to each partition, asked once: whether it was answered.
    async fn produce_to_all(&mut self, topic: &str, value: &str) -> bool {
        let one = |index| produce_one(topic, index, START_WALL_MS, None, value.as_bytes());
        let mut request = one(0);
        let others = (1..HELD).flat_map(|index| one(index).topic_data);
        let others: Vec<_> = others.flat_map(|topic| topic.partition_data).collect();
        request.topic_data[0].partition_data.extend(others);
        request.timeout_ms = 2000;
        while !self.wire.connect().await {}
        let answer = self.wire.ask(&request, 9).await;
        let data = answer.map(|answer| answer.responses).unwrap_or_default();
        data.iter().flat_map(|t| &t.partition_responses).filter(|p| p.error_code == 0).count()
            == HELD as usize
    }

    async fn one_directory_hangs(mut self) {
        self.cordon("/a", &["/a"]).await;
        let held = create_topic("held", HELD, &[]);
        self.wire.ask_until_answered(&held, 7).await;
        self.cordon("", &[]).await;
        while !self.produce_to_all("held", "before").await {
            self.life.world.sleep(BACKOFF).await;
        }
        let begun = self.life.world.mono();
        self.next_fault();
        self.life.world.sleep(BACKOFF).await;
        let answered = self.produce_to_all("held", "during").await;
        self.expect(!answered, || "it does not hang".to_owned());
        // The controller takes it, and its replicas are where there are fewest.
        self.create(false).await;
        for index in 0..PARTITIONS {
            let taken = self.produce(index, "during").await;
            self.expect(taken == ErrorCode::None, || format!("{index}: {taken:?}"));
            let values = self.values(index).await;
            self.expect(values.last().is_some_and(|v| v == "during"), || format!("{values:?}"));
        }
        let took = self.life.world.mono().saturating_sub(begun);
        self.expect(took < HANGS / 2, || format!("they waited for it: {took:?}"));
        while !self.produce_to_all("held", "after").await {
            self.life.world.sleep(BACKOFF).await;
        }
        let took = self.life.world.mono().saturating_sub(begun);
        self.expect(took >= HANGS, || format!("it was over after {took:?}"));
    }
}

#[test]
fn one_directory_hangs_and_the_other_serves_on() {
    let hangs = |node| {
        let path_contains = "/b".to_owned();
        vec![SimFault::HangDisk { node, path_contains, lasting: HANGS }]
    };
    check(|client| Box::pin(client.one_directory_hangs()), hangs);
}
