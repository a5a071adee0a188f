//! Whom a cluster consists of, and how each of them is asked.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use client::{ClientConfig, Connection, RequestError};
use model::ErrorCode;
use runtime::World;
use wire::{DescribeCausesRequest, DescribeCausesResponse, DescribeClusterRequest, Request};

use super::finding::cut_text;
use super::heard::Heard;
use super::text::ago;
use super::{ExplainError, Since, Told};

/// Whoever takes longer is said not to answer.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// What a node may say at once: some hundred thousand partitions.
const MOST_BYTES: u32 = 64 << 20;
/// So many are tried before nobody answers, and so many are asked of one thing.
const MOST_TRIED: usize = 8;
const MOST_ASKED: usize = 30;
/// So many directories and followers of a partition are heard of, and so many actors.
const MOST_TOLD: usize = 100;
const MOST_ACTORS: usize = 200;

pub(super) struct Cluster {
    world: World,
    config: ClientConfig,
    /// To the broker that is asked for what all of them know.
    entry: Connection,
    pub(super) id: String,
    /// That are registered.
    pub(super) brokers: BTreeMap<i32, Place>,
    pub(super) now_ms: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) fenced: bool,
}

impl Place {
    pub(super) fn at(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Cluster {
    pub(super) async fn connect(
        world: &World,
        addresses: &[String],
    ) -> Result<Cluster, ExplainError> {
        let config = ClientConfig {
            client_id: "ottla-explain".to_owned(),
            connect_timeout: CONNECT,
            request_timeout: ANSWER,
            max_response_bytes: MOST_BYTES,
            ..ClientConfig::default()
        };
        let mut failed = Vec::new();
        for address in addresses.iter().take(MOST_TRIED) {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let opened = Connection::open(world, host, port.parse().unwrap_or(0), &config).await;
            match opened {
                Ok(entry) => return Cluster::known_by(world, config, entry).await,
                Err(error) => failed.push(error.to_string()),
            }
        }
        Err(ExplainError::Unreachable(failed.join("; ")))
    }

    async fn known_by(
        world: &World,
        config: ClientConfig,
        entry: Connection,
    ) -> Result<Cluster, ExplainError> {
        let request = DescribeClusterRequest {
            // Controllers, who say the same, are not clients' business.
            endpoint_type: 1,
            include_fenced_brokers: true,
            ..Default::default()
        };
        let address = entry.address().to_owned();
        let untold = |reason: String| ExplainError::Untold { address: address.clone(), reason };
        let answer = entry.request(&request, ANSWER).await;
        let answer = answer.map_err(|error| untold(error.to_string()))?;
        if let Some(refusal) = refusal(answer.error_code) {
            return Err(untold(answer.error_message.unwrap_or(refusal)));
        }
        let brokers = answer.brokers.into_iter().map(|broker| {
            let port = u16::try_from(broker.port).unwrap_or(0);
            let place = Place { host: broker.host, port, fenced: broker.is_fenced };
            (broker.broker_id, place)
        });
        Ok(Cluster {
            now_ms: world.now().wall_ms,
            world: world.clone(),
            config,
            entry,
            id: answer.cluster_id,
            brokers: brokers.collect(),
        })
    }

    /// Of the broker that is asked first.
    pub(super) async fn ask<R: Request>(&self, request: &R) -> Result<R::Response, ExplainError> {
        self.entry.request(request, ANSWER).await.map_err(|error| self.untold(error))
    }

    fn untold(&self, error: RequestError) -> ExplainError {
        let (address, reason) = (self.entry.address().to_owned(), error.to_string());
        ExplainError::Untold { address, reason }
    }

    /// What the active controller has to be asked for, which may not answer: on a connection of its own.
    pub(super) async fn ask_controller<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Response, Silent> {
        let (host, port) = self.entry_place();
        self.ask_at(host, port, request).await
    }

    fn entry_place(&self) -> (&str, u16) {
        let (host, port) = self.entry.address().rsplit_once(':').unwrap_or_default();
        (host, port.parse().unwrap_or(0))
    }

    pub(super) async fn open(&self, host: &str, port: u16) -> Result<Connection, Silent> {
        let opened = Connection::open(&self.world, host, port, &self.config).await;
        opened.map_err(|error| Silent::unreached(error.to_string()))
    }

    /// A node at its address, wherever that came from.
    pub(super) async fn ask_at<R: Request>(
        &self,
        host: &str,
        port: u16,
        request: &R,
    ) -> Result<R::Response, Silent> {
        ask_on(&self.open(host, port).await?, request).await
    }

    /// What a node at this address alone knows.
    pub(super) async fn causes_at(
        &self,
        host: &str,
        port: u16,
        request: &DescribeCausesRequest,
    ) -> Result<Causes, Silent> {
        // Kafka ends the connection at a question that it does not know, and Ottla only when it ends itself.
        for _ in 0..2 {
            match self.ask_at(host, port, request).await {
                Err(Silent::HungUp(_)) => {}
                told => return told.map(Causes::of),
            }
        }
        Err(Silent::Kafkas)
    }

    /// What only brokers themselves know: of the one that is asked first, or where that is Kafka's of any that is Ottla's.
    pub(super) async fn causes(
        &self,
        request: &DescribeCausesRequest,
    ) -> Result<Causes, ExplainError> {
        let (host, port) = self.entry_place();
        let silent = match self.causes_at(host, port, request).await {
            Ok(told) => return Ok(told),
            Err(silent) => silent,
        };
        if silent != Silent::Kafkas {
            let (address, reason) = (self.entry.address().to_owned(), silent.to_string());
            return Err(ExplainError::Untold { address, reason });
        }
        let live = self.brokers.iter().filter(|(_, place)| !place.fenced).map(|(id, _)| *id);
        let ottlas = self.causes_of(live, &DescribeCausesRequest::default()).await;
        for id in ottlas.iter().filter(|(_, told)| told.is_ok()).map(|(id, _)| *id) {
            if let Some(Ok(told)) = self.causes_of([id], request).await.remove(&id) {
                return Ok(told);
            }
        }
        Ok(Causes::nobodys(self.now_ms))
    }

    /// What only these know themselves, the first of them, all asked at once.
    pub(super) async fn causes_of(
        &self,
        ids: impl IntoIterator<Item = i32>,
        request: &DescribeCausesRequest,
    ) -> Told<Causes> {
        let ids: Vec<i32> = ids.into_iter().take(MOST_ASKED).collect();
        let asked = ids.iter().map(|id| async {
            let place = self.brokers.get(id);
            let place =
                place.ok_or_else(|| Silent::unreached("it is not registered".to_owned()))?;
            self.causes_at(&place.host, place.port, request).await
        });
        let mut told: Told<Causes> = ids.iter().copied().zip(all(asked).await).collect();
        if told.values().any(|told| matches!(told, Err(Silent::Unreached { .. }))) {
            let heard = Heard::ask(self).await;
            for (id, told) in &mut told {
                if let Err(Silent::Unreached { heard: of, .. }) = told {
                    *of = heard.get(id).copied();
                }
            }
        }
        told
    }
}

/// On a connection that is open.
pub(super) async fn ask_on<R: Request>(
    connection: &Connection,
    request: &R,
) -> Result<R::Response, Silent> {
    connection.request(request, ANSWER).await.map_err(|error| match error {
        RequestError::Closed { .. } => Silent::HungUp(error.to_string()),
        error => Silent::Mute(error.to_string()),
    })
}

/// [`ask_on`], in this version.
pub(super) async fn ask_in<R: Request>(
    connection: &Connection,
    request: &R,
    version: i16,
) -> Result<R::Response, Silent> {
    let answer = connection.request_in(request, version, ANSWER).await;
    answer.map_err(|error| Silent::Mute(error.to_string()))
}

/// Why a node did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Silent {
    /// From here; what the active controller knows of it nevertheless.
    #[error("{why}")]
    Unreached { why: String, heard: Option<Heard> },
    /// It is there, and does not answer this.
    #[error("{0}")]
    Mute(String),
    /// It ended the connection.
    #[error("{0}")]
    HungUp(String),
    #[error("it is a broker of Kafka's, and tells no more than Kafka's APIs do")]
    Kafkas,
}

impl Silent {
    fn unreached(why: String) -> Silent {
        Silent::Unreached { why, heard: None }
    }

