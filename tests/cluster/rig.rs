//! A cluster under load, what is done to its nodes, and the check of it all.

use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::gaps::{Gaps, ms};
use crate::group::{self, Group};
use crate::network::Network;
use crate::nodes::{BROKERS, Cluster, Shape};
use crate::producers::Producers;
use wire::metadata_response::MetadataResponsePartition as Partition;

use crate::{asks, history, wait_for};

const TOPIC: &str = "chaos";
const PARTITIONS: i32 = 6;

/// Which node it happens to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Victim {
    /// Leads partitions, and not the metadata log.
    Leader,
    /// Leads the metadata log.
    Controller,
    /// Any broker, by its place.
    Broker(usize),
}

pub struct Rig {
    pub cluster: Cluster,
    producers: Producers,
    group: Group,
    gaps: Gaps,
    next: usize,
    _turn: MutexGuard<'static, ()>,
}

/// One cluster at a time: what is measured should not wait for a neighbour.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often each is killed.
pub fn kills() -> usize {
    env::var("OTTLA_KILLS").ok().map_or(1, |text| text.parse().expect("OTTLA_KILLS"))
}

impl Rig {
    pub fn start(shape: Shape, network: Option<Network>, settings: &[&str]) -> Rig {
        let turn = turn();
        let cluster = Cluster::start(shape, network, settings);
        let at = cluster.broker_address(0);
        wait_for("the topic", || asks::create_topic(at, TOPIC, PARTITIONS).then_some(()));
        let bootstrap = cluster.bootstrap();
        let producers = Producers::start(&bootstrap, TOPIC, PARTITIONS);
        let group = Group::start(&bootstrap, TOPIC, PARTITIONS);
        let rig = Rig { cluster, producers, group, gaps: Gaps::default(), next: 0, _turn: turn };
        rig.wait_until_served();
        rig
    }

    /// Until each node sees each partition with a leader and all replicas in sync, those asked for first where that is wanted.
    pub fn wait_until_in_sync(&self, preferred: bool) {
        for node in 0..BROKERS {
            let at = self.cluster.broker_address(node);
            wait_for("all replicas to be in sync", || {
                let partitions = asks::partitions(at, TOPIC);
                let well = partitions.len() == PARTITIONS as usize
                    && partitions.iter().all(|p| {
                        p.isr_nodes.len() == BROKERS
                            && p.leader_id >= 0
                            && (!preferred || p.replica_nodes.first() == Some(&p.leader_id))
                    });
                if !well && preferred {
                    asks::elect_preferred(at);
                }
                well.then_some(())
            });
        }
    }

    /// Until each producer has an acknowledgement of each partition for something it sends from now on.
    pub fn wait_until_served(&self) {
        let begin = Instant::now();
        wait_for("acknowledgements", || self.producers.are_all_served_since(begin).then_some(()));
    }

    /// Leaderships are where they belong again, so that each broker has some.
    pub fn balance(&mut self) {
        let begin = Instant::now();
        self.wait_until_in_sync(true);
        self.wait_until_served();
        self.note("leaders moved back", None, begin);
    }

    pub fn pick(&mut self, victim: Victim) -> usize {
        let at = self.cluster.broker_address(0);
        let controller = wait_for("a controller", || asks::active_controller(at));
        let controller = self.cluster.index_of(controller);
        match victim {
            Victim::Controller => controller,
            Victim::Broker(index) => index,
            Victim::Leader => {
                self.next += 1;
                let (first, brokers) = (self.next, 0..BROKERS);
                let mut turns = brokers.map(|turn| (first + turn) % BROKERS);
                turns.find(|index| *index != controller).expect("another broker")
            }
        }
    }

    /// Which partitions a node leads.
    pub fn led_by(&self, node: usize) -> Vec<i32> {
        let (at, id) = (self.cluster.broker_address(node % BROKERS), self.cluster.id(node));
        let partitions = asks::partitions(at, TOPIC);
        let led = partitions.iter().filter(|p| p.leader_id == id);
        led.map(|p| p.partition_index).collect()
    }

