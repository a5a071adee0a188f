//! Groups, and how far behind they are: in records, and in the age of the first record that they have not read.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use bytes::Bytes;
use model::topic::CONSUMER_OFFSETS;
use serde_json::{Value, json};
use wire::describe_groups_response::DescribedGroup;
use wire::offset_fetch_request::OffsetFetchRequestGroup;
use wire::{
    ConsumerProtocolAssignment, DescribeGroupsRequest, FindCoordinatorRequest, ListGroupsRequest,
    Message, OffsetFetchRequest, OffsetFetchResponse, Reader,
};

use super::cluster::Partition;
use super::query::Asked;
use super::reading::{Wanted, read};
use super::topics::{MOST_COUNTED, error};
use super::{All, Answer, ApiError, Json, Seen, in_time};

/// The kind of key that a group's id is.
const GROUP: i8 = 0;
/// For the ages of records on one page: those that are not found by then are left open.
const AGES: Duration = Duration::from_millis(1500);
/// Partitions of one page whose first unread records are looked at, those with the most records unread before others.
const AGED: usize = 60;
const MEMBERS: usize = 200;

struct Listed {
    id: String,
    state: String,
    kind: String,
    protocol: String,
    coordinator: i32,
}

/// Of all coordinators; which of them did not answer is told.
async fn listed(seen: &Seen, wanted: &str) -> (Vec<Listed>, Vec<String>) {
    let (mut groups, mut untold) = (Vec::new(), Vec::new());
    let alive = seen.cluster.alive().into_iter();
    let requests = alive.map(|coordinator| (coordinator, ListGroupsRequest::default())).collect();
    for (coordinator, answer) in seen.cluster.ask_each(requests).await {
        match answer {
            Ok(answer) if answer.error_code == 0 => {
                let meant = answer.groups.into_iter();
                let meant = meant.filter(|group| group.group_id.to_lowercase().contains(wanted));
                groups.extend(meant.map(|group| Listed {
                    id: group.group_id,
                    state: group.group_state,
                    kind: group.group_type,
                    protocol: group.protocol_type,
                    coordinator,
                }));
            }
            Ok(answer) => {
                untold.push(format!("broker {coordinator}: {}", error(answer.error_code)))
            }
            Err(error) => untold.push(format!("broker {coordinator}: {}", error.1)),
        }
    }
    groups.sort_by(|a, b| a.id.cmp(&b.id));
    (groups, untold)
}

pub(super) async fn list(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page, wanted) = (all.meant(&asked)?, asked.page()?, asked.search()?);
    in_time(seen, async {
        let (groups, mut untold) = listed(seen, &wanted).await;
        let total = groups.len();
        let shown: Vec<Listed> = page.of(groups).collect();
        let mut by_coordinator: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for group in &shown {
            by_coordinator.entry(group.coordinator).or_default().push(group.id.clone());
        }
        let (committed, unanswered) = offsets_of(seen, by_coordinator).await;
        untold.extend(unanswered);
        let lags = Lags::of(seen, &committed).await;
        let groups = shown.iter().map(|group| {
            let lag = committed.get(&group.id).map(|of| lags.sum(&group.id, of));
            json!({
                "group": group.id, "state": group.state, "type": group.kind, "protocol": group.protocol,
                "coordinator": group.coordinator, "partitions": committed.get(&group.id).map(BTreeMap::len),
                "lag": lag.and_then(|lag| lag.0), "seconds": lag.and_then(|lag| lag.1),
            })
        });
        let groups: Vec<Value> = groups.collect();
        Ok(Json(json!({ "total": total, "offset": page.offset, "groups": groups, "untold": untold })))
    })
    .await
}

/// What a group has committed.
type Committed = BTreeMap<Partition, i64>;

/// Of these groups, by their coordinators; which of those did not answer is told.
async fn offsets_of(
    seen: &Seen,
    groups: BTreeMap<i32, Vec<String>>,
) -> (BTreeMap<String, Committed>, Vec<String>) {
    let requests = groups.into_iter().map(|(coordinator, ids)| {
        let groups = ids.into_iter().map(|group_id| OffsetFetchRequestGroup {
            group_id,
            topics: None,
            ..OffsetFetchRequestGroup::default()
        });
        let groups = groups.collect();
        (coordinator, OffsetFetchRequest { groups, ..OffsetFetchRequest::default() })
    });
    let (mut of, mut untold) = (BTreeMap::new(), Vec::new());
    for (coordinator, answer) in seen.cluster.ask_each(requests.collect()).await {
        match answer {
            Ok(answer) => of.extend(committed(seen, answer)),
            Err(error) => untold.push(format!("broker {coordinator}: {}", error.1)),
        }
    }
    (of, untold)
}

