//! What one scrape looks up of a node, once.

use std::sync::Arc;

use machines::metadata::{MetadataImage, PartitionRegistration};
use network::OfRequest;
use partitions::{Counted, PartitionHandle, Standing};
use quorum::RaftStatus;
use runtime::{Numbers, Sums};

use super::{Detail, MOST_TOPICS, Watched};

pub(super) struct View<'a> {
    pub(super) watched: &'a Watched,
    pub(super) sums: &'a Sums,
    pub(super) image: Arc<MetadataImage>,
    pub(super) raft: Arc<RaftStatus>,
    /// Of a broker.
    pub(super) replicas: Option<Replicas>,
    /// Of a controller.
    pub(super) cluster: Option<Cluster>,
    /// Of all topics, and of each that is told of.
    pub(super) traffic: (Counted, Vec<(String, Counted)>),
    pub(super) replication_bytes_out: u64,
    pub(super) requests: Vec<OfRequest>,
    /// By listener.
    pub(super) listeners: Vec<(String, Numbers)>,
    /// By log directory.
    pub(super) cleaners: Vec<(String, Numbers)>,
    /// Where they are asked for.
    pub(super) partitions: Vec<Partition>,
}

#[derive(Default)]
pub(super) struct Replicas {
    pub(super) all: u64,
    pub(super) led: u64,
    pub(super) offline: u64,
    pub(super) at_min_isr: u64,
    pub(super) reassigning: u64,
}

#[derive(Default)]
pub(super) struct Cluster {
    pub(super) partitions: u64,
    pub(super) offline: u64,
    pub(super) not_preferred: u64,
    pub(super) active_brokers: u64,
    pub(super) fenced_brokers: u64,
    pub(super) stopping_brokers: u64,
}

pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: String,
    pub(super) size: u64,
    pub(super) segments: u64,
    pub(super) log_start: i64,
    pub(super) log_end: i64,
    pub(super) last_stable_lag: i64,
    /// Where it is led here, else 0.
    pub(super) in_sync: u64,
    pub(super) replicas: u64,
    pub(super) min_isr: u64,
}

impl<'a> View<'a> {
    pub(super) fn of(watched: &'a Watched, sums: &'a Sums, detail: &Detail) -> View<'a> {
        let image = watched.images.get();
        let hosted = watched.hosted.upgrade().filter(|_| watched.is_broker);
        let handles = hosted.as_ref().map(|hosted| hosted.all());
        let traffic = hosted.as_ref().map(|hosted| hosted.traffic().counted());
        let out = hosted.as_ref().map(|hosted| hosted.traffic().replication_bytes_out.get());
        let registry = watched.world.registry();
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let shown = |kind| registry.shown(kind).into_iter();
        let directory = |path: &str| {
            let index = name(path).strip_prefix("log-cleaner-")?.parse::<usize>().ok()?;
            Some(watched.log_dirs.0.get(index)?.absolute_path().to_owned())
        };
        View {
            replicas: handles.as_ref().map(|handles| Replicas::of(handles, &image)),
            cluster: watched.is_controller.then(|| Cluster::of(&image)),
            traffic: told(traffic.unwrap_or_default(), detail),
            replication_bytes_out: out.unwrap_or(0),
            requests: watched.requests.told(watched.world.mono()),
            listeners: shown("listener").map(|(path, its)| (name(&path), its)).collect(),
            cleaners: shown("log-cleaner")
                .filter_map(|(path, its)| Some((directory(&path)?, its)))
                .collect(),
            partitions: handles
                .iter()
                .flatten()
                .filter(|_| detail.partitions)
                .filter(|handle| is_meant(detail, &handle.topic_partition.topic))
                .map(|handle| Partition::of(handle, &image))
                .collect(),
            raft: watched.raft.get(),
            watched,
            sums,
            image,
        }
    }
}

fn is_meant(detail: &Detail, topic: &str) -> bool {
    detail.topic.as_deref().is_none_or(|meant| meant == topic)
}

/// Topics that nobody wrote to or read from are left out, as in Kafka.
fn told(
    (all, mut each): (Counted, Vec<(String, Counted)>),
    detail: &Detail,
) -> (Counted, Vec<(String, Counted)>) {
    each.retain(|(topic, counted)| *counted != Counted::default() && is_meant(detail, topic));
    if !detail.all_topics && each.len() > MOST_TOPICS {
        each.sort_by_key(|(_, counted)| {
            std::cmp::Reverse(counted.bytes_in.saturating_add(counted.bytes_out))
        });
        each.truncate(MOST_TOPICS);
        each.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    (all, each)
}

fn registered<'i>(
    handle: &PartitionHandle,
    image: &'i MetadataImage,
) -> Option<&'i PartitionRegistration> {
    image.topics.partition(handle.topic_id, handle.topic_partition.partition)
}

