//! What is asked of a broker and decided by the controller of another node: nobody waits for what does not come, and the little time
//! that one client has ends its own request alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::client::{ClientConfig, Connection};
use ottla::sim::{Cluster, Life, LinkOptions, SimOptions};
use wire::create_topics_request::CreatableTopic;
use wire::metadata_request::MetadataRequestTopic;
use wire::{CreateTopicsRequest, MetadataRequest};

use crate::cluster::{LIMIT, file};

/// Some round trips; less than anybody's time-out.
const PROMPT: Duration = Duration::from_millis(100);
const TOPICS: usize = 40;

/// The observer's broker, which asks the controller by the network.
async fn connect(life: &Life) -> Connection {
    let config = ClientConfig::default();
    loop {
        if let Ok(connection) = Connection::open(&life.world, "n4", 9092, &config).await {
            return connection;
        }
        life.world.sleep(Duration::from_millis(10)).await;
    }
}

fn creation(name: &str, timeout_ms: i32, validate_only: bool) -> CreateTopicsRequest {
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms, validate_only, ..Default::default() }
}

fn lookup(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
    MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: true,
        ..Default::default()
    }
}

/// Asks for what cannot be created, and for what is only looked at.
async fn ask_in_vain(life: &Life) {
    let connection = connect(life).await;
    let took = |begun| life.world.mono().saturating_sub(begun);
    for _ in 0..3 {
        let begun = life.world.mono();
        let answer =
            connection.request(&lookup("too-many-replicas"), LIMIT).await.expect("an answer");
        assert_eq!(answer.topics[0].error_code, 3);
        assert!(took(begun) < PROMPT, "{:?}", took(begun));
        let begun = life.world.mono();
        let answer = connection.request(&creation("tried", 10_000, true), LIMIT).await;
        assert_eq!(answer.expect("an answer").topics[0].error_code, 0);
        assert!(took(begun) < PROMPT, "{:?}", took(begun));
    }
}

/// One creates topics, another has no time.
async fn create_beside_the_hasty(life: &Life) {
    let (patient, hasty) = (connect(life).await, connect(life).await);
    let create = async {
        for index in 0..TOPICS {
            let request = creation(&format!("topic-{index}"), 10_000, false);
            let answer = patient.request(&request, LIMIT * 5).await.expect("an answer");
            let topic = &answer.topics[0];
            assert_eq!(topic.error_code, 0, "{}: {:?}", topic.name, topic.error_message);
        }
    };
    let hurry = async {
        for index in 0.. {
            let request = creation(&format!("hasty-{index}"), 1, false);
            hasty.request(&request, LIMIT * 5).await.expect("an answer");
        }
    };
    tokio::select! {
        biased;
        () = create => {}
        () = hurry => {}
    }
}

async fn clients(life: Life, done: Arc<AtomicBool>) {
    ask_in_vain(&life).await;
    create_beside_the_hasty(&life).await;
    done.store(true, Ordering::Relaxed);
}

#[test]
fn a_controller_elsewhere_keeps_nobody_waiting_and_no_request_ends_anothers() {
    let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
    let options = SimOptions { link, ..SimOptions::seed(7) };
    let file =
        file().replacen("[settings]\n", "[settings]\n\"default.replication.factor\" = 9\n", 1);
    let mut cluster = Cluster::new(options, &file).expect("a cluster's file");
    let done = Arc::new(AtomicBool::new(false));
    let kept = done.clone();
    cluster.world.add_node("client", move |life| clients(life, kept.clone()));
    cluster.run_until(Duration::from_secs(60), |_| done.load(Ordering::Relaxed));
    assert!(done.load(Ordering::Relaxed));
}