    /// It cannot be reached from here, and the active controller has heard of it a moment ago.
    pub(super) fn lives(&self) -> bool {
        matches!(self, Silent::Unreached { heard: Some(heard), .. } if heard.is_recent())
    }
}

/// What a node told of itself.
pub(super) struct Causes(pub(super) DescribeCausesResponse);

impl Causes {
    /// No more of it than nodes of this version tell: what it says is repeated for each partition.
    fn of(mut told: DescribeCausesResponse) -> Causes {
        told.actors.truncate(MOST_ACTORS);
        told.log_dirs.truncate(MOST_TOLD);
        told.uncleanable.truncate(MOST_TOLD);
        for actor in &mut told.actors {
            [&mut actor.path, &mut actor.what].into_iter().for_each(cut_text);
        }
        for dir in &mut told.log_dirs {
            dir.failure.iter_mut().chain([&mut dir.path]).for_each(cut_text);
        }
        for replica in &mut told.replicas {
            replica.followers.truncate(MOST_TOLD);
            let texts = replica.reason.iter_mut().chain(&mut replica.trouble);
            texts.chain([&mut replica.log_dir]).for_each(cut_text);
        }
        for log in &mut told.uncleanable {
            [&mut log.topic, &mut log.log_dir, &mut log.reason].into_iter().for_each(cut_text);
        }
        cut_text(&mut told.unfound);
        Causes(told)
    }

