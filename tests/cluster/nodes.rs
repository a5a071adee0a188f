//! The nodes of one cluster file, each a process.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::network::Network;
use crate::{asks, last_words, wait_for};

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
/// Brokers and controllers have addresses of their own, and need no ports of their own.
const LISTEN: u16 = 35_092;
const CONTROLLER: u16 = 35_093;
const CONSOLE: u16 = 35_094;
pub const BROKERS: usize = 3;

struct Node {
    id: i32,
    address: IpAddr,
    is_broker: bool,
    child: Option<Child>,
}

impl Node {
    /// Keeps the tree of a node that hangs, maybe: it is asked for a second.
    fn ask_why(&self, home: &Path) {
        let console = SocketAddr::new(self.address, CONSOLE).to_string();
        let mut command = Command::new("timeout");
        command.args(["1", OTTLA, "tree", "--console", &console]).stdin(Stdio::null());
        if let Ok(tree) = command.output() {
            drop(fs::write(home.join(format!("tree-{}", self.id)), tree.stdout));
        }
    }
}

pub struct Cluster {
    nodes: Vec<Node>,
    network: Option<Network>,
    home: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Each node a broker and a controller.
    Combined,
    /// Three brokers, then three controllers.
    Apart,
}

impl Cluster {
    /// Starts all of them; with a network, in its namespaces.
    pub fn start(shape: Shape, network: Option<Network>, settings: &[&str]) -> Cluster {
        Cluster::start_each(shape, network, settings, |_, _| String::new())
    }

    /// `each`: what else the file says of a node, whose directory this is, in lines.
    pub fn start_each(
        shape: Shape,
        network: Option<Network>,
        settings: &[&str],
        each: impl Fn(usize, &Path) -> String,
    ) -> Cluster {
        let nodes = nodes(shape, network.as_ref());
        let mut cluster = Cluster { nodes, network, home: TempDir::new().expect("a directory") };
        fs::write(cluster.file(), cluster.text(shape, settings, each)).expect("a cluster's file");
        (0..cluster.nodes.len()).for_each(|node| cluster.launch(node));
        cluster.wait_until_all_serve();
        cluster
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("cluster.toml")
    }

    fn text(
        &self,
        shape: Shape,
        settings: &[&str],
        each: impl Fn(usize, &Path) -> String,
    ) -> String {
        let mut text = format!("[settings]\n{}\n", settings.join("\n"));
        for (index, node) in self.nodes.iter().enumerate() {
            let (id, address, data) = (node.id, node.address, self.data(index));
            let own = each(index, &data);
            write!(text, "[[node]]\nid = {id}\n{own}").expect("text");
            if !own.starts_with("data") {
                writeln!(text, "data = {data:?}").expect("text");
            }
            match (shape, node.is_broker) {
                (Shape::Combined, _) => {}
                (Shape::Apart, true) => text.push_str("roles = [\"broker\"]\n"),
                (Shape::Apart, false) => text.push_str("roles = [\"controller\"]\n"),
            }
            if node.is_broker {
                writeln!(text, "listen = \"{address}:{LISTEN}\"").expect("text");
            }
            if shape == Shape::Combined || !node.is_broker {
                writeln!(text, "controller = \"{address}:{CONTROLLER}\"").expect("text");
            }
        }
        text
    }

    pub fn data(&self, node: usize) -> PathBuf {
        self.home.path().join(format!("data-{}", self.nodes[node].id))
    }

    pub fn broker_address(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.nodes[node].address, LISTEN)
    }

    pub fn console(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.nodes[node].address, CONSOLE)
    }

    pub fn bootstrap(&self) -> String {
        let all: Vec<String> =
            (0..BROKERS).map(|node| self.broker_address(node).to_string()).collect();
        all.join(",")
    }

    pub fn index_of(&self, id: i32) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a node of this cluster")
    }

    pub fn id(&self, node: usize) -> i32 {
        self.nodes[node].id
    }

    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// On its directory of before.
    pub fn launch(&mut self, index: usize) {
        let said = self.home.path().join(said_by(self.nodes[index].id));
        let said = File::options().create(true).append(true).open(said).expect("a file");
        let mut command = match &self.network {
            Some(network) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &network.space(index), OTTLA]);
                command
            }
            None => Command::new(OTTLA),
        };
        let node = &self.nodes[index];
        command.args(["start", "--node", &node.id.to_string()]);
        command.args(["--console", &SocketAddr::new(node.address, CONSOLE).to_string()]);
        command.arg("--config").arg(self.file()).stdin(Stdio::null());
        command.stdout(said.try_clone().expect("a file")).stderr(said);
        self.nodes[index].child = Some(command.spawn().expect("the ottla binary"));
    }

    pub fn wait_until_all_serve(&self) {
        for node in 0..BROKERS {
            let at = self.broker_address(node);
            wait_for("a broker to serve", || asks::active_controller(at));
        }
    }

    pub fn kill(&mut self, index: usize) {
        let mut child = self.nodes[index].child.take().expect("a process that runs");
        child.kill().expect("SIGKILL");
        child.wait().expect("a dead process");
    }

    /// SIGTERM to all of these, and their ends.
    pub fn terminate(&mut self, nodes: impl IntoIterator<Item = usize> + Clone) {
        for node in nodes.clone() {
            self.tell(node, Signal::TERM);
        }
        for node in nodes {
            let mut child = self.nodes[node].child.take().expect("a process that runs");
            let status = wait_for("a node to end", || child.try_wait().expect("a child"));
            assert!(status.success(), "node {} ended with {status}", self.nodes[node].id);
        }
    }

    pub fn tell(&self, index: usize, signal: Signal) {
        let child = self.nodes[index].child.as_ref().expect("a process that runs");
        kill_process(Pid::from_child(child), signal).expect("the signal is sent");
    }

    pub fn resident_mib(&self, index: usize) -> f64 {
        let child = self.nodes[index].child.as_ref().expect("a process that runs");
        let status =
            fs::read_to_string(format!("/proc/{}/status", child.id())).expect("its status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kib = resident.trim().trim_end_matches(" kB").parse::<f64>().expect("a number");
        kib / 1024.0
    }

    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a cluster in namespaces")
    }
}

fn nodes(shape: Shape, network: Option<&Network>) -> Vec<Node> {
    // No other process listens there, nor connects from there.
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let count = if shape == Shape::Combined { BROKERS } else { 2 * BROKERS };
    let node = |index| {
        let here = || Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed));
        let address = network.map_or_else(here, |network| network.address(index));
        let (id, address) = (index as i32 + 1, IpAddr::V4(address));
        Node { id, address, is_broker: index < BROKERS, child: None }
    };
    (0..count).map(node).collect()
}

fn said_by(id: i32) -> String {
    format!("said-{id}")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.home.disable_cleanup(true);
            let home = self.home.path();
            self.nodes
                .iter()
                .filter(|node| node.child.is_some())
                .for_each(|node| node.ask_why(home));
            for node in &self.nodes {
                let said = fs::read(home.join(said_by(node.id))).unwrap_or_default();
                let who = format!("node {}", node.id);
                eprintln!("{}", last_words::of(&who, &String::from_utf8_lossy(&said)));
            }
            eprintln!("what the nodes said and wrote is in {}", home.display());
        }
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
