//! What clients see of a partition whose actor fails, and what is left of their records.

use model::ErrorCode;
use partitions::PartitionMsg;
use wire::batch::{BatchBuilder, RecordBatch};
use wire::compression::Compression;

use crate::fetch::{asked, fetch_request, only, values};
use crate::produce::produce;
use crate::rig::{Client, LIMIT, Rig, batch, batch_of};

fn numbered(producer: i64, n: i32) -> RecordBatch {
    let builder = BatchBuilder::new(Compression::NONE).producer(producer, 0, n);
    batch_of(builder, &[&format!("{producer}:{n}")], 1)
}

/// Sends it again until it is taken, as an idempotent producer does. Other errors than retriable ones are failures.
async fn insist(client: &mut Client, batch: &RecordBatch) -> u32 {
    let mut retries = 0;
    loop {
        let answer = produce(client, "t", 9, batch).await;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => return retries,
            error => assert!(error.retriable(), "{error:?}"),
        }
        retries += 1;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_survive_their_leaders_failures_once_each_and_in_order() {
    const PRODUCERS: i64 = 3;
    const EACH: i32 = 60;
    let mut rig = Rig::start().await;
    rig.topic("t", 2, &[]).await;
    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        let mut client = rig.client().await;
        let handle = rig.handle("t", 0);
        producers.push(async move {
            let mut retries = 0;
            for n in 0..EACH {
                if producer == 0 && n % 20 == 10 {
                    let message = "injected".to_owned();
                    handle.address().send(PartitionMsg::Panic { message }).await.unwrap();
                }
                retries += insist(&mut client, &numbered(producer, n)).await;
            }
            retries
        });
    }
    let reader = rig.client().await;
    let [a, b, c] = <[_; PRODUCERS as usize]>::try_from(producers).ok().unwrap();
    let all = async { tokio::join!(a, b, c, read(reader, (PRODUCERS * i64::from(EACH)) as usize)) };
    let (a, b, c, read) = rig.world.timeout(LIMIT, all).await.expect("it goes on after failures");
    assert!(a + b + c > 0, "somebody met the failure");
    for producer in 0..PRODUCERS {
        let own: Vec<String> =
            read.iter().filter(|v| v.starts_with(&format!("{producer}:"))).cloned().collect();
        let sent: Vec<String> = (0..EACH).map(|n| format!("{producer}:{n}")).collect();
        assert_eq!(own, sent);
    }
}

/// Reads by long polls until it has so many; a leader that is down is asked again.
async fn read(mut client: Client, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    while read.len() < count {
        let mut request = fetch_request("t", 12, vec![asked(0, read.len() as i64)]);
        request.max_wait_ms = 1000;
        let partition = only(client.call(&request, 12).await);
        let error = ErrorCode::from_code(partition.error_code);
        assert!(error == ErrorCode::None || error.retriable(), "{error:?}");
        for (offset, value) in values(&partition.records) {
            assert_eq!(offset, read.len() as i64);
            read.push(value);
        }
        tokio::task::yield_now().await;
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn other_partitions_do_not_notice() {
    let mut rig = Rig::start().await;
    rig.topic("t", 1, &[]).await;
    rig.topic("other", 1, &[]).await;
    let mut client = rig.client().await;
    let failing = rig.handle("t", 0);
    for offset in 0..20 {
        if offset == 5 {
            let message = "injected".to_owned();
            failing.address().send(PartitionMsg::Panic { message }).await.unwrap();
        }
        let answer = produce(&mut client, "other", 9, &batch(&["a"], 1)).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    insist(&mut client, &batch(&["a"], 1)).await;
}