fn committed(seen: &Seen, answer: OffsetFetchResponse) -> BTreeMap<String, Committed> {
    let image = seen.image();
    let mut groups = BTreeMap::new();
    for group in answer.groups.into_iter().filter(|group| group.error_code == 0) {
        let of: &mut Committed = groups.entry(group.group_id).or_default();
        for topic in group.topics {
            // The newest version names topics by id only; of one that is gone there is nothing to be read.
            let known = match topic.name.is_empty() {
                true => image.topics.by_id(topic.topic_id),
                false => image.topics.by_name(&topic.name),
            };
            let Some(known) = known else { continue };
            let told = topic.partitions.iter().filter(|p| {
                let is_there = known.partition(p.partition_index).is_some();
                p.error_code == 0 && p.committed_offset >= 0 && is_there
            });
            of.extend(told.map(|p| ((known.name.clone(), p.partition_index), p.committed_offset)));
        }
    }
    groups
}

/// How far behind groups are in each partition. Of too many nothing is known.
#[derive(Default)]
struct Lags {
    ends: BTreeMap<Partition, i64>,
    starts: BTreeMap<Partition, i64>,
    /// By group: the age of the first unread record, in seconds.
    ages: BTreeMap<(String, Partition), f64>,
}

impl Lags {
    async fn of(seen: &Seen, groups: &BTreeMap<String, Committed>) -> Lags {
        let mut partitions: Vec<Partition> =
            groups.values().flat_map(BTreeMap::keys).cloned().collect();
        partitions.sort();
        partitions.dedup();
        if partitions.len() > MOST_COUNTED {
            return Lags::default();
        }
        let (starts, ends) = seen.cluster.ends(&partitions).await;
        let mut lags = Lags { ends, starts, ages: BTreeMap::new() };
        let mut behind: Vec<(i64, &String, &Partition, i64)> = groups
            .iter()
            .flat_map(|(group, of)| of.iter().map(move |(at, offset)| (group, at, *offset)))
            .filter_map(|(group, at, offset)| {
                Some((lags.lag(at, offset)?, group, at, lags.first_unread(at, offset)?))
            })
            .filter(|(lag, ..)| *lag > 0)
            .collect();
        behind.sort_by_key(|(lag, ..)| Reverse(*lag));
        let deadline = seen.world.mono() + AGES;
        let mut ages = BTreeMap::new();
        for (_, group, at, first_unread) in behind.into_iter().take(AGED) {
            let left = deadline.saturating_sub(seen.world.mono());
            let age = age(seen, at, first_unread);
            if let Ok(Some(age)) = seen.world.timeout(left, age).await {
                ages.insert((group.clone(), at.clone()), age);
            }
        }
        lags.ages = ages;
        lags
    }

    /// Who committed what is deleted since goes on behind it. None where the leader did not tell.
    fn first_unread(&self, at: &Partition, offset: i64) -> Option<i64> {
        self.starts.get(at).map(|start| offset.max(*start))
    }

    fn lag(&self, at: &Partition, offset: i64) -> Option<i64> {
        Some((self.ends.get(at)? - self.first_unread(at, offset)?).max(0))
    }

    fn seconds(&self, group: &str, at: &Partition, offset: i64) -> Option<f64> {
        match self.lag(at, offset)? {
            0 => Some(0.0),
            _ => self.ages.get(&(group.to_owned(), at.clone())).copied(),
        }
    }

    /// Of all partitions, none where that of one is not known; the age is that of the oldest that is known, where any is.
    fn sum(&self, group: &str, of: &Committed) -> (Option<i64>, Option<f64>) {
        let lag = of.iter().map(|(at, offset)| self.lag(at, *offset)).sum();
        let ages = of.iter().filter_map(|(at, offset)| self.seconds(group, at, *offset));
        (lag, ages.max_by(f64::total_cmp))
    }
}

/// How old the record at an offset is, or the next one behind it.
async fn age(seen: &Seen, (topic, partition): &Partition, offset: i64) -> Option<f64> {
    let wanted = Wanted {
        topic,
        partition: *partition,
        from: offset,
        until: i64::MAX,
        limit: 1,
        search: b"",
        bytes: 1,
    };
    let read = read(seen, &wanted, |record| record.timestamp).await.ok()?;
    age_of(*read.records.first()?, seen.world.now().wall_ms)
}

/// In seconds; none of a record that has no time.
fn age_of(timestamp: i64, now: i64) -> Option<f64> {
    (timestamp >= 0).then(|| (now - timestamp).max(0) as f64 / 1000.0)
}

