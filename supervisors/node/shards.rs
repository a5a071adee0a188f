//! What runs as shards on topics: the group coordinators, and users' durable actors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Asker, Client, LocalOwners};
use coordinators::{
    CoordinatorsArgs, DurableTopic, Durables, DurablesParts, GroupHost, Groups, Registration, Tell,
};
use machines::metadata::MetadataImage;
use model::NodeId;
use model::topic::{CLUSTER_METADATA, is_internal_topic, validate_topic_name};
use runtime::{Actor, Address, Credit, Credits, Cx, Failure, Outcome, Publisher, Seed, World};

use super::tree::{NodeActor, Shared};
use super::{StartError, policy};

/// So much of what decisions tell may be on its way; in bytes.
const TELLS: u64 = 16 << 20;
/// What one takes beside its bytes.
const TELL_OVERHEAD: usize = 1024;
/// Until the owner is found.
const TELL_LIMIT: Duration = Duration::from_secs(10);

pub(super) fn groups(cx: &Cx<NodeActor>, shared: &Shared) -> Groups {
    let timeout_ms = shared.config.groups.commit_timeout_ms;
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Groups::new(cx.world().clone(), shared.node(), shared.images.subscribe(), timeout)
}

pub(super) fn coordinators_args(shared: &Shared, groups: Groups) -> CoordinatorsArgs {
    CoordinatorsArgs {
        hosted: shared.hosted.clone(),
        metadata: shared.followed.subscribe(),
        applied: shared.applied.subscribe(),
        host: GroupHost { config: shared.config.groups.clone(), groups },
        shard: policy::coordinator(),
    }
}

/// Whether durable actors can be on the topics for which they are registered.
pub(super) fn check(registered: &[Arc<dyn Registration>]) -> Result<(), StartError> {
    let mut topics = BTreeSet::new();
    for one in registered {
        let topic = one.topic().to_owned();
        let reason = if let Err(error) = validate_topic_name(&topic) {
            error.to_string()
        } else if is_internal_topic(&topic) || topic == CLUSTER_METADATA {
            "it is the brokers' own".to_owned()
        } else if !topics.insert(one.topic()) {
            "another is registered for it".to_owned()
        } else if one.settings().partitions == 0 {
            "its partitions may not be 0".to_owned()
        } else if !(1..=DurableTopic::MOST_DECISIONS).contains(&one.settings().snapshot_every) {
            let most = DurableTopic::MOST_DECISIONS;
            format!("of its decisions 1 to {most} come before a snapshot")
        } else {
            continue;
        };
        return Err(StartError::Durable { topic, reason });
    }
    Ok(())
}

/// The durable actors that are registered, and where what they tell goes.
pub(super) fn durables(
    world: &World,
    node: NodeId,
    images: &Publisher<MetadataImage>,
    teller: &Address<TellerMsg>,
    registered: &[Arc<dyn Registration>],
) -> Durables {
    let (to, credits) = (teller.clone(), Credits::new(TELLS));
    let tell = move |tell: Tell| {
        let size = tell.command.len() + tell.key.len() + TELL_OVERHEAD;
        match credits.try_take(u32::try_from(size).unwrap_or(u32::MAX)) {
            // One that is down loses it, as it loses what is on its way.
            Some(credit) => drop(to.send_now(TellerMsg::Tell { tell, credit })),
            None => tracing::warn!(topic = %tell.topic, "too much is told: a command is lost"),
        }
    };
    let (world, metadata) = (world.clone(), images.subscribe());
    Durables::new(&DurablesParts { world, node, metadata, tell: Arc::new(tell) }, registered)
}

/// A supervisor for each durable actor, and who carries what they tell.
pub(super) fn durable_members(shared: &Shared) -> Vec<Seed> {
    let host = |served: &Arc<dyn coordinators::Served>| {
        let specs = (policy::branch(), policy::coordinator());
        served.seed(shared.hosted.clone(), shared.applied.subscribe(), specs)
    };
    let mut members: Vec<Seed> = shared.durables.all().map(host).collect();
    if !members.is_empty() {
        let spec = policy::extension();
        members.push(Seed::at::<Teller>("teller", spec, shared.clone(), &shared.teller));
    }
    members
}

/// Carries what decisions tell to the owners of the keys.
pub(crate) struct Teller {
    client: Client,
    local: LocalOwners,
}

pub(crate) enum TellerMsg {
    Tell { tell: Tell, credit: Credit },
}

runtime::messages!(TellerMsg { Tell });

impl Actor for Teller {
    const KIND: &'static str = "teller";
    type Msg = TellerMsg;
    type Args = Shared;

    async fn start(cx: &mut Cx<Self>, shared: Shared) -> Result<Self, Failure> {
        Ok(Teller { client: shared.client(cx.world())?, local: shared.local_owners() })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: TellerMsg) -> Outcome {
        let TellerMsg::Tell { tell, credit } = msg;
        let asker = Asker::new(&self.client, &tell.topic).beside(self.local.clone());
        let asker = asker.within(TELL_LIMIT);
        cx.spawn_task(async move {
            let Tell { topic, key, version, command } = tell;
            if let Err(error) = asker.ask(&key, version, command).await {
                tracing::warn!(%topic, key, %error, "a command that was told is lost");
            }
            drop(credit);
        });
        Ok(())
    }
}

impl Shared {
    pub(crate) fn for_clients(&self) -> Option<&network::Bound> {
        self.bound.iter().find(|bound| !self.config.is_controller_listener(bound.name()))
    }

    pub(crate) fn local_owners(&self) -> LocalOwners {
        LocalOwners { node: self.node().0, owners: Arc::new(self.durables.clone()) }
    }
}
