//! Why a group does not get on: whom its rebalance waits for, why it has no coordinator; how far it is behind is [`super::lag`]'s.

use model::coordinator_partition;
use model::topic::CONSUMER_OFFSETS;
use wire::describe_causes_response::{CausesGroup, CausesMember};
use wire::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition as Partition;
use wire::{DescribeCausesRequest, ListGroupsRequest};

use super::cluster::{Causes, Cluster, all, refusal};
use super::finding::cut_text;
use super::lag::Lags;
use super::partition::Facts;
use super::text::time;
use super::topic::Described;
use super::{ExplainError, Explanation, Finding, Silent, kafkas};

/// A group whose coordinator answers.
pub(super) struct Group<'a> {
    pub(super) told: &'a CausesGroup,
    pub(super) coordinator: &'a Causes,
    /// The coordinator is Kafka's: it does not tell since when, nor whom a rebalance waits for.
    is_kafkas: bool,
}

pub(super) async fn explain(cluster: &Cluster, id: &str) -> Result<Explanation, ExplainError> {
    let topic = match Described::ask(cluster, CONSUMER_OFFSETS).await {
        Ok(topic) => topic,
        // It is made for the first group.
        Err(ExplainError::Unknown { .. }) => return Err(ExplainError::unknown("group", id, [])),
        Err(error) => return Err(error),
    };
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX).max(1);
    let number = coordinator_partition(id, partitions);
    let found = topic.partitions.iter().find(|p| p.partition_index == number);
    let p = found.ok_or_else(|| ExplainError::unknown("group", id, []))?;
    let facts = Facts::of(cluster, &topic, &[p]).await?;
    let place = facts.name(p);
    let subject = format!("group {id}");
    let request = DescribeCausesRequest { group: Some(id.to_owned()), ..Default::default() };
    let told = cluster.causes_of([p.leader_id], &request).await.remove(&p.leader_id);
    let is_kafkas = matches!(told, Some(Err(Silent::Kafkas)));
    let told = match is_kafkas {
        true => Some(kafkas::group(cluster, p.leader_id, id).await),
        false => told,
    };
    let caveats = facts.entry.caveats();
    let coordinator = match told {
        Some(Ok(coordinator)) if p.leader_id >= 0 => coordinator,
        told => {
            let reason = told.and_then(Result::err);
            let finding = no_coordinator(&facts, p, reason);
            return Ok(Explanation::of(subject, caveats, vec![finding], ""));
        }
    };
    let Some(told) = coordinator.0.groups.first() else {
        let refusal = "it does not know of groups".to_owned();
        return Err(ExplainError::Refused { what: subject, refusal });
    };
    let group = Group { told, coordinator: &coordinator, is_kafkas };
    if told.error_code != 0 {
        let finding = mute_coordinator(&group, p.leader_id, number);
        return Ok(Explanation::of(subject, caveats, vec![finding], ""));
    }
    if told.state == "Dead" && told.commits.is_empty() {
        return Err(unknown(cluster, id).await);
    }
    let mut said = vec![group.state(p.leader_id, &place)];
    let lags = Lags::of(cluster, id, &group, p.leader_id).await;
    said.extend(lags.facts(&group));
    said.extend(caveats);
    let mut findings = group.findings();
    findings.extend(lags.findings(&group));
    // What it commits is written there.
    findings.extend(facts.below_min_isr(p));
    let well = format!("{}, {}", told.state.to_lowercase(), lags.sum());
    Ok(Explanation::of(subject, said, findings, &well))
}

async fn unknown(cluster: &Cluster, id: &str) -> ExplainError {
    let brokers = cluster.brokers.values().filter(|place| !place.fenced).take(10);
    let asked = brokers.map(|place| async {
        cluster.ask_at(&place.host, place.port, &ListGroupsRequest::default()).await
    });
    let answers = all(asked.collect::<Vec<_>>()).await;
    let groups = answers.into_iter().flatten().flat_map(|answer| answer.groups);
    let names: Vec<String> = groups.map(|group| group.group_id).collect();
    ExplainError::unknown("group", id, names.iter().map(String::as_str))
}

fn no_coordinator(facts: &Facts<'_>, p: &Partition, silent: Option<Silent>) -> Finding {
    let (place, id) = (facts.name(p), p.leader_id);
    let findings = facts.findings(p);
    let what = match id {
        -1 => format!("no coordinator: {place}, whose leader that is, has none"),
        id => format!("its coordinator, broker {id}, which leads {place}, does not answer"),
    };
    let mut why: Vec<String> = silent.iter().map(ToString::to_string).collect();
    let mut unblocks = Vec::new();
    for finding in &findings {
        why.push(finding.told());
        why.extend(finding.reasons());
        unblocks.extend(finding.unblocks.iter().cloned());
    }
    let first = findings.into_iter().next().unwrap_or_default();
    Finding { what, since: first.since, by: first.by, why, unblocks, ..Default::default() }
}

