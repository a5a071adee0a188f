//! What a replica says of why it is not fetched.

use super::*;

impl Leader {
    /// Until its replica says so of why it is not fetched, and the fetcher how many it has given up.
    async fn until_says(&self, handle: &PartitionHandle, why: Option<&str>, failed: i64) {
        let says = || {
            let trouble = handle.trouble();
            let said = trouble.as_ref().map(|trouble| trouble.why.as_str());
            let shown = self.rig.world.registry().shown("replica-fetcher");
            let count = shown.iter().find_map(|(_, numbers)| numbers.get("failed_partitions"));
            (said.map(str::to_owned), count.copied())
        };
        let is_so = |said: &Option<String>| match (said, why) {
            (None, None) => true,
            (Some(said), Some(why)) => said.contains(why),
            _ => false,
        };
        let until = async {
            loop {
                let (said, count) = says();
                if is_so(&said) && count == Some(failed) {
                    return;
                }
                self.rig.world.sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = self.rig.world.timeout(LIMIT, until).await;
        assert!(in_time.is_ok(), "{why:?}, {failed}: it is {:?}", says());
    }
}

#[tokio::test]
async fn a_replica_says_why_it_is_not_fetched_as_long_as_that_is_so() {
    let (mut leader, handle) = Leader::start().await;
    leader.fetch().await;
    leader.until_says(&handle, None, 0).await;
    leader.answer_with(error(ErrorCode::UnknownLeaderEpoch)).await;
    // It is asked again, and says why until there is an answer.
    leader.fetch().await;
    leader.until_says(&handle, Some("UNKNOWN_LEADER_EPOCH"), 0).await;
    leader.answer_with(records(&[], 0)).await;
    leader.fetch().await;
    leader.until_says(&handle, None, 0).await;
    leader.stream = None;
    leader.fetch().await;
    leader.until_says(&handle, Some("broker 2: "), 0).await;
    leader.answer_with(records(&[], 0)).await;
    leader.fetch().await;
    leader.until_says(&handle, None, 0).await;
    leader.answer_with(error(ErrorCode::FencedLeaderEpoch)).await;
    leader.until_says(&handle, Some("a newer leader epoch"), 1).await;
    leader.rig.publish([MetadataRecord::PartitionChange(PartitionChangeRecord {
        partition_id: 0,
        topic_id: topic_id(TOPIC),
        leader: NODE + 1,
        ..Default::default()
    })]);
    leader.fetch().await;
    leader.until_says(&handle, None, 0).await;
}
