//! The group coordinators of a node: shards on `__consumer_offsets`.

use std::sync::Arc;
use std::time::Duration;

use machines::groups::{DeletedTopic, GroupReply, GroupRequest, GroupSettings};
use machines::metadata::{MetadataDelta, MetadataImage, TopicImage};
use model::node_config::GroupsConfig;
use model::topic::CONSUMER_OFFSETS;
use partitions::PartitionHandle;
use runtime::{Address, AskError, BoxFuture, Refused, World};
use wire::compression::{Codec, Compression};

use crate::group_coordinator::{GroupCoordinator, GroupShardMsg};
use crate::groups::Groups;
use crate::hosting::{Host, Hosting, HostingArgs, Shards};
use crate::partition_log::PartitionLog;

const CLEANUP_LIMIT: Duration = Duration::from_secs(10);
const CLEANUP_RETRY: Duration = Duration::from_millis(200);

pub type Coordinators = Hosting<GroupHost>;
pub type CoordinatorsArgs = HostingArgs<GroupHost>;

#[derive(Clone)]
pub struct GroupHost {
    pub config: GroupsConfig,
    pub groups: Groups,
}

impl Host for GroupHost {
    type Machine = GroupCoordinator;
    const KIND: &'static str = "coordinators";

    fn topic(&self) -> &str {
        CONSUMER_OFFSETS
    }

    fn prefix(&self) -> &str {
        "group"
    }

    fn log(&self, handle: Arc<PartitionHandle>, world: World) -> PartitionLog {
        let read_bytes = usize::try_from(self.config.load_buffer_bytes).unwrap_or(1);
        let codec = u8::try_from(self.config.compression_codec).ok().and_then(Codec::from_id);
        let compression = codec.map_or(Compression::NONE, Compression::of);
        PartitionLog::new(handle, world, read_bytes, compression)
    }

    fn machine(&self, log: &Arc<PartitionLog>) -> Arc<dyn Fn() -> GroupCoordinator + Send + Sync> {
        let (log, config) = (log.clone(), self.config.clone());
        Arc::new(move || {
            let max = usize::try_from(log.handle().config().max_message_bytes).unwrap_or(0);
            GroupCoordinator::new(GroupSettings::new(&config, max, log.compresses()))
        })
    }

    fn shards(&self) -> &Shards<GroupCoordinator> {
        self.groups.shards()
    }

    /// Offsets go with their topics.
    fn changed(
        &self,
        before: &MetadataImage,
        now: &MetadataImage,
        world: &World,
    ) -> Vec<BoxFuture<'static, ()>> {
        let deleted_topics = MetadataDelta::between(before, now).deleted_topics;
        if deleted_topics.is_empty() {
            return Vec::new();
        }
        let deleted =
            |topic: &Arc<TopicImage>| DeletedTopic { name: topic.name.clone(), id: topic.id };
        let topics: Vec<DeletedTopic> = deleted_topics.iter().map(deleted).collect();
        let shards = self.shards().all().into_iter();
        let delete = shards.map(|(partition, _)| {
            let (groups, world) = (self.groups.clone(), world.clone());
            let topics = topics.clone();
            Box::pin(delete_offsets(groups, partition, topics, world)) as BoxFuture<'static, ()>
        });
        delete.collect()
    }
}

/// Asks a shard until it has nothing left of the topics, or is no longer here.
async fn delete_offsets(groups: Groups, partition: i32, topics: Vec<DeletedTopic>, world: World) {
    let mut wait = CLEANUP_RETRY;
    while let Some(shard) = groups.shards().get(partition) {
        match ask_to_delete(&shard, topics.clone()).await {
            Ok(Ok(GroupReply::TopicsDeleted { done: false })) => {}
            Ok(Ok(_)) | Ok(Err(Refused::NotLeader)) => return,
            Ok(Err(_)) | Err(_) => {
                world.sleep(wait).await;
                wait = (wait * 2).min(CLEANUP_LIMIT);
            }
        }
    }
}

async fn ask_to_delete(
    shard: &Address<GroupShardMsg>,
    topics: Vec<DeletedTopic>,
) -> Result<Result<GroupReply, Refused>, AskError> {
    let request = GroupRequest::TopicsDeleted { topics };
    shard.ask(CLEANUP_LIMIT, |reply| GroupShardMsg::Request { request, reply, held: None }).await
}
