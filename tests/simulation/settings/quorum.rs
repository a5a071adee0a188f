//! What a node asks of a controller whose part the test plays: how much, how often, and how long it waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::{ErrorCode, Uuid};
use ottla::Node;
use ottla::runtime::{Bulkhead, ListenOptions, NetStream};
use ottla::sim::{Life, LinkOptions, SimOptions, Simulation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::api_versions_response::ApiVersion;
use wire::fetch_response::{FetchableTopicResponse, PartitionData, SnapshotId};
use wire::{
    ApiKey, ApiVersionsResponse, FetchRequest, FetchResponse, FetchSnapshotRequest, Message, Part,
    Reader, Response, VoteRequest, VoteResponse, vote_response,
};

const METADATA: &str = "__cluster_metadata";
const PLAYED: i32 = 2;
const LIMIT: Duration = Duration::from_secs(400);
/// How long things travel, and how late the node may look.
const SLACK: Duration = Duration::from_millis(500);

/// A request that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Vote { epoch: i32, pre_vote: bool },
    Fetch { max_bytes: i32 },
    Snapshot { max_bytes: i32 },
}

/// What the controller says to it.
enum Said {
    Nothing,
    Vote {
        epoch: i32,
        granted: bool,
    },
    /// To a vote: that it leads already.
    Leads,
    Fetch(FetchResponse),
}

type Answers = fn(Asked) -> Said;

/// All that came, and when.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(Duration, Asked)>>>);

impl Heard {
    fn all(&self) -> Vec<(Duration, Asked)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, at: Duration, asked: Asked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, asked));
    }
}

fn file(roles: &str, settings: &[(&str, &str)]) -> String {
    let settings: String =
        settings.iter().map(|(name, value)| format!("\"{name}\" = {value:?}\n")).collect();
    format!(
        "[settings]\n{settings}[[node]]\nid = 1\n{roles}\nlisten = \"n1:9092\"\ndata = \"/data\"\n\
         [[node]]\nid = 2\nroles = [\"controller\"]\ncontroller = \"n2:9093\"\ndata = \"/data\"\n"
    )
}

const OBSERVER: &str = "roles = [\"broker\"]";
const VOTER: &str = "controller = \"n1:9093\"";

/// Runs a node beside a controller that answers so, until it has heard so much.
fn heard(
    roles: &str,
    settings: &[(&str, &str)],
    answers: Answers,
    count: usize,
    counts: fn(Asked) -> bool,
) -> Vec<(Duration, Asked)> {
    let link = LinkOptions { loss_one_in: 0, ..LinkOptions::default() };
    let mut world = Simulation::new(SimOptions { link, ..SimOptions::seed(3) });
    let text = file(roles, settings);
    let configs = ottla::config::from_cluster("cluster.toml", &text, Some(1), &[], "machine");
    let config = configs.expect("a configuration").pop().expect("one node");
    world.add_node("n1", move |life| {
        let builder = Node::builder_in(life.world.clone()).node_config(config.clone());
        async move {
            let node = builder.launch().await.expect("it begins");
            drop(node.ended().await);
        }
    });
    let heard = Heard::default();
    let told = heard.clone();
    world.add_node("n2", move |life| play(life, answers, told.clone()));
    let counted =
        || heard.all().into_iter().filter(|(_, asked)| counts(*asked)).collect::<Vec<_>>();
    assert!(world.run_until(LIMIT, || counted().len() >= count), "{:?}", heard.all());
    counted()
}

async fn play(life: Life, answers: Answers, heard: Heard) {
    let listener =
        life.world.net().listen("n2", 9093, ListenOptions::default()).await.expect("free");
    while let Ok((stream, _)) = listener.accept().await {
        let (world, heard) = (life.world.clone(), heard.clone());
        let serve = async move {
            let mut line = Line { stream, correlation_id: 0, version: 0 };
            while let Some(asked) = line.asked().await {
                heard.add(world.mono(), asked);
                match answers(asked) {
                    Said::Nothing => {}
                    Said::Vote { epoch, granted } => line.answer(&vote(-1, epoch, granted)).await,
                    Said::Leads => line.answer(&vote(PLAYED, 1, false)).await,
                    Said::Fetch(response) => line.answer(&response).await,
                }
            }
        };
        drop(life.world.spawn(Bulkhead::Control, serve));
    }
}

