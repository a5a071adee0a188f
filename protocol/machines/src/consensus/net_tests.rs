//! Machines against each other over a net that delays, loses, repeats and splits, on disks that forget what was not flushed. What must
//! hold is looked at after every step: one leader an epoch, one vote an epoch, what is committed stays, the high watermark goes on.

mod deliver;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{Now, Uuid};

use super::changes_tests::config;
use super::*;
use crate::metadata::LevelRange;

const TROUBLE_MS: u64 = 60_000;
const CALM_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    epoch: i32,
    value: u64,
    /// Who votes from here on, a bit for each node.
    voters: Option<u16>,
}

#[derive(Debug, Clone)]
enum Message {
    Vote { from: usize, request: VoteRequest },
    Voted { from: usize, answer: VoteAnswer },
    Lost { by: usize },
    Leads { from: usize, epoch: i32 },
    Resigned { from: usize, epoch: i32, successors: Vec<ReplicaKey> },
    Taken { from: usize },
    Fetch { from: usize, number: u64, epoch: i32, offset: usize, last_epoch: i32 },
    Fetched { number: u64, leader_id: Option<i32>, epoch: i32, found: Option<Found> },
    Unanswered { number: u64 },
    Refused { by: usize, number: u64, epoch: i32 },
    Versions { of: usize },
    Flushed { life: u64, end: usize },
    Wake { life: u64 },
    Stop { life: u64 },
    Restart,
}

#[derive(Debug, Clone)]
struct Found {
    diverging: Option<OffsetAndEpoch>,
    entries: Vec<Entry>,
    high_watermark: i64,
}

struct Node {
    machine: Option<Consensus>,
    life: u64,
    log: Vec<Entry>,
    durable: usize,
    state: Option<QuorumState>,
    fetching: Option<u64>,
    high_watermark: i64,
    votes: BTreeMap<i32, ReplicaKey>,
    /// It may have seen nothing yet.
    is_newcomer: bool,
}

struct World {
    random: u64,
    /// Nodes notice that the process of their leader is gone.
    fast: bool,
    /// Voters come and go from the beginning; else once the quorum is upgraded.
    dynamic: bool,
    now: u64,
    nodes: Vec<Node>,
    queue: BTreeMap<(u64, u64), (usize, Message)>,
    sent: u64,
    cut: BTreeSet<(usize, usize)>,
    calm: bool,
    /// One that does not count as a voter.
    observer: Option<usize>,
    leaders: BTreeMap<i32, usize>,
    committed: Vec<Entry>,
}

fn key(index: usize) -> ReplicaKey {
    ReplicaKey { id: index as i32 + 1, directory_id: Uuid::from_u128(7 + index as u128) }
}

fn voter(key: ReplicaKey) -> Voter {
    let kraft_versions = LevelRange { min: 0, max: 1 };
    Voter { key, endpoints: Vec::new(), kraft_versions }
}

fn end_of(log: &[Entry], epoch: i32) -> OffsetAndEpoch {
    let end = log.partition_point(|entry| entry.epoch <= epoch);
    let latest = log.last().map_or(0, |entry| entry.epoch);
    match log[..end].last() {
        _ if epoch > latest => OffsetAndEpoch { epoch: latest, offset: log.len() as i64 },
        Some(entry) => OffsetAndEpoch { epoch: entry.epoch, offset: end as i64 },
        None => OffsetAndEpoch { epoch, offset: end as i64 },
    }
}

impl Node {
    fn end(&self) -> OffsetAndEpoch {
        let epoch = self.log.last().map_or(0, |entry| entry.epoch);
        OffsetAndEpoch { epoch, offset: self.log.len() as i64 }
    }

    fn leads(&self) -> bool {
        self.machine.as_ref().is_some_and(Consensus::is_leader)
    }
}

impl World {
    fn new(seed: u64, voters: usize, observers: usize) -> World {
        let node = |_| Node {
            machine: None,
            life: 0,
            log: Vec::new(),
            durable: 0,
            state: None,
            fetching: None,
            high_watermark: 0,
            votes: BTreeMap::new(),
            is_newcomer: seed % 4 <= 1,
        };
        let mut world = World {
            random: seed,
            fast: seed % 2 == 1,
            dynamic: seed % 4 > 1,
            now: 0,
            nodes: (0..voters + observers).map(node).collect(),
            queue: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            calm: false,
            observer: (observers > 0).then_some(voters),
            leaders: BTreeMap::new(),
            committed: Vec::new(),
        };
        (0..voters + observers).for_each(|index| world.boot(index));
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn voters(&self) -> usize {
        self.observer.unwrap_or(self.nodes.len())
    }

    fn at(&mut self, after: u64, to: usize, message: Message) {
        self.sent += 1;
        self.queue.insert((self.now + after, self.sent), (to, message));
    }

    /// Over the net: late, lost, or twice.
    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.cut.contains(&(from, to)) || !self.calm && self.below(20) == 0 {
            return self.lose(from, to, message);
        }
        let slow = !self.calm && self.below(30) == 0;
        let delay = 1 + self.below(if slow { 3000 } else { 20 });
        if !self.calm && self.below(50) == 0 {
            let again = 1 + self.below(4000);
            self.at(again, to, message.clone());
        }
        self.at(delay, to, message);
    }

