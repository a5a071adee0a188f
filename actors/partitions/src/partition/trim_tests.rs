use std::sync::Arc;

use disk::Open;
use model::settings::TopicConfig;
use runtime::{Handles, World};
use wire::batch::{BatchBuilder, NO_TIMESTAMP};
use wire::compression::Compression;

use super::PartitionMsg;
use super::tests::Replica;

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn what_has_no_timestamps_is_retained_by_the_time_of_its_file() {
    let replica = Replica::start().await;
    let config = TopicConfig { retention_ms: HOUR_MS, segment_bytes: 1000, ..Default::default() };
    replica.tell(PartitionMsg::Configure { config: Arc::new(config) });
    replica.lead(0);
    for _ in 0..12 {
        let mut builder = BatchBuilder::new(Compression::NONE);
        builder.append(NO_TIMESTAMP, None, Some(&[7; 200]), &[]);
        replica.append_batch(builder.build().unwrap()).get().await.unwrap().unwrap();
    }
    let disk = replica.handle.log_dir().disk().clone();
    let dir = replica.handle.log_dir().path.join("orders-0");
    let mut logs = disk.list(&dir).unwrap();
    logs.retain(|file| file.name.ends_with(".log"));
    logs.sort_by(|one, other| one.name.cmp(&other.name));
    let now_ms = World::real(Handles::current(), disk.clone()).now().wall_ms;
    for (at, log) in logs.iter().enumerate() {
        let ago_ms = if at < 2 { 2 * HOUR_MS } else { 0 };
        let file = disk.open(&dir.join(&log.name), Open::ReadWrite).unwrap();
        file.set_modified_ms(now_ms - ago_ms).unwrap();
    }
    replica.tell(PartitionMsg::Retain);
    // It is answered after that.
    replica.append().get().await.unwrap().unwrap();
    let third = logs[2].name.trim_end_matches(".log").parse();
    assert_eq!(Ok(replica.handle.log_start_offset()), third);
}