struct Line {
    stream: NetStream,
    correlation_id: i32,
    version: i16,
}

impl Line {
    /// The next request of the quorum's protocol; others are left without an answer.
    async fn asked(&mut self) -> Option<Asked> {
        loop {
            let mut frame = vec![0; self.stream.read_u32().await.ok()? as usize];
            self.stream.read_exact(&mut frame).await.ok()?;
            let mut body = Reader::new(Bytes::from(frame));
            let (key, header) = wire::decode_request_header(&mut body).expect("a header");
            (self.version, self.correlation_id) =
                (header.request_api_version, header.correlation_id);
            match key {
                ApiKey::ApiVersions => self.answer(&versions()).await,
                ApiKey::Vote => {
                    let request = VoteRequest::decode(&mut body, self.version).expect("a request");
                    let partition = &request.topics[0].partitions[0];
                    let (epoch, pre_vote) = (partition.replica_epoch, partition.pre_vote);
                    return Some(Asked::Vote { epoch, pre_vote });
                }
                ApiKey::Fetch => {
                    let request = FetchRequest::decode(&mut body, self.version).expect("a request");
                    let max_bytes =
                        request.topics[0].partitions[0].partition_max_bytes.max(request.max_bytes);
                    return Some(Asked::Fetch { max_bytes });
                }
                ApiKey::FetchSnapshot => {
                    let request =
                        FetchSnapshotRequest::decode(&mut body, self.version).expect("a request");
                    return Some(Asked::Snapshot { max_bytes: request.max_bytes });
                }
                _ => {}
            }
        }
    }

    async fn answer<R: Response>(&mut self, response: &R) {
        for part in
            wire::encode_response(response, self.version, self.correlation_id).expect("an answer")
        {
            let Part::Bytes(bytes) = part else { panic!("an answer has no files") };
            // The node may have given it up.
            drop(self.stream.write_all(&bytes).await);
        }
    }
}

fn versions() -> ApiVersionsResponse {
    let keys = [ApiKey::ApiVersions, ApiKey::Vote, ApiKey::Fetch, ApiKey::FetchSnapshot];
    let spoken = |key: ApiKey| {
        let versions = key.stable_versions().expect("a stable API");
        ApiVersion {
            api_key: key.code(),
            min_version: versions.min,
            max_version: versions.max,
            ..Default::default()
        }
    };
    ApiVersionsResponse { api_keys: keys.map(spoken).to_vec(), ..Default::default() }
}

fn vote(leader_id: i32, leader_epoch: i32, vote_granted: bool) -> VoteResponse {
    let partition = vote_response::PartitionData {
        leader_id,
        leader_epoch,
        vote_granted,
        ..Default::default()
    };
    let (topic_name, partitions) = (METADATA.to_owned(), vec![partition]);
    let topic = vote_response::TopicData { topic_name, partitions, ..Default::default() };
    VoteResponse { topics: vec![topic], ..Default::default() }
}