    /// Whoever asked learns some time that there is no answer.
    fn lose(&mut self, from: usize, to: usize, message: Message) {
        let told = match message {
            Message::Vote { .. } | Message::Resigned { .. } => (from, Message::Lost { by: to }),
            Message::Fetch { number, .. } => (from, Message::Unanswered { number }),
            Message::Fetched { number, .. } => (to, Message::Unanswered { number }),
            Message::Voted { .. } | Message::Taken { .. } => (to, Message::Lost { by: from }),
            _ => return,
        };
        let after = 20 + self.below(2000);
        self.at(after, told.0, told.1);
    }

    fn boot(&mut self, index: usize) {
        let jitter_seed = self.below(u64::MAX);
        let machine = Consensus::new(ConsensusConfig {
            fast_failover: self.fast,
            is_newcomer: self.nodes[index].is_newcomer,
            jitter_seed,
            ..config(voter(key(index)))
        });
        let node = &mut self.nodes[index];
        node.life += 1;
        node.machine = Some(machine);
        node.fetching = None;
        node.high_watermark = 0;
        let (state, log_end) = (node.state, node.end());
        let voters = self.voters_of(index);
        let start = Event::Start { state, log_end, voters };
        self.step(index, start);
    }

    fn voters_of(&self, index: usize) -> VotersAt {
        let log = &self.nodes[index].log;
        let written = log.iter().rposition(|entry| entry.voters.is_some());
        let all_before = &log[..written.unwrap_or(0)];
        let before = all_before.iter().rev().find_map(|entry| entry.voters);
        let first = (1 << self.voters()) - 1;
        let bits = written.and_then(|at| log[at].voters).unwrap_or(first);
        // A fixed quorum's log names its voters once it is upgraded.
        let dynamic = self.dynamic || written.is_some();
        let named = |index| match dynamic {
            true => voter(key(index)),
            false => Voter {
                kraft_versions: LevelRange { min: 0, max: 0 },
                ..voter(ReplicaKey { directory_id: Uuid::ZERO, ..key(index) })
            },
        };
        let set = |bits: u16| {
            let of_bits = (0..self.nodes.len()).filter(move |index| bits & 1 << index != 0);
            VoterSet::new(of_bits.map(named))
        };
        VotersAt {
            voters: set(bits),
            offset: written.map(|at| at as i64).or(self.dynamic.then_some(-1)),
            kraft_version: i16::from(dynamic),
            before: (written.filter(|_| self.dynamic || before.is_some()))
                .map(|_| set(before.unwrap_or(first)))
                .unwrap_or_default(),
        }
    }

    fn crash(&mut self, index: usize) {
        let lost = self.nodes[index].log.len() - self.nodes[index].durable;
        let kept = self.nodes[index].durable + self.below(lost as u64 + 1) as usize;
        let node = &mut self.nodes[index];
        node.machine = None;
        node.log.truncate(kept);
        // What it finds when it starts, it flushes first.
        node.durable = kept;
        let down = 1 + self.below(5000);
        self.at(down, index, Message::Restart);
    }

