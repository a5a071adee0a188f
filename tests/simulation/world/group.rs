//! Members of a consumer group: each reads on where the group has committed, and what was committed stays so.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::{ErrorCode, Uuid};
use ottla::client::{Connection, RequestError};
use wire::join_group_request::JoinGroupRequestProtocol;
use wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::sync_group_request::SyncGroupRequestAssignment;
use wire::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

use super::clients::Tools;
use super::reader::{read, records};
use super::{LIMIT, PARTITIONS, TOPIC};

const GROUP: &str = "readers";
const SESSION_MS: i32 = 2000;
const REBALANCE_MS: i32 = 3000;
/// Beyond all that a rebalance may take.
const JOINING: Duration = Duration::from_secs(6);

/// Why a member has to join anew.
enum Out {
    /// Nothing is known of what was asked last.
    Unheard(RequestError),
    Refused(ErrorCode),
    /// There is nobody to ask.
    Nobody(String),
}

impl From<RequestError> for Out {
    fn from(error: RequestError) -> Out {
        Out::Unheard(error)
    }
}

struct Member {
    tools: Tools,
    topic: Uuid,
    /// Empty until the coordinator has given one.
    id: String,
    generation: i32,
    /// Where it reads on, by partition.
    positions: BTreeMap<i32, i64>,
}

/// One member, until the story ends. What it asked and did not hear of may still be done, so that it joins anew then: who commits
/// in an older generation is refused, and nothing that is late undoes what came after it.
pub async fn run(tools: Tools, topic: Uuid) {
    let positions = BTreeMap::new();
    let mut member = Member { tools, topic, id: String::new(), generation: -1, positions };
    while !member.tools.story.is_done() {
        if let Err(out) = member.take_part().await {
            let why = match out {
                Out::Unheard(error) => error.to_string(),
                Out::Nobody(why) => why,
                Out::Refused(code) => {
                    if code == ErrorCode::UnknownMemberId {
                        member.id.clear();
                    }
                    code.to_string()
                }
            };
            member.tools.life.trace.note(format_args!("member {}: {why}", member.id));
        }
        member.tools.sleep_ms(100).await;
    }
}

impl Member {
    async fn take_part(&mut self) -> Result<(), Out> {
        let coordinator = self.coordinator().await?;
        let joined = self.join(&coordinator).await?;
        self.positions = self.sync(&coordinator, &joined).await?;
        self.resume(&coordinator).await?;
        let mut leaders: BTreeMap<i32, Connection> = BTreeMap::new();
        while !self.tools.story.is_done() {
            self.heartbeat(&coordinator).await?;
            if self.read_on(&mut leaders).await? {
                self.commit(&coordinator).await?;
            }
            self.tools.sleep_ms(150).await;
        }
        Ok(())
    }

    async fn coordinator(&self) -> Result<Connection, Out> {
        let coordinator_keys = vec![GROUP.to_owned()];
        let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
        let answer = self.tools.client.ask_any(&request).await?;
        let found = answer.coordinators.first().ok_or(Out::Nobody("no answer".to_owned()))?;
        check(found.error_code)?;
        Ok(self.tools.connect(&found.host).await?)
    }

    async fn join(&mut self, coordinator: &Connection) -> Result<JoinGroupResponse, Out> {
        loop {
            let protocol =
                JoinGroupRequestProtocol { name: "each".to_owned(), ..Default::default() };
            let request = JoinGroupRequest {
                group_id: GROUP.to_owned(),
                session_timeout_ms: SESSION_MS,
                rebalance_timeout_ms: REBALANCE_MS,
                member_id: self.id.clone(),
                protocol_type: "consumer".to_owned(),
                protocols: vec![protocol],
                ..Default::default()
            };
            let answer = coordinator.request(&request, JOINING).await?;
            if ErrorCode::from_code(answer.error_code) == ErrorCode::MemberIdRequired {
                self.id = answer.member_id;
                continue;
            }
            check(answer.error_code)?;
            self.id.clone_from(&answer.member_id);
            self.generation = answer.generation_id;
            return Ok(answer);
        }
    }