    /// The longest gaps since then, of partitions that were led by the victim and of the others.
    pub fn note(&mut self, kind: &str, led: Option<&[i32]>, since: Instant) {
        let gaps = self.producers.longest_gaps(since);
        let most = |theirs: bool| {
            let is_theirs = |partition: &i32| led.is_some_and(|led| led.contains(partition));
            let gaps = gaps.iter().filter(|(partition, _)| is_theirs(partition) == theirs);
            gaps.map(|(_, gap)| *gap).max()
        };
        let kinds = [(most(true), "what it led"), (most(false), "what others led")];
        for (gap, whose) in kinds {
            let Some(gap) = gap else { continue };
            println!("{kind}, {whose}: {}", ms(gap));
            self.gaps.add(&format!("{kind}, {whose}"), gap);
        }
    }

    /// Until all other nodes see another one lead what this one led.
    fn wait_until_others_lead(&self, node: usize) {
        let id = self.cluster.id(node);
        for other in (0..BROKERS).filter(|other| *other != node) {
            let at = self.cluster.broker_address(other);
            wait_for("others to lead", || {
                let partitions = asks::partitions(at, TOPIC);
                let led = |p: &Partition| p.leader_id >= 0 && p.leader_id != id;
                (!partitions.is_empty() && partitions.iter().all(led)).then_some(())
            });
        }
    }

    /// A node's process ends, and starts again when all are served without it: leaderships are in their places before, and all
    /// replicas in sync after it.
    pub fn restart(&mut self, kind: &str, victim: Victim, end: fn(&mut Cluster, usize)) {
        self.balance();
        let node = self.pick(victim);
        let led = self.led_by(node);
        let begin = Instant::now();
        end(&mut self.cluster, node);
        self.wait_until_served();
        self.note(kind, Some(&led), begin);
        let begin = Instant::now();
        self.cluster.launch(node);
        self.wait_until_well();
        self.note(&format!("{kind}, its return"), None, begin);
    }

    /// A node is silent until others lead what it led. Clients that have asked it wait for its answer, maybe until it is back.
    pub fn silence(
        &mut self,
        kind: &str,
        victim: Victim,
        begin_it: fn(&Cluster, usize),
        end_it: fn(&Cluster, usize),
    ) {
        self.balance();
        let node = self.pick(victim);
        let led = self.led_by(node);
        let begin = Instant::now();
        begin_it(&self.cluster, node);
        self.wait_until_others_lead(node);
        end_it(&self.cluster, node);
        self.wait_until_well();
        self.note(kind, Some(&led), begin);
    }

    /// All nodes end and start again. What was sent before is answered before: of a batch that was written and not committed when all
    /// ended, Kafka's snapshot of producers may lack the sequences, so that its retry is refused.
    pub fn restart_all(&mut self) {
        self.producers.pause();
        let all = self.cluster.all();
        self.cluster.terminate(all.clone());
        all.for_each(|node| self.cluster.launch(node));
        self.producers.go_on();
        self.wait_until_well();
    }

    fn wait_until_well(&self) {
        self.cluster.wait_until_all_serve();
        self.wait_until_in_sync(false);
        self.wait_until_served();
    }

    /// Ends the load and checks the whole history.
    pub fn check(self) {
        self.wait_until_in_sync(false);
        let deliveries = self.producers.end();
        let bootstrap = self.cluster.bootstrap();
        let (records, ends) = group::read_all(&bootstrap, TOPIC, PARTITIONS);
        println!("{} records acknowledged, {} there", deliveries.len(), records.len());
        history::check(&deliveries, &records, &ends);
        self.group.wait_until_it_has(&records, &ends);
        self.group.end();
        for partition in 0..PARTITIONS {
            wait_for("all replicas to hold the same bytes", || {
                let log = |node| history::log_of(&self.cluster.data(node), TOPIC, partition);
                let first = log(0);
                let same = (1..BROKERS).all(|node| log(node) == first);
                (same && !first.is_empty()).then_some(())
            });
        }
        self.gaps.tell();
    }
}