/// Never more than there are replicas.
fn min_isr(handle: &PartitionHandle, registered: &PartitionRegistration) -> usize {
    let wanted = usize::try_from(handle.config().min_insync_replicas).unwrap_or(1);
    wanted.min(registered.replicas.len())
}

impl Replicas {
    fn of(handles: &[Arc<PartitionHandle>], image: &MetadataImage) -> Replicas {
        let mut sum = Replicas::default();
        for handle in handles {
            sum.all += 1;
            match &*handle.standing() {
                Standing::Offline { .. } => sum.offline += 1,
                Standing::Starting | Standing::Follower(_) => {}
                Standing::Leader(_) => {
                    sum.led += 1;
                    let Some(registered) = registered(handle, image) else { continue };
                    let is_at = registered.isr.len() == min_isr(handle, registered);
                    sum.at_min_isr += u64::from(is_at);
                    sum.reassigning += u64::from(registered.reassigning());
                }
            }
        }
        sum
    }
}

impl Cluster {
    fn of(image: &MetadataImage) -> Cluster {
        let mut sum = Cluster::default();
        for partition in image.topics.iter().flat_map(|topic| topic.partitions.values()) {
            sum.partitions += 1;
            sum.offline += u64::from(!partition.has_leader());
            sum.not_preferred += u64::from(partition.leader != partition.preferred_replica());
        }
        for broker in image.brokers.values() {
            sum.fenced_brokers += u64::from(broker.fenced);
            sum.active_brokers += u64::from(!broker.fenced);
            sum.stopping_brokers += u64::from(broker.in_controlled_shutdown);
        }
        sum
    }
}

impl Partition {
    fn of(handle: &PartitionHandle, image: &MetadataImage) -> Partition {
        let view = handle.view();
        let is_led = matches!(&*handle.standing(), Standing::Leader(_));
        let led = registered(handle, image).filter(|_| is_led);
        Partition {
            topic: handle.topic_partition.topic.clone(),
            partition: handle.topic_partition.partition.to_string(),
            size: view.as_ref().map_or(0, |view| view.size()),
            segments: view.as_ref().map_or(0, |view| view.segments() as u64),
            log_start: handle.log_start_offset(),
            log_end: handle.log_end_offset(),
            last_stable_lag: match is_led {
                true => handle.high_watermark() - handle.last_stable_offset(),
                false => 0,
            },
            in_sync: led.map_or(0, |led| led.isr.len() as u64),
            replicas: led.map_or(0, |led| led.replicas.len() as u64),
            min_isr: led.map_or(0, |led| min_isr(handle, led) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machines::metadata::BrokerRegistration;
    use wire::RegisterBrokerRecord;

    #[test]
    fn a_broker_that_stops_is_active_until_it_is_fenced() {
        let mut image = MetadataImage::default();
        for (broker_id, fenced, in_controlled_shutdown) in
            [(1, false, false), (2, false, true), (3, true, true), (4, true, false)]
        {
            let record = RegisterBrokerRecord {
                broker_id,
                fenced,
                in_controlled_shutdown,
                ..RegisterBrokerRecord::default()
            };
            let broker = BrokerRegistration::from_record(&record, 0);
            image.brokers.insert_mut(broker_id, Arc::new(broker));
        }
        let sum = Cluster::of(&image);
        let brokers = (sum.active_brokers, sum.fenced_brokers, sum.stopping_brokers);
        assert_eq!(brokers, (2, 2, 2));
    }

    #[test]
    fn of_many_topics_those_with_the_most_traffic_are_told_of_unless_all_are_asked_for() {
        // Each has more than the one before, but for the first, which has none.
        let counted = |at: usize| Counted { bytes_in: at as u64, ..Counted::default() };
        let each: Vec<_> =
            (0..=MOST_TOPICS + 10).map(|at| (format!("topic-{at:04}"), counted(at))).collect();
        let all = counted(7);
        let told = |query: &str| {
            let detail = Detail::of(query).expect("it is known");
            let (sum, each) = told((all, each.clone()), &detail);
            assert_eq!(sum, all, "whatever is told of each");
            each.into_iter().map(|(topic, _)| topic).collect::<Vec<_>>()
        };
        let names = |from: usize| each[from..].iter().map(|(topic, _)| topic.clone());
        assert_eq!(told(""), names(11).collect::<Vec<_>>());
        assert_eq!(told("detail=partitions").len(), MOST_TOPICS);
        assert_eq!(told("detail=topics"), names(1).collect::<Vec<_>>());
        assert_eq!(told("topic=topic-0003"), ["topic-0003"]);
    }
}