    /// The partitions that are given to this member; the leader gives each to one of all.
    async fn sync(
        &self,
        coordinator: &Connection,
        joined: &JoinGroupResponse,
    ) -> Result<BTreeMap<i32, i64>, Out> {
        let count = joined.members.len();
        let assignments = joined.members.iter().enumerate().map(|(number, member)| {
            let given = (0..PARTITIONS).filter(|partition| *partition as usize % count == number);
            SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: given.map(|partition| partition as u8).collect::<Vec<_>>().into(),
                ..Default::default()
            }
        });
        let request = SyncGroupRequest {
            group_id: GROUP.to_owned(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: joined.protocol_name.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let answer = coordinator.request(&request, JOINING).await?;
        check(answer.error_code)?;
        let given: Bytes = answer.assignment;
        for partition in &given {
            self.tools.story.assigned(self.generation, i32::from(*partition), &self.id);
        }
        Ok(given.iter().map(|partition| (i32::from(*partition), 0)).collect())
    }

    /// Goes where the group has committed.
    async fn resume(&mut self, coordinator: &Connection) -> Result<(), Out> {
        let found = committed(&self.tools, coordinator, self.topic).await?;
        for (partition, position) in &mut self.positions {
            *position = found.get(partition).copied().unwrap_or_default();
        }
        Ok(())
    }

    async fn heartbeat(&self, coordinator: &Connection) -> Result<(), Out> {
        let request = HeartbeatRequest {
            group_id: GROUP.to_owned(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..Default::default()
        };
        check(coordinator.request(&request, LIMIT).await?.error_code)
    }

    /// Whether there was anything.
    async fn read_on(&mut self, leaders: &mut BTreeMap<i32, Connection>) -> Result<bool, Out> {
        let mut any = false;
        for (partition, position) in &mut self.positions {
            let leader = match leaders.get(partition) {
                Some(leader) => leader,
                None => {
                    let Ok(topic) = self.tools.client.admin().describe_topic(TOPIC).await else {
                        continue;
                    };
                    let Some(leader) = topic.leader(*partition) else { continue };
                    let Ok(leader) = self.tools.connect(&format!("n{leader}")).await else {
                        continue;
                    };
                    leaders.entry(*partition).or_insert(leader)
                }
            };
            // What is read is not the group's alone: it reads again elsewhere.
            let Ok(Some(read)) = read(leader, (self.topic, *partition), *position).await else {
                leaders.remove(partition);
                continue;
            };
            match records(&read.bytes, *position) {
                Ok(found) => {
                    for (offset, value) in found {
                        self.tools.story.read((*partition, offset), &value);
                        *position = offset + 1;
                        any = true;
                    }
                }
                Err(what) => {
                    self.tools.story.wrong("a gap", format_args!("read of {partition}: {what}"));
                }
            }
        }
        Ok(any)
    }

    async fn commit(&self, coordinator: &Connection) -> Result<(), Out> {
        let partitions = self.positions.iter().map(|(partition, position)| {
            self.tools.story.commits(*partition, *position);
            OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *position,
                ..Default::default()
            }
        });
        let topic = OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            topic_id: self.topic,
            partitions: partitions.collect(),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let answer = coordinator.request(&request, LIMIT).await?;
        for found in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            check(found.error_code)?;
            let partition = found.partition_index;
            let position = self.positions.get(&partition).copied().unwrap_or_default();
            self.tools.story.has_committed(partition, position);
        }
        Ok(())
    }
}

fn check(code: i16) -> Result<(), Out> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(Out::Refused(code)),
    }
}

/// What the group has committed, which is never less than what it was told before it asked.
async fn committed(
    tools: &Tools,
    coordinator: &Connection,
    topic: Uuid,
) -> Result<BTreeMap<i32, i64>, Out> {
    let before: Vec<i64> = (0..PARTITIONS).map(|of| tools.story.committed_by_group(of)).collect();
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.to_owned(),
        topic_id: topic,
        partition_indexes: (0..PARTITIONS).collect(),
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer = coordinator.request(&request, LIMIT).await?;
    let mut all = BTreeMap::new();
    for group in &answer.groups {
        check(group.error_code)?;
        for found in group.topics.iter().flat_map(|topic| &topic.partitions) {
            check(found.error_code)?;
            let (partition, offset) = (found.partition_index, found.committed_offset.max(0));
            tools.story.group_is_at(partition, offset, before[partition as usize]);
            all.insert(partition, offset);
        }
    }
    Ok(all)
}