    fn step(&mut self, index: usize, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now::new(Duration::from_millis(self.now), self.now as i64);
            let mut effects = Vec::new();
            let Some(machine) = &mut self.nodes[index].machine else { return };
            machine.step(now, event, &mut effects);
            self.nodes[index].is_newcomer = machine.is_newcomer();
            for effect in effects {
                events.extend(self.perform(index, effect));
            }
        }
        self.fetch(index);
    }

    fn perform(&mut self, index: usize, effect: Effect) -> Vec<Event> {
        let peer = |to: ReplicaKey| to.id as usize - 1;
        match effect {
            Effect::PersistQuorumState(state) => self.persist(index, state),
            Effect::BecameLeader { epoch, start_offset } => {
                assert_eq!(start_offset, self.nodes[index].log.len() as i64);
                let other = self.leaders.insert(epoch, index);
                assert!(other.is_none(), "two leaders in epoch {epoch}: {other:?} and {index}");
            }
            Effect::AppendControl { epoch, records } => {
                let named = records.iter().find_map(|record| match record {
                    ControlRecord::Voters(voters) => Some(VoterSet::from_record(voters)),
                    _ => None,
                });
                let bits = named.as_ref().map(|named| {
                    named.iter().fold(0, |bits, voter| bits | 1 << (voter.key.id - 1))
                });
                let appended = self.append(index, epoch, bits);
                let voters = self.voters_of(index);
                let changed = bits.map(|_| Event::VotersChanged { voters });
                return [appended].into_iter().chain(changed).collect();
            }
            Effect::AskVersions { of, .. } => {
                let after = 1 + self.below(100);
                self.at(after, index, Message::Versions { of: of.id as usize - 1 });
            }
            Effect::AdvanceHighWatermark { offset } => self.committed_to(index, offset),
            Effect::AskForVote { to, request } => {
                self.send(index, peer(to), Message::Vote { from: index, request });
            }
            Effect::AnswerVote { ticket, answer } => {
                self.send(index, ticket as usize, Message::Voted { from: index, answer });
            }
            Effect::AnnounceLeader { to, epoch } => {
                self.send(index, peer(to), Message::Leads { from: index, epoch });
            }
            Effect::AnnounceResignation { to, epoch, successors } => {
                let message = Message::Resigned { from: index, epoch, successors };
                self.send(index, peer(to), message);
            }
            Effect::WakeAt(at) => {
                let life = self.nodes[index].life;
                let after = (at.as_millis() as u64).saturating_sub(self.now);
                self.at(after, index, Message::Wake { life });
            }
            Effect::LeaderChanged { .. } | Effect::AnswerChange { .. } => {}
        }
        Vec::new()
    }

    fn persist(&mut self, index: usize, state: QuorumState) {
        let node = &self.nodes[index];
        let version = node.machine.as_ref().map_or(0, Consensus::kraft_version);
        let node = &mut self.nodes[index];
        assert!(node.state.is_none_or(|old| old.epoch <= state.epoch), "an epoch went back");
        if let Some(voted) = state.voted {
            let before = node.votes.insert(state.epoch, voted);
            assert!(before.is_none_or(|b| b.id == voted.id), "two votes in {}", state.epoch);
        }
        // The file of a fixed quorum names no directories.
        node.state = Some(QuorumState::from_data(&state.to_data(version, &VoterSet::default()).0));
    }

    fn append(&mut self, index: usize, epoch: i32, voters: Option<u16>) -> Event {
        let value = self.below(u64::MAX);
        let node = &mut self.nodes[index];
        node.log.push(Entry { epoch, value, voters });
        let end = node.end();
        self.flush(index);
        Event::Appended { end }
    }

    fn flush(&mut self, index: usize) {
        let (life, end) = (self.nodes[index].life, self.nodes[index].log.len());
        let after = 1 + self.below(30);
        self.at(after, index, Message::Flushed { life, end });
    }

    fn committed_to(&mut self, index: usize, offset: i64) {
        let node = &mut self.nodes[index];
        assert!(offset > node.high_watermark, "a high watermark went back");
        node.high_watermark = offset;
        let told = &node.log[..offset as usize];
        for (at, entry) in told.iter().enumerate() {
            match self.committed.get(at) {
                Some(committed) => assert_eq!(committed, entry, "node {index}, offset {at}"),
                None => self.committed.push(*entry),
            }
        }
    }

    /// A follower fetches what it has on disk to its end, one fetch at a time.
    fn fetch(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(machine) = &node.machine else { return };
        if node.fetching.is_some() || node.durable < node.log.len() || machine.is_leader() {
            return;
        }
        let to = match machine.role() {
            // Nobody tells an observer that there is another leader.
            Role::Follower { deadline: None, .. } if self.sent.is_multiple_of(3) => None,
            Role::Follower { .. } => machine.leader_id().map(|id| id as usize - 1),
            Role::Unattached { .. } => None,
            _ => return,
        };
        let (epoch, end) = (machine.epoch(), node.end());
        let to = to.unwrap_or_else(|| self.below(self.nodes.len() as u64) as usize);
        let to = if to == index { (to + 1) % self.nodes.len() } else { to };
        let number = self.sent;
        self.nodes[index].fetching = Some(number);
        let (offset, last_epoch) = (end.offset as usize, end.epoch);
        let message = Message::Fetch { from: index, number, epoch, offset, last_epoch };
        self.send(index, to, message);
    }

    /// One of the things that may happen.
    fn trouble(&mut self) {
        let nodes = self.nodes.len() as u64;
        let (one, other) = (self.below(nodes) as usize, self.below(nodes) as usize);
        match self.below(12) {
            0 if self.nodes[one].machine.is_some() => self.crash(one),
            1 => drop(self.cut.insert((one, other))),
            2 => {
                for peer in 0..self.nodes.len() {
                    self.cut.extend([(one, peer), (peer, one)]);
                }
            }
            3 | 4 => self.cut.clear(),
            5 if self.nodes[one].leads() => {
                self.step(one, Event::Resign);
                let stops = 1 + self.below(5000);
                self.at(stops, one, Message::Stop { life: self.nodes[one].life });
            }
            6 => self.change_voters(other),
            _ => self.propose(),
        }
    }

    fn change_voters(&mut self, node: usize) {
        for index in 0..self.nodes.len() {
            let Some(machine) = self.nodes[index].machine.as_ref().filter(|m| m.is_leader()) else {
                continue;
            };
            let key = key(node);
            if machine.kraft_version() == 0 {
                self.upgrade(index);
                continue;
            }
            let change = if machine.voters().is_voter(key) {
                VoterChange::Remove { key }
            } else {
                let ack_when_committed = self.sent.is_multiple_of(2);
                VoterChange::Add { key, endpoints: Vec::new(), ack_when_committed }
            };
            self.step(index, Event::ChangeAsked { ticket: 1_000, change });
        }
    }

    /// Some voters say who they are; once all have, their quorum is to be one whose voters change.
    fn upgrade(&mut self, leader: usize) {
        for node in 0..self.nodes.len() {
            if self.below(3) > 0 {
                let update = VoterChange::Update { voter: voter(key(node)) };
                self.step(leader, Event::ChangeAsked { ticket: 1_000, change: update });
            }
        }
        let upgrade = VoterChange::Upgrade { level: 1, validate_only: false };
        self.step(leader, Event::ChangeAsked { ticket: 1_000, change: upgrade });
    }

    fn propose(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(machine) = &self.nodes[index].machine else { continue };
            if machine.is_leader() {
                let epoch = machine.epoch();
                let appended = self.append(index, epoch, None);
                self.step(index, appended);
            }
        }
    }

    fn run_until(&mut self, until: u64) {
        while self.now < until {
            let next = self.queue.first_key_value().map_or(u64::MAX, |((at, _), _)| *at);
            let trouble = self.now + 1 + self.below(200);
            if next <= trouble {
                let Some(((at, _), (to, message))) = self.queue.pop_first() else { return };
                self.now = self.now.max(at);
                self.deliver(to, message);
            } else {
                self.now = trouble;
                if self.calm { self.propose() } else { self.trouble() }
            }
        }
    }
}

