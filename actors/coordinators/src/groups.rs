//! What others hold of the group coordinators of a node: it outlives their restarts and moves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use machines::groups::{GroupReply, GroupRequest};
use machines::metadata::MetadataImage;
use model::topic::CONSUMER_OFFSETS;
use model::{ErrorCode, NodeId, Uuid, coordinator_partition};
use runtime::{Answer, Held, Map, RandomStream, Refused, Reply, Watch, World};

use crate::group_coordinator::{GroupCoordinator, GroupShardMsg};
use crate::hosting::Shards;

/// Cheap to clone.
#[derive(Clone)]
pub struct Groups {
    inner: Arc<Inner>,
    held: Option<Held>,
}

struct Inner {
    world: World,
    node: NodeId,
    metadata: Watch<MetadataImage>,
    /// `offsets.commit.timeout.ms`: how long what a request writes may take to be committed.
    timeout: Duration,
    shards: Shards<GroupCoordinator>,
    member_uuids: Mutex<RandomStream>,
}

type Owed = Answer<Result<GroupReply, Refused>>;

impl Groups {
    pub fn new(
        world: World,
        node: NodeId,
        metadata: Watch<MetadataImage>,
        timeout: Duration,
    ) -> Groups {
        let member_uuids = Mutex::new(world.random("group members"));
        let shards = Shards::default();
        let inner = Inner { world, node, metadata, timeout, shards, member_uuids };
        Groups { inner: Arc::new(inner), held: None }
    }

    pub(crate) fn shards(&self) -> &Shards<GroupCoordinator> {
        &self.inner.shards
    }

    /// The same for the requests of a peer: what it asks keeps its credit until a coordinator has decided, also where
    /// nobody waits for the answer any more.
    pub fn holding(&self, held: Held) -> Groups {
        Groups { inner: self.inner.clone(), held: Some(held) }
    }

    /// For the id of a member that joins without one.
    pub fn member_uuid(&self) -> Uuid {
        self.inner.member_uuids.lock().unwrap_or_else(PoisonError::into_inner).uuid()
    }

    /// Asks the coordinator of the group. Where it cannot be asked, the reply says so in the request's own way. Dropping the
    /// future withdraws the request, if it was not taken in hand yet.
    pub async fn ask(&self, group_id: &str, request: GroupRequest) -> GroupReply {
        let partition = self.partition_of(group_id);
        self.ask_partition(partition, request).await
    }

    /// For what may wait for other members, as long as the group's own timers let it: `held` is kept until the coordinator
    /// has decided, and what the request brought no longer than that.
    pub async fn ask_and_wait(
        &self,
        group_id: &str,
        request: GroupRequest,
        held: Held,
    ) -> GroupReply {
        let emptied = request.emptied();
        let owed = self.holding(held).send(self.partition_of(group_id), request).await;
        let answer = match owed {
            Ok(owed) => owed.get().await.map_err(|_| ErrorCode::NotCoordinator),
            Err(code) => Err(code),
        };
        reply_to(&emptied, answer)
    }

    /// Asks for several groups at once; the replies are in the order of the requests.
    pub async fn ask_several(&self, requests: Vec<(String, GroupRequest)>) -> Vec<GroupReply> {
        let requests =
            requests.into_iter().map(|(group_id, request)| (self.partition_of(&group_id), request));
        self.ask_partitions(requests.collect()).await
    }

    /// One request to each coordinator, of those of the groups that are its own.
    pub async fn ask_each(
        &self,
        group_ids: Vec<String>,
        request: impl Fn(Vec<String>) -> GroupRequest,
    ) -> Vec<GroupReply> {
        let mut by_partition: Map<i32, Vec<String>> = Map::new();
        for group_id in group_ids {
            by_partition.entry(self.partition_of(&group_id)).or_default().push(group_id);
        }
        let requests =
            by_partition.into_iter().map(|(partition, group_ids)| (partition, request(group_ids)));
        self.ask_partitions(requests.collect()).await
    }

    /// Asks every coordinator of this node.
    pub async fn ask_all(&self, request: GroupRequest) -> Vec<GroupReply> {
        let shards = self.inner.shards.all();
        let requests = shards.into_iter().map(|(partition, _)| (partition, request.clone()));
        self.ask_partitions(requests.collect()).await
    }

    async fn ask_partitions(&self, requests: Vec<(i32, GroupRequest)>) -> Vec<GroupReply> {
        let mut owed = Vec::with_capacity(requests.len());
        for (partition, request) in requests {
            owed.push((self.send(partition, request.clone()).await, request));
        }
        let until = self.until();
        let mut replies = Vec::with_capacity(owed.len());
        for (owed, request) in owed {
            replies.push(self.reply_of(owed, request, until).await);
        }
        replies
    }

    async fn ask_partition(&self, partition: i32, request: GroupRequest) -> GroupReply {
        let owed = self.send(partition, request.clone()).await;
        self.reply_of(owed, request, self.until()).await
    }