fn fetched(mut partition: PartitionData) -> FetchResponse {
    partition.current_leader.leader_id = PLAYED;
    partition.current_leader.leader_epoch = 1;
    let topic = FetchableTopicResponse {
        topic: METADATA.to_owned(),
        topic_id: Uuid::METADATA_TOPIC_ID,
        partitions: vec![partition],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

/// From each to the next.
fn gaps(heard: &[(Duration, Asked)]) -> Vec<Duration> {
    heard.windows(2).map(|two| two[1].0 - two[0].0).collect()
}

fn is_real_vote(asked: Asked) -> bool {
    matches!(asked, Asked::Vote { pre_vote: false, .. })
}

/// The first vote that is asked for in each epoch.
fn elections(heard: &[(Duration, Asked)]) -> Vec<(Duration, Asked)> {
    let mut first = heard.to_vec();
    first.dedup_by_key(|(_, asked)| *asked);
    first
}

#[test]
fn a_candidate_waits_for_votes_as_long_as_it_is_told() {
    let settings = [
        ("controller.quorum.election.timeout.ms", "8000"),
        ("controller.quorum.election.backoff.max.ms", "100"),
        ("controller.quorum.request.timeout.ms", "300"),
    ];
    let answers = |asked| match asked {
        Asked::Vote { epoch, pre_vote: true } => Said::Vote { epoch, granted: true },
        _ => Said::Nothing,
    };
    let gaps = gaps(&elections(&heard(VOTER, &settings, answers, 120, is_real_vote)));
    // As long again at random, so that two of them do not stand at once for ever.
    let expected = Duration::from_secs(8)..Duration::from_secs(17);
    assert!(gaps.len() > 1 && gaps.iter().all(|gap| expected.contains(gap)), "{gaps:?}");
}

#[test]
fn a_candidate_that_loses_stands_again_after_a_pause_that_is_bounded() {
    let settings = [
        ("controller.quorum.election.timeout.ms", "60000"),
        ("controller.quorum.election.backoff.max.ms", "20000"),
    ];
    let answers = |asked| match asked {
        Asked::Vote { epoch, pre_vote } => Said::Vote { epoch, granted: pre_vote },
        _ => Said::Nothing,
    };
    let gaps = gaps(&elections(&heard(VOTER, &settings, answers, 12, is_real_vote)));
    let longest = gaps.iter().max().expect("some");
    assert!(*longest <= Duration::from_secs(20) + SLACK, "{gaps:?}");
    assert!(*longest > Duration::from_secs(3), "by default a second at most: {gaps:?}");
}

#[test]
fn a_follower_whose_leader_is_silent_stands_as_late_as_it_is_told() {
    let settings = [("controller.quorum.fetch.timeout.ms", "9000")];
    let answers = |asked| match asked {
        Asked::Vote { .. } => Said::Leads,
        _ => Said::Nothing,
    };
    let votes = |asked| matches!(asked, Asked::Vote { .. });
    let gaps = gaps(&heard(VOTER, &settings, answers, 4, votes));
    let expected = Duration::from_secs(9)..Duration::from_secs(9) + SLACK;
    assert!(gaps.iter().all(|gap| expected.contains(gap)), "{gaps:?}");
}

#[test]
fn a_request_of_the_quorum_waits_as_long_as_it_is_told() {
    let settings = [
        ("controller.quorum.election.timeout.ms", "600000"),
        ("controller.quorum.request.timeout.ms", "7000"),
    ];
    let all = |asked| matches!(asked, Asked::Vote { .. });
    let gaps = gaps(&heard(VOTER, &settings, |_| Said::Nothing, 4, all));
    let expected = Duration::from_secs(7)..Duration::from_secs(7) + SLACK;
    assert!(gaps.iter().all(|gap| expected.contains(gap)), "{gaps:?}");
}

#[test]
fn a_request_of_the_quorum_that_fails_is_made_again_after_a_pause() {
    let settings = [
        ("controller.quorum.retry.backoff.ms", "3000"),
        ("controller.quorum.fetch.timeout.ms", "600000"),
    ];
    let answers = |asked| match asked {
        Asked::Fetch { .. } => Said::Fetch(FetchResponse {
            error_code: ErrorCode::UnknownServerError.code(),
            ..Default::default()
        }),
        _ => Said::Nothing,
    };
    let all = |asked| matches!(asked, Asked::Fetch { .. });
    let gaps = gaps(&heard(OBSERVER, &settings, answers, 4, all));
    let expected = Duration::from_secs(3)..Duration::from_secs(3) + SLACK;
    assert!(gaps.iter().all(|gap| expected.contains(gap)), "{gaps:?}");
}

#[test]
fn so_much_of_the_metadata_log_and_of_its_snapshots_is_asked_for_at_a_time() {
    let settings = [
        ("controller.quorum.fetch.max.bytes", "54321"),
        ("controller.quorum.fetch.snapshot.max.bytes", "4321"),
    ];
    let answers = |asked| match asked {
        Asked::Fetch { .. } => Said::Fetch(fetched(PartitionData {
            snapshot_id: SnapshotId { end_offset: 10, epoch: 1, ..Default::default() },
            ..Default::default()
        })),
        _ => Said::Nothing,
    };
    let snapshot = |asked| matches!(asked, Asked::Snapshot { .. });
    let asked = heard(OBSERVER, &settings, answers, 1, snapshot);
    assert_eq!(asked[0].1, Asked::Snapshot { max_bytes: 4321 });
    let fetch = |asked| matches!(asked, Asked::Fetch { .. });
    let asked = heard(OBSERVER, &settings, answers, 1, fetch);
    assert_eq!(asked[0].1, Asked::Fetch { max_bytes: 54321 });
}
