//! The families, and where the numbers of each are.

use network::{OfRequest, Part, Times};
use partitions::Counted;
use runtime::{Family, Numbers};

use super::view::{Cluster, Partition, Replicas, View};
use super::{OfKafka, Samples};

pub(super) const FAMILIES: &[&[OfKafka]] =
    &[TOPICS, REPLICAS, CONTROLLER, METADATA, NETWORK, LOGS, CLEANERS, PARTITIONS];

type Read = fn(&View<'_>, &mut Samples<'_>);

const NONE: &[&str] = &[];
const TOPIC: &[&str] = &["topic"];
const PARTITION: &[&str] = &["topic", "partition"];

const fn of(
    kind: &'static str,
    (name, bean): (&'static str, &'static str),
    (unit, labels): (&'static str, &'static [&'static str]),
    help: &'static str,
    read: Read,
) -> OfKafka {
    OfKafka { family: Family { name, kind, labels, unit, help }, bean, read }
}

const fn gauge(
    name: (&'static str, &'static str),
    unit: (&'static str, &'static [&'static str]),
    help: &'static str,
    read: Read,
) -> OfKafka {
    of("gauge", name, unit, help, read)
}

const fn counter(
    name: (&'static str, &'static str),
    unit: (&'static str, &'static [&'static str]),
    help: &'static str,
    read: Read,
) -> OfKafka {
    of("counter", name, unit, help, read)
}

fn by_topic(view: &View<'_>, samples: &mut Samples<'_>, of: fn(&Counted) -> u64) {
    if view.replicas.is_none() {
        return;
    }
    let (all, each) = &view.traffic;
    samples.put(&[], of(all));
    for (topic, counted) in each {
        samples.put(&[("topic", topic)], of(counted));
    }
}

#[rustfmt::skip]
const TOPICS: &[OfKafka] = &[
    counter(("kafka_server_brokertopicmetrics_messagesin_total", "kafka.server:type=BrokerTopicMetrics,name=MessagesInPerSec"), ("messages", TOPIC),
        "Records that leaders here appended; without a topic those of all, also of topics that are gone.", |v, s| by_topic(v, s, |c| c.messages_in)),
    counter(("kafka_server_brokertopicmetrics_bytesin_total", "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec"), ("bytes", TOPIC),
        "Their bytes.", |v, s| by_topic(v, s, |c| c.bytes_in)),
    counter(("kafka_server_brokertopicmetrics_bytesout_total", "kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec"), ("bytes", TOPIC),
        "Records that consumers were given.", |v, s| by_topic(v, s, |c| c.bytes_out)),
    counter(("kafka_server_brokertopicmetrics_totalproducerequests_total", "kafka.server:type=BrokerTopicMetrics,name=TotalProduceRequestsPerSec"), ("partitions", TOPIC),
        "Partitions in requests of producers.", |v, s| by_topic(v, s, |c| c.produced)),
    counter(("kafka_server_brokertopicmetrics_totalfetchrequests_total", "kafka.server:type=BrokerTopicMetrics,name=TotalFetchRequestsPerSec"), ("partitions", TOPIC),
        "Partitions in fetches; Kafka counts those that waited twice.", |v, s| by_topic(v, s, |c| c.fetched)),
    counter(("kafka_server_brokertopicmetrics_replicationbytesin_total", "kafka.server:type=BrokerTopicMetrics,name=ReplicationBytesInPerSec"), ("bytes", NONE),
        "Records that followers here fetched.", |v, s| broker(v, s, |v, _| v.sums.counted("replica-fetcher", "bytes_fetched"))),
    counter(("kafka_server_brokertopicmetrics_replicationbytesout_total", "kafka.server:type=BrokerTopicMetrics,name=ReplicationBytesOutPerSec"), ("bytes", NONE),
        "Records that followers elsewhere were given.", |v, s| broker(v, s, |v, _| v.replication_bytes_out)),
];

/// Of brokers alone.
fn broker(view: &View<'_>, samples: &mut Samples<'_>, of: fn(&View<'_>, &Replicas) -> u64) {
    if let Some(replicas) = &view.replicas {
        samples.put(&[], of(view, replicas));
    }
}

fn shown(view: &View<'_>, kind: &'static str, name: &'static str) -> u64 {
    view.sums.number(kind, name).max(0).unsigned_abs()
}

#[rustfmt::skip]
const REPLICAS: &[OfKafka] = &[
    gauge(("kafka_server_kafkaserver_brokerstate", "kafka.server:type=KafkaServer,name=BrokerState"), ("state", NONE),
        "1 starts, 2 recovers, 3 runs, fenced or not, 6 waits to be let go, 7 stops.", |v, s| broker(v, s, |v, _| v.watched.broker_state())),
    gauge(("kafka_server_replicamanager_partitioncount", "kafka.server:type=ReplicaManager,name=PartitionCount"), ("partitions", NONE),
        "Partitions with a replica here, those that are offline among them.", |v, s| broker(v, s, |_, r| r.all)),
    gauge(("kafka_server_replicamanager_leadercount", "kafka.server:type=ReplicaManager,name=LeaderCount"), ("partitions", NONE),
        "Partitions led here.", |v, s| broker(v, s, |_, r| r.led)),
    gauge(("kafka_server_replicamanager_offlinereplicacount", "kafka.server:type=ReplicaManager,name=OfflineReplicaCount"), ("replicas", NONE),
        "Replicas here that are offline.", |v, s| broker(v, s, |_, r| r.offline)),
    gauge(("kafka_server_replicamanager_underreplicatedpartitions", "kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions"), ("partitions", NONE),
        "Partitions led here whose ISR lacks a replica.", |v, s| broker(v, s, |v, _| shown(v, "partition", "under_replicated"))),
    gauge(("kafka_server_replicamanager_underminisrpartitioncount", "kafka.server:type=ReplicaManager,name=UnderMinIsrPartitionCount"), ("partitions", NONE),
        "Partitions led here with fewer replicas in sync than min.insync.replicas.", |v, s| broker(v, s, |v, _| shown(v, "partition", "under_min_isr"))),
    gauge(("kafka_server_replicamanager_atminisrpartitioncount", "kafka.server:type=ReplicaManager,name=AtMinIsrPartitionCount"), ("partitions", NONE),
        "Partitions led here with just as many.", |v, s| broker(v, s, |_, r| r.at_min_isr)),
    gauge(("kafka_server_replicamanager_reassigningpartitions", "kafka.server:type=ReplicaManager,name=ReassigningPartitions"), ("partitions", NONE),
        "Partitions led here whose replicas are changing.", |v, s| broker(v, s, |_, r| r.reassigning)),
    counter(("kafka_server_replicamanager_isrshrinks_total", "kafka.server:type=ReplicaManager,name=IsrShrinksPerSec"), ("changes", NONE),
        "Changes that put a replica out of the ISR.", |v, s| broker(v, s, |v, _| v.sums.counted("partition", "isr_shrinks"))),
    counter(("kafka_server_replicamanager_isrexpands_total", "kafka.server:type=ReplicaManager,name=IsrExpandsPerSec"), ("changes", NONE),
        "Changes that put one into it.", |v, s| broker(v, s, |v, _| v.sums.counted("partition", "isr_expansions"))),
    counter(("kafka_server_replicamanager_failedisrupdates_total", "kafka.server:type=ReplicaManager,name=FailedIsrUpdatesPerSec"), ("changes", NONE),
        "Changes that the controller refused, or was not asked in time.", |v, s| broker(v, s, |v, _| v.sums.counted("partition", "failed_isr_updates"))),
    gauge(("kafka_server_replicafetchermanager_failedpartitionscount", "kafka.server:type=ReplicaFetcherManager,name=FailedPartitionsCount,clientId=Replica"), ("partitions", &["clientId"]),
        "Partitions that are not fetched, as their logs cannot follow their leaders'.", |v, s| if v.replicas.is_some() {
            s.put(&[("clientId", "Replica")], shown(v, "replica-fetcher", "failed_partitions"));
        }),
];

/// Of controllers alone.
fn controller(view: &View<'_>, samples: &mut Samples<'_>, of: fn(&View<'_>, &Cluster) -> i64) {
    if let Some(cluster) = &view.cluster {
        samples.put(&[], of(view, cluster));
    }
}

#[rustfmt::skip]
const CONTROLLER: &[OfKafka] = &[
    gauge(("kafka_controller_kafkacontroller_activecontrollercount", "kafka.controller:type=KafkaController,name=ActiveControllerCount"), ("controllers", NONE),
        "1 where the active controller is, else 0.", |v, s| controller(v, s, |v, _| i64::from(v.raft.leader_id == Some(v.watched.node.0)))),
    gauge(("kafka_controller_kafkacontroller_activebrokercount", "kafka.controller:type=KafkaController,name=ActiveBrokerCount"), ("brokers", NONE),
        "Brokers that are registered and not fenced.", |v, s| controller(v, s, |_, c| c.active_brokers.cast_signed())),
    gauge(("kafka_controller_kafkacontroller_fencedbrokercount", "kafka.controller:type=KafkaController,name=FencedBrokerCount"), ("brokers", NONE),
        "Brokers that are registered and fenced.", |v, s| controller(v, s, |_, c| c.fenced_brokers.cast_signed())),
    gauge(("kafka_controller_kafkacontroller_controlledshutdownbrokercount", "kafka.controller:type=KafkaController,name=ControlledShutdownBrokerCount"), ("brokers", NONE),
        "Brokers that are about to stop, or have asked to and are fenced since.", |v, s| controller(v, s, |_, c| c.stopping_brokers.cast_signed())),
    gauge(("kafka_controller_kafkacontroller_globaltopiccount", "kafka.controller:type=KafkaController,name=GlobalTopicCount"), ("topics", NONE),
        "Topics of the cluster.", |v, s| controller(v, s, |v, _| v.image.topics.len() as i64)),
    gauge(("kafka_controller_kafkacontroller_globalpartitioncount", "kafka.controller:type=KafkaController,name=GlobalPartitionCount"), ("partitions", NONE),
        "Partitions of the cluster.", |v, s| controller(v, s, |_, c| c.partitions.cast_signed())),
    gauge(("kafka_controller_kafkacontroller_offlinepartitionscount", "kafka.controller:type=KafkaController,name=OfflinePartitionsCount"), ("partitions", NONE),
        "Partitions without a leader.", |v, s| controller(v, s, |_, c| c.offline.cast_signed())),
    gauge(("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "kafka.controller:type=KafkaController,name=PreferredReplicaImbalanceCount"), ("partitions", NONE),
        "Partitions that their first replica does not lead.", |v, s| controller(v, s, |_, c| c.not_preferred.cast_signed())),
    gauge(("kafka_controller_kafkacontroller_lastappliedrecordoffset", "kafka.controller:type=KafkaController,name=LastAppliedRecordOffset"), ("offset", NONE),
        "The last record of the metadata log that this controller knows.", |v, s| controller(v, s, |v, _| v.image.provenance.offset)),
];

#[rustfmt::skip]
const METADATA: &[OfKafka] = &[
    gauge(("kafka_server_broker_metadata_metrics_last_applied_record_offset", "kafka.server:type=broker-metadata-metrics, last-applied-record-offset"), ("offset", NONE),
        "The last record of the metadata log that this broker has acted on.", |v, s| if v.replicas.is_some() { s.put(&[], *v.watched.applied.get()); }),
    gauge(("kafka_server_metadataloader_currentmetadataversion", "kafka.server:type=MetadataLoader,name=CurrentMetadataVersion"), ("level", NONE),
        "The level of metadata.version.", |v, s| s.put(&[], v.image.metadata_version().0)),
    gauge(("kafka_server_metadataloader_currentcontrollerid", "kafka.server:type=MetadataLoader,name=CurrentControllerId"), ("node", NONE),
        "The active controller, -1 where none is known.", |v, s| s.put(&[], v.raft.leader_id.unwrap_or(-1))),
    gauge(("kafka_server_raft_metrics_current_leader", "kafka.server:type=raft-metrics, current-leader"), ("node", NONE),
        "Who leads the metadata log, -1 where nobody is known to.", |v, s| s.put(&[], v.raft.leader_id.unwrap_or(-1))),
    gauge(("kafka_server_raft_metrics_current_epoch", "kafka.server:type=raft-metrics, current-epoch"), ("epoch", NONE),
        "The epoch of the quorum.", |v, s| s.put(&[], v.raft.epoch)),
    gauge(("kafka_server_raft_metrics_high_watermark", "kafka.server:type=raft-metrics, high-watermark"), ("offset", NONE),
        "Up to where the metadata log is committed.", |v, s| s.put(&[], v.raft.high_watermark)),
    gauge(("kafka_server_raft_metrics_number_of_voters", "kafka.server:type=raft-metrics, number-of-voters"), ("voters", NONE),
        "How many vote.", |v, s| s.put(&[], v.raft.voters)),
];

fn requests(view: &View<'_>, samples: &mut Samples<'_>) {
    for of in &view.requests {
        for (version, count) in &of.versions {
            let version = version.to_string();
            samples.put(&[("request", of.request), ("version", &version)], count);
        }
    }
}

fn request_times(view: &View<'_>, samples: &mut Samples<'_>, of: fn(&OfRequest) -> &Times) {
    for request in &view.requests {
        let (times, request) = (of(request), ("request", request.request));
        for (quantile, ms) in &times.quantiles {
            samples.put(&[request, ("quantile", quantile)], ms);
        }
        samples.put_as("_sum", &[request], times.sum_ms);
        samples.put_as("_count", &[request], times.count);
    }
}

fn by_listener(view: &View<'_>, samples: &mut Samples<'_>, name: &str) {
    for (listener, numbers) in &view.listeners {
        samples.put(&[("listener", listener)], numbers.get(name).copied().unwrap_or(0));
    }
}

/// What of the memory for requests is used, and its limit.
fn memory(view: &View<'_>, samples: &mut Samples<'_>, of: fn(u64, u64) -> u64) {
    if let Some(credits) = view.watched.world.registry().credits("request-memory") {
        samples.put(&[], of(credits.used(), credits.limit()));
    }
}

fn part(of: &OfRequest, part: Part) -> &Times {
    &of.parts[part as usize]
}

#[rustfmt::skip]
const NETWORK: &[OfKafka] = &[
    counter(("kafka_network_requestmetrics_requests_total", "kafka.network:type=RequestMetrics,name=RequestsPerSec"), ("requests", &["request", "version"]),
        "Requests that were answered.", requests),
    of("summary", ("kafka_network_requestmetrics_totaltimems", "kafka.network:type=RequestMetrics,name=TotalTimeMs"), ("milliseconds", &["request", "quantile"]),
        "From when a request was there until its answer was out; quantiles are of the last 2 to 5 minutes, at most an eighth too large.", |v, s| request_times(v, s, |of| &of.total)),
    of("summary", ("kafka_network_requestmetrics_requestqueuetimems", "kafka.network:type=RequestMetrics,name=RequestQueueTimeMs"), ("milliseconds", &["request", "quantile"]),
        "Of that until it was begun: behind those before it on its connection, or for memory.", |v, s| request_times(v, s, |of| part(of, Part::Queue))),
    of("summary", ("kafka_network_requestmetrics_localtimems", "kafka.network:type=RequestMetrics,name=LocalTimeMs"), ("milliseconds", &["request", "quantile"]),
        "Of that until it was answered or others were waited for.", |v, s| request_times(v, s, |of| part(of, Part::Local))),
    of("summary", ("kafka_network_requestmetrics_remotetimems", "kafka.network:type=RequestMetrics,name=RemoteTimeMs"), ("milliseconds", &["request", "quantile"]),
        "Of that while others were waited for: followers, records that are to come, members of a group, the controller; also other actors of the node, so that the append to the log is in it.", |v, s| request_times(v, s, |of| part(of, Part::Remote))),
    of("summary", ("kafka_network_requestmetrics_responsesendtimems", "kafka.network:type=RequestMetrics,name=ResponseSendTimeMs"), ("milliseconds", &["request", "quantile"]),
        "Of that until the socket had taken the answer.", |v, s| request_times(v, s, |of| part(of, Part::Send))),
    gauge(("kafka_network_socketserver_memorypoolused", "kafka.network:type=SocketServer,name=MemoryPoolUsed"), ("bytes", NONE),
        "What of queued.max.request.bytes is taken.", |v, s| memory(v, s, |used, _| used)),
    gauge(("kafka_network_socketserver_memorypoolavailable", "kafka.network:type=SocketServer,name=MemoryPoolAvailable"), ("bytes", NONE),
        "What of it is left.", |v, s| memory(v, s, |used, limit| limit.saturating_sub(used))),
    gauge(("kafka_server_socket_server_metrics_connection_count", "kafka.server:type=socket-server-metrics, connection-count"), ("connections", &["listener"]),
        "Connections that are open.", |v, s| by_listener(v, s, "connections")),
    counter(("kafka_server_socket_server_metrics_connection_creation_total", "kafka.server:type=socket-server-metrics, connection-creation-total"), ("connections", &["listener"]),
        "Connections that were let in.", |v, s| by_listener(v, s, "connections_accepted")),
];

/// How many log directories are so; of brokers alone.
fn directories(view: &View<'_>, samples: &mut Samples<'_>, of: fn(&View<'_>) -> usize) {
    if view.replicas.is_some() {
        samples.put(&[], of(view));
    }
}

fn each_directory(view: &View<'_>, samples: &mut Samples<'_>) {
    for dir in view.watched.log_dirs.0.iter().filter(|_| view.replicas.is_some()) {
        let offline = u8::from(!dir.is_online());
        samples.put(&[("logDirectory", dir.absolute_path())], offline);
    }
}

#[rustfmt::skip]
const LOGS: &[OfKafka] = &[
    gauge(("kafka_log_logmanager_offlinelogdirectorycount", "kafka.log:type=LogManager,name=OfflineLogDirectoryCount"), ("directories", NONE),
        "Log directories that are offline.", |v, s| directories(v, s, |v| v.watched.log_dirs.offline().count())),
    gauge(("kafka_log_logmanager_cordonedlogdirectorycount", "kafka.log:type=LogManager,name=CordonedLogDirectoryCount"), ("directories", NONE),
        "Log directories that take no new replicas.", |v, s| directories(v, s, |v| v.watched.log_dirs.cordoned().count())),
    gauge(("kafka_log_logmanager_logdirectoryoffline", "kafka.log:type=LogManager,name=LogDirectoryOffline"), ("boolean", &["logDirectory"]),
        "1 where it is offline.", each_directory),
];

/// The most of all cleaners.
fn most(view: &View<'_>, samples: &mut Samples<'_>, name: &str, divisor: i64) {
    let shown = |(_, numbers): &(String, Numbers)| numbers.get(name).copied();
    if let Some(most) = view.cleaners.iter().filter_map(shown).max() {
        samples.put(&[], most / divisor);
    }
}

fn uncleanable(view: &View<'_>, samples: &mut Samples<'_>) {
    for (directory, numbers) in &view.cleaners {
        let count = numbers.get("uncleanable_partitions").copied().unwrap_or(0);
        samples.put(&[("logDirectory", directory)], count);
    }
}

#[rustfmt::skip]
const CLEANERS: &[OfKafka] = &[
    gauge(("kafka_log_logcleanermanager_uncleanable_partitions_count", "kafka.log:type=LogCleanerManager,name=uncleanable-partitions-count"), ("partitions", &["logDirectory"]),
        "Partitions whose logs cannot be compacted, and are left alone.", uncleanable),
    gauge(("kafka_log_logcleanermanager_max_dirty_percent", "kafka.log:type=LogCleanerManager,name=max-dirty-percent"), ("percent", NONE),
        "Of all logs, the largest share that is not compacted.", |v, s| most(v, s, "max_dirty_percent", 1)),
    gauge(("kafka_log_logcleaner_max_compaction_delay_secs", "kafka.log:type=LogCleaner,name=max-compaction-delay-secs"), ("seconds", NONE),
        "Of all logs, how long the one that is most overdue has been beyond max.compaction.lag.ms.", |v, s| most(v, s, "max_compaction_delay_ms", 1000)),
    gauge(("kafka_log_logcleaner_max_buffer_utilization_percent", "kafka.log:type=LogCleaner,name=max-buffer-utilization-percent"), ("percent", NONE),
        "How full the fullest map of keys was in the last pass.", |v, s| most(v, s, "buffer_utilization_percent", 1)),
];

fn each(view: &View<'_>, samples: &mut Samples<'_>, of: fn(&Partition) -> i64) {
    for partition in &view.partitions {
        let labels = [("topic", &*partition.topic), ("partition", &*partition.partition)];
        samples.put(&labels, of(partition));
    }
}

#[rustfmt::skip]
const PARTITIONS: &[OfKafka] = &[
    gauge(("kafka_log_log_size", "kafka.log:type=Log,name=Size"), ("bytes", PARTITION),
        "What its segments hold.", |v, s| each(v, s, |p| p.size.cast_signed())),
    gauge(("kafka_log_log_numlogsegments", "kafka.log:type=Log,name=NumLogSegments"), ("segments", PARTITION),
        "How many there are.", |v, s| each(v, s, |p| p.segments.cast_signed())),
    gauge(("kafka_log_log_logstartoffset", "kafka.log:type=Log,name=LogStartOffset"), ("offset", PARTITION),
        "Where the log begins.", |v, s| each(v, s, |p| p.log_start)),
    gauge(("kafka_log_log_logendoffset", "kafka.log:type=Log,name=LogEndOffset"), ("offset", PARTITION),
        "Where it ends.", |v, s| each(v, s, |p| p.log_end)),
    gauge(("kafka_cluster_partition_insyncreplicascount", "kafka.cluster:type=Partition,name=InSyncReplicasCount"), ("replicas", PARTITION),
        "The size of the ISR where it is led here, else 0.", |v, s| each(v, s, |p| p.in_sync.cast_signed())),
    gauge(("kafka_cluster_partition_replicascount", "kafka.cluster:type=Partition,name=ReplicasCount"), ("replicas", PARTITION),
        "How many replicas it has where it is led here, else 0.", |v, s| each(v, s, |p| p.replicas.cast_signed())),
    gauge(("kafka_cluster_partition_underreplicated", "kafka.cluster:type=Partition,name=UnderReplicated"), ("boolean", PARTITION),
        "1 where it is led here and the ISR lacks a replica.", |v, s| each(v, s, |p| i64::from(p.in_sync < p.replicas))),
    gauge(("kafka_cluster_partition_underminisr", "kafka.cluster:type=Partition,name=UnderMinIsr"), ("boolean", PARTITION),
        "1 where it is led here with fewer in sync than min.insync.replicas.", |v, s| each(v, s, |p| i64::from(p.in_sync < p.min_isr))),
    gauge(("kafka_cluster_partition_atminisr", "kafka.cluster:type=Partition,name=AtMinIsr"), ("boolean", PARTITION),
        "1 where it is led here with just as many.", |v, s| each(v, s, |p| i64::from(p.replicas > 0 && p.in_sync == p.min_isr))),
    gauge(("kafka_cluster_partition_laststableoffsetlag", "kafka.cluster:type=Partition,name=LastStableOffsetLag"), ("records", PARTITION),
        "How far the last stable offset is behind the high watermark, where it is led here.", |v, s| each(v, s, |p| p.last_stable_lag)),
];
