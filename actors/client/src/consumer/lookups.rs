//! What a poll has to know before it can fetch, found out by tasks that outlive it: no poll waits longer than it was told to, and a
//! broker that is slower than any of them is heard all the same.

use model::TopicPartition;
use runtime::{Bulkhead, Map};

use super::positions::{self, Sources};
use super::{ConsumeError, Consumer, Event, Position, Start};
use crate::metadata::MetadataError;

impl Consumer {
    pub(super) fn sources(&self) -> Sources {
        Sources {
            client: self.client.clone(),
            connections: self.connections.clone(),
            config: self.config.clone(),
            offsets: self.offsets.clone(),
        }
    }

    pub(super) fn find_positions(&mut self) {
        let now = self.client.world().mono();
        let paused = |partition: &TopicPartition| {
            self.paused_until.get(partition).is_some_and(|until| *until > now)
        };
        let unknown: Vec<(TopicPartition, Start)> = self
            .positions
            .iter()
            .filter_map(|(partition, position)| match position {
                Position::Unknown(start)
                    if !paused(partition) && !self.sought.contains(partition) =>
                {
                    Some((partition.clone(), *start))
                }
                _ => None,
            })
            .collect();
        if unknown.is_empty() {
            return;
        }
        self.sought.extend(unknown.iter().map(|(partition, _)| partition.clone()));
        let (sources, to) = (self.sources(), self.events.0.clone());
        let task = async move {
            let found = positions::find(&sources, &unknown).await;
            let _ = to.send(Event::Found { wanted: unknown, found });
        };
        drop(self.client.world().spawn(Bulkhead::Network, task));
    }

    /// The offsets are known of those that were not moved meanwhile.
    pub(super) fn begin_at(
        &mut self,
        wanted: Vec<(TopicPartition, Start)>,
        found: Result<Map<TopicPartition, i64>, ConsumeError>,
    ) -> Result<(), ConsumeError> {
        for (partition, _) in &wanted {
            self.sought.remove(partition);
        }
        match found {
            Ok(found) => {
                for (partition, start) in wanted {
                    if let (Some(Position::Unknown(still)), Some(offset)) =
                        (self.positions.get(&partition), found.get(&partition))
                        && *still == start
                    {
                        self.positions.insert(partition, Position::At(*offset));
                    }
                }
                Ok(())
            }
            Err(error) if positions::retriable(&error) => {
                wanted.iter().for_each(|(partition, _)| self.pause(partition, error.clone()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What came of asking for a topic; where it is known now, it is in the cache.
    pub(super) fn learn(
        &mut self,
        name: &str,
        found: Result<(), MetadataError>,
    ) -> Result<(), ConsumeError> {
        self.asked.remove(name);
        match found {
            Err(MetadataError::Request(error)) if error.retriable() => {
                let of_it = self.positions.keys().filter(|partition| partition.topic == name);
                let of_it: Vec<_> = of_it.cloned().collect();
                let why = ConsumeError::from(MetadataError::Request(error));
                of_it.iter().for_each(|partition| self.pause(partition, why.clone()));
                Ok(())
            }
            found => Ok(found?),
        }
    }

    pub(super) fn ask_for(&mut self, name: &str) {
        if !self.asked.insert(name.to_owned()) {
            return;
        }
        let (client, to, name) = (self.client.clone(), self.events.0.clone(), name.to_owned());
        let task = async move {
            let found = client.topic(&name).await.map(drop);
            let _ = to.send(Event::Topic { name, found });
        };
        drop(self.client.world().spawn(Bulkhead::Network, task));
    }
}
