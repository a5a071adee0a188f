//! Where new replicas go: striped over the racks, and within each rack over its brokers, starting at random places.
//!
//! Leaders go round over the racks and the unfenced brokers; the other replicas follow the rack order, from each rack first its unfenced
//! brokers, then its fenced ones. Once every unfenced broker has led, all orders are shuffled, so that not always the same brokers
//! share a partition.

use std::collections::BTreeMap;

use super::random::Random;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsableBroker {
    pub id: i32,
    pub rack: Option<String>,
    pub fenced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("Invalid replication factor {0}: the replication factor must be positive.")]
    NotPositive(i32),
    #[error("All brokers are currently fenced, or have all their log directories cordoned.")]
    AllFenced,
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {brokers} broker(s) are registered or some brokers have all their log directories cordoned."
    )]
    TooFewBrokers { wanted: i32, brokers: usize },
}

#[derive(Default)]
struct BrokerList {
    brokers: Vec<i32>,
    index: usize,
    offset: usize,
    epoch: usize,
}

impl BrokerList {
    fn start(&mut self, random: &mut Random) {
        if !self.brokers.is_empty() {
            self.brokers.sort_unstable();
            self.offset = random.below(self.brokers.len());
        }
    }

    /// Each broker once an epoch, from one place further in every epoch.
    fn next(&mut self, epoch: usize) -> Option<i32> {
        let len = self.brokers.len();
        if len == 0 {
            return None;
        }
        if self.epoch != epoch {
            self.epoch = epoch;
            self.index = 0;
            self.offset = (self.offset + 1) % len;
        }
        if self.index >= len {
            return None;
        }
        let broker = self.brokers[(self.index + self.offset) % len];
        self.index += 1;
        Some(broker)
    }
}

#[derive(Default)]
struct Rack {
    unfenced: BrokerList,
    fenced: BrokerList,
}

struct RackList {
    racks: Vec<Rack>,
    brokers: usize,
    unfenced: usize,
    epoch: usize,
    offset: usize,
}

impl RackList {
    fn new(brokers: &[UsableBroker], random: &mut Random) -> RackList {
        // Brokers without a rack form one, before the named ones.
        let mut racks: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
        for broker in brokers {
            let rack = racks.entry(broker.rack.as_deref()).or_default();
            let list = if broker.fenced { &mut rack.fenced } else { &mut rack.unfenced };
            list.brokers.push(broker.id);
        }
        let mut racks: Vec<Rack> = racks.into_values().collect();
        for rack in &mut racks {
            rack.fenced.start(random);
            rack.unfenced.start(random);
        }
        let offset = random.below(racks.len());
        let unfenced = brokers.iter().filter(|b| !b.fenced).count();
        RackList { racks, brokers: brokers.len(), unfenced, epoch: 0, offset }
    }

    /// The caller saw to it that there is an unfenced broker, and brokers enough.
    fn place(&mut self, replication_factor: usize, random: &mut Random) -> Vec<i32> {
        if self.epoch == self.unfenced && self.unfenced > 1 {
            random.shuffle(&mut self.racks);
            for rack in &mut self.racks {
                random.shuffle(&mut rack.fenced.brokers);
                random.shuffle(&mut rack.unfenced.brokers);
            }
            self.epoch = 0;
        }
        let count = self.racks.len();
        self.offset %= count;
        let mut replicas = Vec::with_capacity(replication_factor);
        let mut leader_rack = None;
        for step in 0..count {
            let at = (self.offset + step) % count;
            if let Some(leader) = self.racks[at].unfenced.next(self.epoch) {
                replicas.push(leader);
                leader_rack = Some(at);
                break;
            }
        }
        let mut at = self.offset;
        while replicas.len() < replication_factor {
            if leader_rack == Some(at) {
                // The leader's rack had its turn already, in the first round.
                leader_rack = None;
            } else {
                let (rack, epoch) = (&mut self.racks[at], self.epoch);
                replicas.extend(rack.unfenced.next(epoch).or_else(|| rack.fenced.next(epoch)));
            }
            at = (at + 1) % count;
        }
        self.epoch += 1;
        self.offset += 1;
        replicas
    }
}