async fn coordinator(seen: &Seen, group: &str) -> Result<i32, ApiError> {
    // Who asks for a coordinator makes the topic of them all, and nobody is to make anything by looking.
    if seen.image().topics.by_name(CONSUMER_OFFSETS).is_none() {
        return Err(ApiError::missing(
            "there is no such group: no group has committed anything yet",
        ));
    }
    let request = FindCoordinatorRequest {
        key_type: GROUP,
        coordinator_keys: vec![group.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    let answer = seen.cluster.ask_any(&request).await?;
    let found = answer.coordinators.first();
    let found = found.ok_or_else(|| ApiError::elsewhere("nobody coordinates the group"))?;
    match found.error_code {
        0 => Ok(found.node_id),
        code => Err(ApiError::elsewhere(error(code))),
    }
}

pub(super) async fn one(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let (seen, page, id) = (all.meant(&asked)?, asked.page()?, asked.needed("group")?);
    in_time(seen, async {
        let coordinator = coordinator(seen, id).await?;
        let request = DescribeGroupsRequest { groups: vec![id.to_owned()], ..Default::default() };
        let described = seen.cluster.ask(coordinator, &request).await?.groups.into_iter().next();
        let described = described.ok_or_else(|| ApiError::missing("there is no such group"))?;
        if described.error_code != 0 {
            return Err(ApiError::missing(error(described.error_code)));
        }
        let of_one = BTreeMap::from([(coordinator, vec![id.to_owned()])]);
        let (committed, untold) = offsets_of(seen, of_one).await;
        if let Some(untold) = untold.into_iter().next() {
            return Err(ApiError::elsewhere(untold));
        }
        let of = committed.get(id).cloned().unwrap_or_default();
        let mut all: Vec<(Partition, i64)> = of.clone().into_iter().collect();
        // Of more than can be counted, those of the page, in the order of their names.
        let (total, is_counted) = (all.len(), all.len() <= MOST_COUNTED);
        if !is_counted {
            all = page.of(all).collect();
        }
        let asked = BTreeMap::from([(id.to_owned(), all.iter().cloned().collect())]);
        let lags = Lags::of(seen, &asked).await;
        let (lag, seconds) = lags.sum(id, &of);
        if is_counted {
            all.sort_by_key(|(at, offset)| Reverse(lags.lag(at, *offset)));
            all = page.of(all).collect();
        }
        let partitions = all.into_iter().map(|(at, offset)| {
            json!({
                "topic": at.0, "partition": at.1, "committed": offset, "end": lags.ends.get(&at),
                "lag": lags.lag(&at, offset), "seconds": lags.seconds(id, &at, offset),
            })
        });
        let partitions: Vec<Value> = partitions.collect();
        Ok(Json(json!({
            "group": id, "state": described.group_state, "protocol": described.protocol_type,
            "assignor": described.protocol_data, "coordinator": coordinator, "lag": lag, "seconds": seconds,
            "members": members(&described), "member_count": described.members.len(),
            "total": total, "offset": page.offset, "partitions": partitions,
        })))
    })
    .await
}

fn members(group: &DescribedGroup) -> Vec<Value> {
    let members = group.members.iter().take(MEMBERS).map(|member| {
        let assigned = match &*group.protocol_type {
            "consumer" => assigned(&member.member_assignment),
            _ => None,
        };
        json!({
            "member": member.member_id, "client": member.client_id, "host": member.client_host,
            "instance": member.group_instance_id, "assigned": assigned,
        })
    });
    members.collect()
}

/// How many partitions of which topics; none where it is not what Kafka's consumers write.
fn assigned(bytes: &Bytes) -> Option<Vec<Value>> {
    // Every version begins with the first one.
    bytes.first_chunk::<2>()?;
    let mut reader = Reader::new(bytes.slice(2..));
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, 0).ok()?;
    let topics = assignment.assigned_partitions.iter();
    Some(topics.map(|of| json!({ "topic": of.topic, "partitions": of.partitions })).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_of_which_a_part_is_not_known_is_not_known() {
        let at = |partition| ("orders".to_owned(), partition);
        let lags = Lags {
            ends: [(at(0), 10), (at(1), 10), (at(2), 10)].into(),
            starts: [(at(0), 0), (at(1), 7)].into(),
            ages: [(("billing".to_owned(), at(0)), 4.0)].into(),
        };
        let sum = |of: &[(i32, i64)]| {
            lags.sum("billing", &of.iter().map(|(id, offset)| (at(*id), *offset)).collect())
        };
        assert_eq!(sum(&[]), (Some(0), None));
        assert_eq!(sum(&[(0, 4), (1, 2)]), (Some(9), Some(4.0)), "what is deleted is not unread");
        assert_eq!(sum(&[(0, 4), (2, 4)]), (None, Some(4.0)), "where it begins is not known");
        assert_eq!(sum(&[(0, 4), (3, 4)]), (None, Some(4.0)), "its leader does not answer");
    }

    #[test]
    fn a_record_without_a_time_has_no_age() {
        assert_eq!(age_of(-1, 1_700_000_000_000), None);
        assert_eq!((age_of(1000, 3500), age_of(9000, 3500)), (Some(2.5), Some(0.0)));
    }
}