fn mute_coordinator(group: &Group<'_>, id: i32, number: i32) -> Finding {
    let told = group.told;
    let refusal = refusal(told.error_code).unwrap_or_default();
    let mut why: Vec<String> = told.reason.iter().cloned().collect();
    why.iter_mut().for_each(cut_text);
    why.extend(group.coordinator.actors(&format!("coordinators/group-{number}")));
    why.extend(group.coordinator.actors(&format!("partitions/{CONSUMER_OFFSETS}-{number}")));
    let unblocks = match why.is_empty() {
        true => "wait: it reads what the group has committed".to_owned(),
        false => format!(
            "look at these actors of broker {id}: ottla tree; ottla fault resume where one was set"
        ),
    };
    Finding {
        what: format!("its coordinator, broker {id}, does not tell of it: {refusal}"),
        why,
        unblocks: vec![unblocks],
        ..Default::default()
    }
}

impl<'a> Group<'a> {
    #[cfg(test)]
    pub(super) fn of(told: &'a CausesGroup, coordinator: &'a Causes) -> Group<'a> {
        Group { told, coordinator, is_kafkas: false }
    }
}

impl Group<'_> {
    fn state(&self, coordinator: i32, place: &str) -> String {
        let CausesGroup { state, generation, member_count, .. } = self.told;
        let by = format!("{member_count} members; coordinated by broker {coordinator}");
        match self.is_kafkas {
            true => format!(
                "{state}, {by}, which leads {place}, and is Kafka's: it tells neither since when, nor whom the group waits for, nor when anything was committed"
            ),
            false => format!("{state} in generation {generation}, {by}, which leads {place}"),
        }
    }

    /// What is wrong among its members.
    fn findings(&self) -> Vec<Finding> {
        let since = self.coordinator.since(self.told.state_ms);
        let finding = match self.told.state.as_str() {
            "PreparingRebalance" | "CompletingRebalance" if self.is_kafkas => Finding {
                what: "it rebalances, and its coordinator does not tell whom it waits for".to_owned(),
                why: self.told.members.iter().map(|member| format!("{} is in it", name(member))).collect(),
                unblocks: vec!["let all of its members poll, or end their processes".to_owned()],
                ..Default::default()
            },
            "PreparingRebalance" => self.joins(),
            "CompletingRebalance" => self.syncs(),
            "Empty" => Finding {
                what: "no members: nobody subscribes in it".to_owned(),
                unblocks: vec![
                    "start its consumers; those that take partitions themselves and only commit need no members. Where none ever comes again: kafka-consumer-groups --delete".to_owned(),
                ],
                ..Default::default()
            },
            "Stable" | "Dead" => return Vec::new(),
            // Those of other protocols, which Kafka serves.
            _ if self.is_kafkas => return Vec::new(),
            _ => Finding {
                what: format!(
                    "it is a {} group, and those are not served yet",
                    self.told.group_type
                ),
                ..Default::default()
            },
        };
        vec![Finding { since, ..finding }]
    }

    fn joins(&self) -> Finding {
        if self.told.newcomers {
            return Finding {
                what: "its first rebalance waits for more members to come".to_owned(),
                why: vec![
                    "each that comes extends the wait (group.initial.rebalance.delay.ms)"
                        .to_owned(),
                ],
                unblocks: vec!["wait".to_owned()],
                ..Default::default()
            };
        }
        let absent: Vec<&CausesMember> =
            self.told.members.iter().filter(|member| !member.joined).collect();
        let mut why: Vec<String> = absent
            .iter()
            .map(|member| format!("{} was called back, and has not joined", name(member)))
            .collect();
        if self.told.pending_joins > 0 {
            why.push(format!(
                "{} clients were given an id, and have not come back with it",
                self.told.pending_joins
            ));
        }
        Finding {
            what: format!(
                "it rebalances: {} of {} members have not joined again",
                absent.len(),
                self.told.member_count
            ),
            why,
            unblocks: vec![
                self.until("let them poll (a member joins when it polls), or end their processes"),
            ],
            ..Default::default()
        }
    }

    fn syncs(&self) -> Finding {
        let leader = self.told.members.iter().find(|member| member.is_leader && !member.synced);
        let absent = self.told.members.iter().filter(|member| !member.synced);
        let absent: Vec<String> =
            absent.map(|member| format!("{} has not synced", name(member))).collect();
        Finding {
            what: match leader {
                Some(leader) => format!(
                    "it rebalances: its leader, {}, has not sent the assignment",
                    name(leader)
                ),
                None => "it rebalances: the assignment is being written".to_owned(),
            },
            why: absent,
            unblocks: vec![self.until("let them poll, or end their processes")],
            ..Default::default()
        }
    }

    /// When the coordinator goes on without those who are not there.
    fn until(&self, unblocks: &str) -> String {
        let timeouts =
            self.told.members.iter().map(|member| i64::from(member.rebalance_timeout_ms));
        let ms = self.told.state_ms.saturating_add(timeouts.max().unwrap_or(0));
        format!(
            "{unblocks}; at {}, when the rebalance timeout is over, the group goes on without them",
            time(ms)
        )
    }
}

/// Whoever it is.
fn name(member: &CausesMember) -> String {
    let CausesMember { member_id, client_id, client_host, .. } = member;
    let instance = member.instance_id.as_ref().map(|id| format!(", instance {id}"));
    let instance = instance.unwrap_or_default();
    let (session, rebalance) = (member.session_timeout_ms, member.rebalance_timeout_ms);
    let timeouts = match (session, rebalance) {
        // Kafka's coordinators do not say.
        (0, 0) => String::new(),
        _ => format!("; session timeout {session} ms, rebalance timeout {rebalance} ms"),
    };
    format!("member {member_id} (client {client_id} at {client_host}{instance}{timeouts})")
}
