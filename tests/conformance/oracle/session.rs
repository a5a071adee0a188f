//! A connection to one of the brokers, and what has been learned from it.

use crate::tree::Tree;
use crate::{Case, own};
use bytes::Bytes;
use model::Uuid;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use wire::batch::BatchBuilder;
use wire::compression::Compression;
use wire::{
    ApiKey, ApiVersionsRequest, EncodeError, ListOffsetsRequest, MetadataRequest, Part, Request,
};

pub struct Session {
    address: String,
    stream: TcpStream,
    correlation: i32,
    /// By name, as this broker drew them.
    pub topic_ids: BTreeMap<String, Uuid>,
    /// What the judged broker serves; what else either advertises is not compared.
    pub compared: Vec<ApiKey>,
}

/// Why there is no response.
#[derive(Debug)]
pub enum Silence {
    Closed,
    NotInVersion,
}

/// How long either broker may take, for an answer or to come to know of what was changed.
pub const PATIENCE: Duration = Duration::from_secs(15);

impl Session {
    pub fn open(address: &str) -> Session {
        Session {
            address: address.to_owned(),
            stream: connect(address),
            correlation: 0,
            topic_ids: BTreeMap::new(),
            compared: Vec::new(),
        }
    }

    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Silence> {
        self.correlation += 1;
        let parts = wire::encode_request(request, version, self.correlation, Some("oracle"));
        let parts = match parts {
            Ok(parts) => parts,
            Err(EncodeError::NotInVersion { .. }) => return Err(Silence::NotInVersion),
            Err(error) => panic!("{}: {error}", R::NAME),
        };
        let Some(frame) = self.exchange(&parts) else {
            self.stream = connect(&self.address);
            return Err(Silence::Closed);
        };
        let decoded = wire::decode_response::<R::Response>(frame, version);
        let (correlation, response) =
            decoded.unwrap_or_else(|e| panic!("{} v{version} of {}: {e}", R::NAME, self.address));
        assert_eq!(correlation, self.correlation, "{}", R::NAME);
        Ok(response)
    }

    fn exchange(&mut self, parts: &[Part]) -> Option<Bytes> {
        for part in parts {
            let Part::Bytes(bytes) = part else { panic!("a request of the test's own bytes") };
            self.stream.write_all(bytes).ok()?;
        }
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }

    /// The answer as it is compared.
    pub fn tree<R: Request>(&mut self, request: &R, version: i16) -> Tree {
        match self.ask(request, version) {
            Ok(response) => Tree::of(&response),
            Err(silence) => Tree::text(format!("{silence:?}")),
        }
    }

    /// The APIs that the broker advertises.
    pub fn served(&mut self) -> Vec<ApiKey> {
        let response = self.ask(&ApiVersionsRequest::default(), 0).expect("ApiVersions");
        let codes = response.api_keys.iter().map(|api| api.api_key);
        codes.filter_map(ApiKey::from_code).collect()
    }

    pub fn compares(&self, api_key: i16) -> bool {
        ApiKey::from_code(api_key).is_some_and(|key| self.compared.contains(&key))
    }

    /// Waits until the partitions have a leader that answers, and learns the topic's id.
    pub fn settle(&mut self, topic: &str, partitions: i32) {
        let begin = Instant::now();
        while (0..partitions).any(|partition| !self.leads(topic, partition)) {
            assert!(begin.elapsed() < PATIENCE, "{topic} has no leader on {}", self.address);
        }
        let topics = vec![wire::metadata_request::MetadataRequestTopic {
            name: Some(topic.to_owned()),
            ..Default::default()
        }];
        let request = MetadataRequest { topics: Some(topics), ..Default::default() };
        let response = self.ask(&request, 12).expect("Metadata");
        self.topic_ids.insert(topic.to_owned(), response.topics[0].topic_id);
    }

    pub fn broker_id(&mut self) -> String {
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        self.ask(&request, 1).expect("Metadata").brokers[0].node_id.to_string()
    }

    fn leads(&mut self, topic: &str, partition: i32) -> bool {
        use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let partition = ListOffsetsPartition {
            partition_index: partition,
            timestamp: -1,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: topic.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let response = self.ask(&request, 5).expect("ListOffsets");
        response.topics[0].partitions[0].error_code == 0
    }

    /// The id of one of this run's topics, or one that no topic has.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.topic_ids.get(topic).copied().unwrap_or(Uuid([7; 16]))
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// A case for each stable version of the API.
pub fn versions<R: Request + 'static>(
    what: &str,
    make: impl Fn(&mut Session, i16) -> R + Clone + 'static,
) -> Vec<Case> {
    let range = R::KEY.stable_versions().expect("a stable version");
    let case = |version| {
        let make = make.clone();
        let run = move |session: &mut Session| {
            let request = make(session, version);
            session.tree(&request, version)
        };
        let name = format!("{} v{version} {what}", R::KEY.name());
        Case { name, reads: false, run: Box::new(run) }
    };
    (range.min..=range.max).map(case).collect()
}

/// The same for requests that change nothing.
pub fn reading<R: Request + 'static>(
    what: &str,
    make: impl Fn(&mut Session, i16) -> R + Clone + 'static,
) -> Vec<Case> {
    versions(what, make).into_iter().map(|case| Case { reads: true, ..case }).collect()
}

/// Three records of fixed times, as any client writes them.
pub fn batch() -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for n in 0..3u8 {
        let (key, value) = ([b'k', n], [b'v', n]);
        let time = 1_700_000_000_000 + i64::from(n) * 1_000;
        builder.append(time, Some(&key), Some(&value), &[]);
    }
    builder
}

/// The topic that the cases read and write: three partitions, made by the first case.
pub fn topic() -> String {
    own("topic")
}
