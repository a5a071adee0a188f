//! The wires between nodes: segments in a heap by the time they arrive, in order within a direction of a connection.

mod trouble;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use disk::Crash;

use super::trace::{Trace, add_bytes};
use crate::map::Map;
use crate::world::RandomStream;

/// What the wires between nodes are like.
#[derive(Debug, Clone, Copy)]
pub struct LinkOptions {
    /// A segment takes at least this long; a tick, one millisecond, is the least there can be.
    pub latency: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// One segment in this many is lost, and sent again after [`retransmit`](Self::retransmit); 0 loses none.
    pub loss_one_in: u64,
    pub retransmit: Duration,
    /// Bytes written and not yet read by the peer, beyond which a writer waits.
    pub window_bytes: usize,
}

impl Default for LinkOptions {
    fn default() -> Self {
        LinkOptions {
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(4),
            loss_one_in: 100,
            retransmit: Duration::from_millis(200),
            window_bytes: 64 << 10,
        }
    }
}

/// Which life of which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) life: u64,
}

/// One end of a connection: 0 connected, 1 accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) conn: u64,
    pub(super) side: usize,
}

impl End {
    pub(super) fn peer(self) -> End {
        End { conn: self.conn, side: 1 - self.side }
    }
}

#[derive(Debug)]
pub(super) struct Side {
    pub(super) at: Place,
    pub(super) address: SocketAddr,
    /// Somebody holds its handle, or will take it from a listener.
    pub(super) open: bool,
    /// Of side 1: the connector's first segment is still on its way.
    awaited: bool,
    pub(super) established: bool,
    pub(super) inbox: VecDeque<Bytes>,
    pub(super) ended: bool,
    pub(super) reset: bool,
    pub(super) refused: bool,
    pub(super) fin_sent: bool,
    pub(super) unread_by_peer: usize,
    /// Bytes that its reader took and its peer was not told of.
    pub(super) taken: usize,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// What it sent last arrives then; nothing it sends later arrives before.
    last_arrival_us: u64,
}

impl Side {
    fn new(at: Place, address: SocketAddr) -> Side {
        Side {
            at,
            address,
            open: true,
            awaited: false,
            established: false,
            inbox: VecDeque::new(),
            ended: false,
            reset: false,
            refused: false,
            fin_sent: false,
            unread_by_peer: 0,
            taken: 0,
            reader: None,
            writer: None,
            last_arrival_us: 0,
        }
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// What travels from one end to the other.
#[derive(Debug)]
pub(super) enum Segment {
    Connect,
    Accepted,
    Refused,
    Data(Bytes),
    /// The reader took so many bytes: the writer may send more.
    Taken(usize),
    End,
    Reset,
}

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) life: u64,
    pub(super) backlog: usize,
    pub(super) queue: VecDeque<End>,
    pub(super) waker: Option<Waker>,
}

struct NetNode {
    name: String,
    life: u64,
    up: bool,
    /// The machine is up, so that its kernel answers for a process that is not.
    machine_up: bool,
    listening: Map<u16, Listening>,
    next_port: u16,
    /// Something has reached it since it was last asked.
    touched: bool,
}

pub(super) struct NetState {
    options: LinkOptions,
    random: RandomStream,
    trace: Trace,
    now_us: u64,
    nodes: Vec<NetNode>,
    conns: Map<u64, [Side; 2]>,
    next_conn: u64,
    flying: Map<(u64, u64), (End, Segment)>,
    next_seq: u64,
    blocked: BTreeSet<(usize, usize)>,
    /// By how much longer than others a segment between two nodes may take, microseconds; the lower number first.
    slow: Map<(usize, usize), u64>,
    /// Segments of blocked directions, in the order they were sent.
    held: Vec<(End, Segment)>,
}

pub(super) struct Network(Mutex<NetState>);