fn run(seed: u64, voters: usize, observers: usize) -> (usize, usize, bool) {
    let mut world = World::new(seed, voters, observers);
    world.run_until(TROUBLE_MS);
    (world.calm, world.cut) = (true, BTreeSet::new());
    let before = world.committed.len();
    world.run_until(TROUBLE_MS + CALM_MS);
    assert!(world.committed.len() > before + 10, "nothing is committed in calm times");
    for (index, node) in world.nodes.iter().enumerate() {
        assert!(node.high_watermark > before as i64, "node {index} is left behind");
    }
    let upgraded = !world.dynamic && world.committed.iter().any(|entry| entry.voters.is_some());
    (world.leaders.len(), world.committed.len(), upgraded)
}

#[test]
fn what_is_committed_stays_through_crashes_and_splits() {
    let (mut leaders, mut committed, mut upgrades) = (0, 0, 0);
    for seed in 0..60 {
        let voters = [3, 3, 4, 5, 2][seed as usize % 5];
        let observers = usize::from(seed % 3 == 0 || seed % 4 > 1);
        let run = std::panic::catch_unwind(|| run(seed, voters, observers));
        let (led, kept, upgraded) = run.unwrap_or_else(|_| panic!("seed {seed}: see above"));
        leaders += led;
        committed += kept;
        upgrades += usize::from(upgraded);
    }
    assert!(leaders > 250, "{leaders} elections were won: too few to mean much");
    assert!(upgrades > 20, "{upgrades} quorums were upgraded: too few to mean much");
    assert!(committed > 5_000, "{committed} entries were committed: too few to mean much");
}