/// The replicas of each of so many new partitions, the preferred leader first.
pub fn place(
    brokers: &[UsableBroker],
    partitions: usize,
    replication_factor: i32,
    random: &mut Random,
) -> Result<Vec<Vec<i32>>, PlacementError> {
    let factor = usize::try_from(replication_factor)
        .ok()
        .filter(|factor| *factor > 0)
        .ok_or(PlacementError::NotPositive(replication_factor))?;
    let mut racks = RackList::new(brokers, random);
    if racks.unfenced == 0 {
        return Err(PlacementError::AllFenced);
    }
    if factor > racks.brokers {
        return Err(PlacementError::TooFewBrokers {
            wanted: replication_factor,
            brokers: racks.brokers,
        });
    }
    Ok((0..partitions).map(|_| racks.place(factor, random)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[(i32, Option<&str>, bool)]) -> Vec<UsableBroker> {
        let of = |(id, rack, fenced): &(i32, Option<&str>, bool)| UsableBroker {
            id: *id,
            rack: rack.map(str::to_owned),
            fenced: *fenced,
        };
        racks.iter().map(of).collect()
    }

    #[test]
    fn leaders_are_spread_evenly_and_no_broker_holds_a_partition_twice() {
        let five = brokers(&[
            (0, None, false),
            (1, None, false),
            (2, None, false),
            (3, None, false),
            (4, None, false),
        ]);
        for seed in 0..50 {
            let placed = place(&five, 100, 3, &mut Random::new(seed)).unwrap();
            let mut led = BTreeMap::new();
            for replicas in &placed {
                let mut distinct = replicas.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), 3, "{replicas:?}");
                *led.entry(replicas[0]).or_insert(0) += 1;
            }
            assert!(led.values().all(|n| *n == 20), "{led:?}");
        }
    }

    #[test]
    fn every_partition_reaches_every_rack() {
        let racks = [
            (0, Some("a"), false),
            (1, Some("a"), false),
            (2, Some("b"), false),
            (3, Some("b"), false),
            (4, Some("c"), false),
        ];
        let six = brokers(&racks);
        let rack_of = |id: i32| racks.iter().find(|r| r.0 == id).unwrap().1;
        for seed in 0..50 {
            for replicas in place(&six, 30, 3, &mut Random::new(seed)).unwrap() {
                let mut seen: Vec<_> = replicas.iter().map(|id| rack_of(*id)).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), 3, "{replicas:?}");
            }
        }
    }

    #[test]
    fn a_fenced_broker_follows_but_does_not_lead() {
        let three = brokers(&[(0, None, true), (1, None, false), (2, None, true)]);
        for seed in 0..20 {
            for replicas in place(&three, 10, 3, &mut Random::new(seed)).unwrap() {
                assert_eq!(replicas[0], 1);
                assert_eq!(replicas.len(), 3);
            }
        }
    }

    #[test]
    fn a_rack_gives_its_unfenced_brokers_first() {
        let four = brokers(&[
            (0, Some("a"), false),
            (1, Some("a"), true),
            (2, Some("b"), false),
            (3, Some("b"), true),
        ]);
        for seed in 0..20 {
            for mut replicas in place(&four, 10, 2, &mut Random::new(seed)).unwrap() {
                replicas.sort_unstable();
                assert_eq!(replicas, [0, 2]);
            }
        }
    }

    #[test]
    fn what_cannot_be_placed() {
        let random = &mut Random::new(1);
        let one = brokers(&[(0, None, false)]);
        assert_eq!(place(&one, 1, 0, random), Err(PlacementError::NotPositive(0)));
        assert_eq!(
            place(&one, 1, 2, random),
            Err(PlacementError::TooFewBrokers { wanted: 2, brokers: 1 })
        );
        assert_eq!(
            place(&brokers(&[(0, None, true)]), 1, 1, random),
            Err(PlacementError::AllFenced)
        );
        assert_eq!(place(&[], 1, 1, random), Err(PlacementError::AllFenced));
    }
}