    /// Where no node tells any.
    pub(super) fn nobodys(now_ms: i64) -> Causes {
        Causes(DescribeCausesResponse {
            node_id: -1,
            now_ms,
            leader_id: -1,
            history_from_ms: -1,
            ..Default::default()
        })
    }

    /// While it looks for one it may know who led last.
    pub(super) fn finds_leader(&self) -> bool {
        self.0.leader_id >= 0 && self.0.unfound.is_empty()
    }

    pub(super) fn is_nobodys(&self) -> bool {
        self.0.node_id < 0
    }

    /// Where it is so since then: what was so when the log began may have been so before.
    pub(super) fn since(&self, ms: i64) -> Option<Since> {
        (ms >= 0).then_some(Since { ms, or_before: ms <= self.0.history_from_ms })
    }

    /// What makes of this less than the whole truth.
    pub(super) fn caveats(&self) -> Vec<String> {
        let (told, mut caveats) = (&self.0, Vec::new());
        if self.is_nobodys() {
            let only = "no broker of Ottla's is found in this cluster: only what Kafka's APIs tell is known, and since when of nothing";
            return vec![only.to_owned()];
        }
        if !self.finds_leader() {
            caveats.push(format!(
                "broker {}, which tells this, finds no leader of the quorum: it may be old (ottla explain quorum)",
                told.node_id
            ));
        }
        if let Some(refusal) = refusal(told.error_code) {
            caveats.push(format!(
                "since when things are so is not known: broker {} could not read its metadata log in time ({refusal})",
                told.node_id
            ));
        }
        caveats
    }

    /// How long ago that was by the clock of who tells it.
    pub(super) fn ago(&self, ms: i64) -> String {
        ago(ms, self.0.now_ms)
    }

    /// What is unusual of those of its actors whose path has this.
    pub(super) fn actors(&self, part: &str) -> Vec<String> {
        let actors = self.0.actors.iter().filter(|actor| {
            let rest = actor.path.split_once('/').map_or("", |(_, rest)| rest);
            // One that is above holds up those below.
            rest == part || rest.starts_with(&format!("{part}/")) || is_above(rest, part)
        });
        actors.map(|actor| format!("{} {}", actor.path, actor.what)).collect()
    }
}

fn is_above(path: &str, part: &str) -> bool {
    path.is_empty() || part.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

pub(super) fn refusal(code: i16) -> Option<String> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => None,
        code => Some(format!("{}: {}", code.name(), code.message())),
    }
}

/// Waits for all at once; what each came to, in their order.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    enum Each<F: Future> {
        Runs(Pin<Box<F>>),
        Done(F::Output),
    }
    let mut each: Vec<_> = futures.into_iter().map(|f| Each::Runs(Box::pin(f))).collect();
    poll_fn(|cx| {
        let mut ready = true;
        for one in &mut each {
            if let Each::Runs(future) = one {
                match future.as_mut().poll(cx) {
                    Poll::Ready(done) => *one = Each::Done(done),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let done = each.into_iter().filter_map(|one| match one {
        Each::Done(done) => Some(done),
        Each::Runs(_) => None,
    });
    done.collect()
}