    /// Why this node does not coordinate the group, which it should.
    pub fn failure(&self, group_id: &str) -> Option<String> {
        self.inner.shards.failure(self.partition_of(group_id))
    }

    /// Where there is no such topic yet, any will do: nobody leads it.
    fn partition_of(&self, group_id: &str) -> i32 {
        let image = self.inner.metadata.get();
        let topic = image.topics.by_name(CONSUMER_OFFSETS);
        let partitions = topic.map_or(0, |topic| topic.partitions.size());
        coordinator_partition(group_id, i32::try_from(partitions).unwrap_or(1).max(1))
    }

    async fn send(&self, partition: i32, request: GroupRequest) -> Result<Owed, ErrorCode> {
        let Some(shard) = self.inner.shards.get(partition) else {
            return Err(self.not_here(partition));
        };
        let (reply, answer) = Reply::new();
        let sent =
            shard.send(GroupShardMsg::Request { request, reply, held: self.held.clone() }).await;
        // It is being restarted, and loads then.
        sent.map_err(|_| ErrorCode::CoordinatorLoadInProgress)?;
        Ok(answer)
    }

    /// A coordinator that the metadata puts here is about to load, unless it cannot.
    fn not_here(&self, partition: i32) -> ErrorCode {
        if self.inner.shards.failure(partition).is_some() {
            return ErrorCode::NotCoordinator;
        }
        let image = self.inner.metadata.get();
        let topic = image.topics.by_name(CONSUMER_OFFSETS);
        match topic.and_then(|topic| topic.partition(partition)) {
            Some(partition) if partition.leader == self.inner.node.0 => {
                ErrorCode::CoordinatorLoadInProgress
            }
            _ => ErrorCode::NotCoordinator,
        }
    }

    /// When what is asked now is no longer waited for.
    fn until(&self) -> Duration {
        self.inner.world.mono() + self.inner.timeout
    }

    async fn reply_of(
        &self,
        owed: Result<Owed, ErrorCode>,
        request: GroupRequest,
        until: Duration,
    ) -> GroupReply {
        let world = &self.inner.world;
        let left = until.saturating_sub(world.mono());
        let answer = match owed {
            Ok(owed) => match world.timeout(left, owed.get()).await {
                Ok(answer) => answer.map_err(|_| ErrorCode::NotCoordinator),
                Err(_) => Err(ErrorCode::RequestTimedOut),
            },
            Err(code) => Err(code),
        };
        reply_to(&request, answer)
    }
}

fn reply_to(
    request: &GroupRequest,
    answer: Result<Result<GroupReply, Refused>, ErrorCode>,
) -> GroupReply {
    match answer {
        Ok(Ok(reply)) => reply,
        Ok(Err(refused)) => request.refuse(refused_code(refused)),
        Err(code) => request.refuse(code),
    }
}

fn refused_code(refused: Refused) -> ErrorCode {
    match refused {
        Refused::Loading => ErrorCode::CoordinatorLoadInProgress,
        Refused::NotLeader => ErrorCode::NotCoordinator,
        Refused::Overloaded => ErrorCode::CoordinatorNotAvailable,
        Refused::Write(code) => code,
        Refused::Failed => ErrorCode::UnknownServerError,
    }
}

#[cfg(test)]
mod tests {
    use disk::RealDisk;
    use machines::groups::ListFilter;
    use runtime::{
        Actor, ChildSpec, Cx, Failure, Handles, Outcome, Seed, Strategy, Supervisor,
        SupervisorArgs, spawn_root, watch,
    };

    use super::*;

    /// Takes requests and answers none.
    struct Mute(Vec<GroupShardMsg>);

    impl Actor for Mute {
        const KIND: &'static str = "mute";
        type Msg = GroupShardMsg;
        type Args = ();

        async fn start(_cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
            Ok(Mute(Vec::new()))
        }

        async fn handle(&mut self, _cx: &mut Cx<Self>, msg: GroupShardMsg) -> Outcome {
            self.0.push(msg);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn coordinators_that_do_not_answer_are_waited_for_together() {
        const LIMIT: Duration = Duration::from_secs(5);
        let world = World::real(Handles::current(), Arc::new(RealDisk::new()));
        let image = watch(MetadataImage::default()).1;
        let groups = Groups::new(world.clone(), NodeId(1), image, LIMIT);
        let children = (0..3).map(|partition| {
            let name = format!("mute-{partition}");
            let (seed, address) = Seed::of::<Mute>(name, ChildSpec::permanent(), ());
            groups.shards().insert(partition, address);
            seed
        });
        let children = children.collect();
        let args = SupervisorArgs::new(Strategy::OneForOne, children);
        let root = spawn_root::<Supervisor>(&world, "coordinators", args).unwrap();
        root.started().await.unwrap();
        let before = world.mono();
        let list = GroupRequest::List(ListFilter::default());
        let replies = groups.ask_all(list).await;
        assert!(world.mono() - before < LIMIT * 2);
        let error = ErrorCode::CoordinatorNotAvailable;
        assert_eq!(replies, vec![GroupReply::List { error, groups: Vec::new() }; 3]);
    }
}