impl Network {
    pub(super) fn new(options: LinkOptions, random: RandomStream, trace: Trace) -> Network {
        Network(Mutex::new(NetState {
            options,
            random,
            trace,
            now_us: 0,
            nodes: Vec::new(),
            conns: Map::new(),
            next_conn: 0,
            flying: Map::new(),
            next_seq: 0,
            blocked: BTreeSet::new(),
            slow: Map::new(),
            held: Vec::new(),
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, NetState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_node(&self, name: &str) {
        self.state().nodes.push(NetNode {
            name: name.to_owned(),
            life: 0,
            up: false,
            machine_up: true,
            listening: Map::new(),
            next_port: FIRST_FREE_PORT,
            touched: false,
        });
    }

    pub(super) fn begin_life(&self, node: usize) {
        let node = &mut self.state().nodes[node];
        node.life += 1;
        node.up = true;
        node.machine_up = true;
    }

    /// From now on the handles of this life do nothing. A kernel that lives tells the peers; a dead machine does not.
    pub(super) fn end_life(&self, node: usize, how: Crash) {
        let mut state = self.state();
        state.nodes[node].up = false;
        state.nodes[node].machine_up = how == Crash::Kill;
        state.nodes[node].listening.clear();
        for end in state.ends_of(|side, _| side.at.node == node && side.open) {
            if how == Crash::Kill {
                state.send(end, Segment::Reset);
            }
            state.abandon(end);
        }
    }

    /// Delivers what has arrived by now; which nodes something has reached since the last call is said in `touched`.
    pub(super) fn deliver(&self, now_ms: u64, touched: &mut Vec<bool>) {
        let mut state = self.state();
        state.now_us = now_ms * 1000;
        while let Some(entry) = state.flying.first_entry() {
            if entry.key().0 > now_ms * 1000 {
                break;
            }
            let (from, segment) = entry.remove();
            state.arrive(from, segment);
        }
        touched.clear();
        touched.extend(state.nodes.iter_mut().map(|node| std::mem::take(&mut node.touched)));
    }
}

const FIRST_FREE_PORT: u16 = 32768;

impl NetState {
    pub(super) fn is_alive(&self, at: Place) -> bool {
        self.nodes.get(at.node).is_some_and(|node| node.up && node.life == at.life)
    }

    pub(super) fn life(&self, node: usize) -> Place {
        Place { node, life: self.nodes[node].life }
    }

    pub(super) fn window_bytes(&self) -> usize {
        self.options.window_bytes
    }

    /// The node that a name means to another: its name, its address, or a name for oneself.
    pub(super) fn resolve(&self, asking: usize, host: &str) -> Option<usize> {
        if matches!(host, "" | "localhost" | "0.0.0.0" | "::" | "127.0.0.1" | "::1") {
            return Some(asking);
        }
        let named = self.nodes.iter().position(|node| node.name == host);
        named.or_else(|| {
            let address: IpAddr = host.parse().ok()?;
            (0..self.nodes.len()).find(|node| ip(*node) == address)
        })
    }

    pub(super) fn side(&mut self, end: End) -> Option<&mut Side> {
        Some(&mut self.conns.get_mut(&end.conn)?[end.side])
    }

    pub(super) fn free_port(&mut self, node: usize) -> u16 {
        let node = &mut self.nodes[node];
        loop {
            let port = node.next_port;
            node.next_port = port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
            if !node.listening.contains_key(&port) {
                return port;
            }
        }
    }

    /// False where the port is taken.
    pub(super) fn listen(&mut self, at: Place, port: u16, backlog: usize) -> bool {
        let listening = Listening { life: at.life, backlog, queue: VecDeque::new(), waker: None };
        let ports = &mut self.nodes[at.node].listening;
        if ports.contains_key(&port) {
            return false;
        }
        ports.insert(port, listening);
        true
    }

    pub(super) fn listening(&mut self, at: Place, port: u16) -> Option<&mut Listening> {
        let listening = self.nodes.get_mut(at.node)?.listening.get_mut(&port)?;
        (listening.life == at.life).then_some(listening)
    }

    pub(super) fn stop_listening(&mut self, at: Place, port: u16) {
        if self.is_alive(at)
            && let Some(gone) = self.nodes[at.node].listening.remove(&port)
        {
            for end in gone.queue {
                self.send(end, Segment::Reset);
                self.abandon(end);
            }
        }
    }

    pub(super) fn connect(&mut self, from: Place, to: usize, port: u16) -> End {
        let own = SocketAddr::new(ip(from.node), self.free_port(from.node));
        let theirs = Side::new(self.life(to), SocketAddr::new(ip(to), port));
        self.next_conn += 1;
        let end = End { conn: self.next_conn, side: 0 };
        self.conns.insert(
            end.conn,
            [Side::new(from, own), Side { open: false, awaited: true, ..theirs }],
        );
        self.send(end, Segment::Connect);
        end
    }

    /// Sends from one end to the other.
    pub(super) fn send(&mut self, from: End, segment: Segment) {
        let Some(route) = self.route(from) else { return };
        if self.blocked.contains(&route) {
            self.held.push((from, segment));
            return;
        }
        let micros = |time: Duration| time.as_micros() as u64;
        let mut takes = micros(self.options.latency).max(1000);
        takes += self.random.below(micros(self.options.jitter) + 1);
        while self.options.loss_one_in > 0 && self.random.below(self.options.loss_one_in) == 0 {
            takes += micros(self.options.retransmit);
        }
        if let Some(by) = self.slow.get(&(route.0.min(route.1), route.0.max(route.1))).copied() {
            takes += self.random.below(by + 1);
        }
        let arrives = self.now_us + takes;
        let Some(side) = self.side(from) else { return };
        side.last_arrival_us = arrives.max(side.last_arrival_us);
        let key = (side.last_arrival_us, self.next_seq);
        self.next_seq += 1;
        self.flying.insert(key, (from, segment));
    }

    /// Splits what a writer hands over as a network would: not where the writer thinks.
    pub(super) fn send_data(&mut self, from: End, mut data: Bytes) {
        if data.len() > 1 && self.random.below(8) == 0 {
            let first = data.split_to(1 + self.random.below(data.len() as u64 - 1) as usize);
            self.send(from, Segment::Data(first));
        }
        self.send(from, Segment::Data(data));
    }

    /// The handle of an end is gone.
    pub(super) fn abandon(&mut self, end: End) {
        let Some(side) = self.side(end) else { return };
        side.open = false;
        side.inbox.clear();
        side.reader = None;
        side.writer = None;
        self.remove_if_closed(end.conn);
    }

    fn remove_if_closed(&mut self, conn: u64) {
        let Some([one, other]) = self.conns.get(&conn) else { return };
        // What still flies then finds no connection, and is answered by nobody.
        if !one.open && !other.open && !other.awaited {
            self.conns.remove(&conn);
        }
    }

    fn route(&self, from: End) -> Option<(usize, usize)> {
        let sides = self.conns.get(&from.conn)?;
        Some((sides[from.side].at.node, sides[1 - from.side].at.node))
    }

    fn ends_of(&self, wanted: impl Fn(&Side, &Side) -> bool) -> Vec<End> {
        let ends = self.conns.iter().flat_map(|(conn, sides)| {
            [(0, sides), (1, sides)].map(|(side, sides)| (End { conn: *conn, side }, sides))
        });
        ends.filter(|(end, sides)| wanted(&sides[end.side], &sides[1 - end.side]))
            .map(|(end, _)| end)
            .collect()
    }

    fn take_reset(&mut self, end: End) {
        let Some(side) = self.side(end) else { return };
        side.reset = true;
        side.inbox.clear();
        side.wake();
        let node = side.at.node;
        self.nodes[node].touched = true;
    }

    fn arrive(&mut self, from: End, segment: Segment) {
        let end = from.peer();
        let Some((_, node)) = self.route(from) else { return };
        let hears = self.nodes[node].machine_up;
        self.nodes[node].touched = true;
        if hears {
            self.note(end, &segment);
        }
        if let Segment::Connect = segment {
            if let Some(side) = self.side(end) {
                side.awaited = false;
            }
            if hears {
                self.take_connect(end);
            }
            return self.remove_if_closed(end.conn);
        }
        if !hears {
            return;
        }
        let Some(side) = self.side(end) else { return };
        let at = side.at;
        if !side.open || !self.is_alive(at) {
            if matches!(segment, Segment::Data(_) | Segment::End | Segment::Accepted) {
                self.send(end, Segment::Reset);
            }
            return;
        }
        let Some(side) = self.side(end) else { return };
        match segment {
            Segment::Connect => {}
            Segment::Accepted => side.established = true,
            Segment::Refused => side.refused = true,
            Segment::Data(data) => side.inbox.push_back(data),
            Segment::Taken(bytes) => side.unread_by_peer -= bytes,
            Segment::End => side.ended = true,
            Segment::Reset => return self.take_reset(end),
        }
        side.wake();
    }

    fn take_connect(&mut self, end: End) {
        let Some(side) = self.side(end) else { return };
        let (node, port) = (side.at.node, side.address.port());
        let at = self.life(node);
        let alive = self.is_alive(at);
        let listening = self.listening(at, port).filter(|_| alive);
        let room = listening.filter(|listening| listening.queue.len() < listening.backlog);
        let Some(listening) = room else { return self.send(end, Segment::Refused) };
        listening.queue.push_back(end);
        let waker = listening.waker.take();
        if let Some(side) = self.side(end) {
            side.at = at;
            side.open = true;
            side.established = true;
        }
        self.send(end, Segment::Accepted);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn note(&self, to: End, segment: &Segment) {
        let name = &self.nodes[self.conns[&to.conn][to.side].at.node].name;
        let End { conn, side } = to;
        match segment {
            Segment::Data(data) => {
                let (len, hash) = (data.len(), add_bytes(0, data));
                self.trace.note(name, format_args!("{conn}.{side} data {len} {hash:x}"));
            }
            other => self.trace.note(name, format_args!("{conn}.{side} {other:?}")),
        }
    }
}

/// 10.0.0.1 is the first node's.
pub(super) fn ip(node: usize) -> IpAddr {
    let number = node as u32 + 1;
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | number & 0x00ff_ffff))
}
