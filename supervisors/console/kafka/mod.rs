//! What Kafka shows by JMX, under the names that the JMX exporter gives it with its own example of rules for Kafka, so that
//! dashboards made for those show an Ottla too. What is not known is not there.

mod families;
mod view;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use machines::metadata::MetadataImage;
use model::NodeId;
use network::RequestMetrics;
use partitions::{Hosted, LogDirs};
use quorum::{LifecycleState, RaftStatus};
use runtime::{Exposition, Family, Publisher, Sums, World};

use super::query::Query;
use crate::node::Node;
use families::FAMILIES;
use view::View;

/// What is looked at of a node. It keeps none of the node's directories or ports.
pub(super) struct Watched {
    world: World,
    node: NodeId,
    is_broker: bool,
    is_controller: bool,
    hosted: Weak<Hosted>,
    log_dirs: LogDirs,
    images: Arc<Publisher<MetadataImage>>,
    applied: Arc<Publisher<i64>>,
    raft: Arc<Publisher<RaftStatus>>,
    lifecycle: Arc<Publisher<LifecycleState>>,
    has_served: Arc<AtomicBool>,
    requests: Arc<RequestMetrics>,
}

impl Watched {
    pub(super) fn of(node: &Node) -> Watched {
        let shared = node.shared();
        Watched {
            world: node.world().clone(),
            node: shared.config.node_id,
            is_broker: shared.config.roles.broker,
            is_controller: shared.config.roles.controller,
            hosted: Arc::downgrade(&shared.hosted),
            log_dirs: shared.log_dirs.clone(),
            images: shared.images.clone(),
            applied: shared.applied.clone(),
            raft: shared.raft_status.clone(),
            lifecycle: shared.lifecycle_state.clone(),
            has_served: shared.has_served.clone(),
            requests: shared.requests.clone(),
        }
    }

    fn broker_state(&self) -> u64 {
        broker_state(*self.lifecycle.get(), self.has_served.load(Ordering::Acquire))
    }
}

/// Kafka's numbers for where a broker's life is.
fn broker_state(state: LifecycleState, has_served: bool) -> u64 {
    match state {
        // PENDING_CONTROLLED_SHUTDOWN
        LifecycleState::ShuttingDown => 6,
        // SHUTTING_DOWN
        LifecycleState::Released => 7,
        // RUNNING; so is one that was fenced, or unregistered, since.
        LifecycleState::Serving => 3,
        _ if has_served => 3,
        // STARTING: its log directories are open before it registers.
        LifecycleState::Registering => 1,
        // RECOVERY
        LifecycleState::Fenced => 2,
    }
}

/// Of so many topics at most, those with the most traffic, there are series unless more is asked for.
const MOST_TOPICS: usize = 500;

/// What is asked for beyond what is always told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Detail {
    all_topics: bool,
    partitions: bool,
    /// Of this topic alone.
    topic: Option<String>,
}

impl Detail {
    /// `detail=topics`, `detail=partitions` or both with a comma between; `topic=NAME`.
    pub(super) fn of(query: &str) -> Result<Detail, String> {
        let query = Query::parse(query, &["detail", "topic"])?;
        let topic = query.get("topic").map(str::to_owned);
        let mut detail = Detail { all_topics: topic.is_some(), topic, ..Detail::default() };
        for asked in query.get("detail").into_iter().flat_map(|asked| asked.split(',')) {
            match asked {
                "topics" => detail.all_topics = true,
                "partitions" => detail.partitions = true,
                other => return Err(format!("detail={other}: topics or partitions is expected")),
            }
        }
        Ok(detail)
    }
}

/// A family of Kafka's.
pub(super) struct OfKafka {
    pub(super) family: Family,
    /// Where Kafka has it.
    pub(super) bean: &'static str,
    read: fn(&View<'_>, &mut Samples<'_>),
}

/// All of them, in the order in which they are told.
pub(super) fn all() -> impl Iterator<Item = &'static OfKafka> {
    FAMILIES.iter().copied().flatten()
}

/// Where the samples of one family go; without any it is not told of.
struct Samples<'a> {
    text: &'a mut Exposition,
    family: &'static Family,
    is_begun: bool,
    node: &'a str,
}

impl Samples<'_> {
    fn put(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.put_as("", labels, value);
    }

    /// `suffix`: what the family's type adds to its name.
    fn put_as(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.text.family(self.family);
        }
        let mut all = Vec::with_capacity(labels.len() + 1);
        all.push(("node", self.node));
        all.extend_from_slice(labels);
        self.text.sample(format_args!("{}{suffix}", self.family.name), &all, value);
    }
}

/// Tells of nodes all that Kafka would.
pub(super) fn expose(nodes: &[(&Watched, &Sums)], detail: &Detail, text: &mut Exposition) {
    let views: Vec<View<'_>> =
        nodes.iter().map(|(watched, sums)| View::of(watched, sums, detail)).collect();
    for OfKafka { family, read, .. } in all() {
        let mut is_begun = false;
        for view in &views {
            let node = view.sums.node();
            let mut samples = Samples { text, family, is_begun, node };
            read(view, &mut samples);
            is_begun = samples.is_begun;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_has_run_goes_on_running_until_it_stops() {
        use LifecycleState::{Fenced, Registering, Released, Serving, ShuttingDown};
        let life = [Registering, Fenced, Serving, ShuttingDown, Released];
        assert_eq!(life.map(|state| broker_state(state, false)), [1, 2, 3, 6, 7]);
        assert_eq!(life.map(|state| broker_state(state, true)), [3, 3, 3, 6, 7]);
    }

    #[test]
    fn what_is_asked_for_beyond_is_known_or_refused() {
        assert_eq!(Detail::of(""), Ok(Detail::default()));
        let all = Detail { all_topics: true, partitions: true, topic: None };
        assert_eq!(Detail::of("detail=topics,partitions"), Ok(all));
        let one = Detail { all_topics: true, partitions: true, topic: Some("a b".into()) };
        assert_eq!(Detail::of("topic=a%20b&detail=partitions"), Ok(one));
        for wrong in ["detail=all", "details=topics", "detail"] {
            assert!(Detail::of(wrong).is_err(), "{wrong}");
        }
    }
}
