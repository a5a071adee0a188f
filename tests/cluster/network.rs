//! A network namespace for each node, joined by a bridge: the wire of each can be pulled. Needs root and `ip`.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Removed with everything in it when it is dropped.
pub struct Network {
    id: u8,
    nodes: usize,
}

fn ip(args: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(args.split(' ')).stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Network {
    /// None where this machine does not let us.
    pub fn new(nodes: usize) -> Option<Network> {
        let id = (std::process::id() % 251) as u8;
        let network = Network { id, nodes };
        let bridge = network.bridge();
        let made = ip(&format!("link add {bridge} type bridge"))
            && ip(&format!("addr add 10.213.{id}.254/24 dev {bridge}"))
            && ip(&format!("link set {bridge} up"))
            && (0..nodes).all(|node| network.join(node));
        made.then_some(network)
    }

    fn join(&self, node: usize) -> bool {
        let (space, wire, bridge) = (self.space(node), self.wire(node), self.bridge());
        let address = self.address(node);
        ip(&format!("netns add {space}"))
            && ip(&format!("link add {wire} type veth peer name eth0 netns {space}"))
            && ip(&format!("link set {wire} master {bridge}"))
            && ip(&format!("link set {wire} up"))
            && ip(&format!("-n {space} addr add {address}/24 dev eth0"))
            && ip(&format!("-n {space} link set eth0 up"))
            && ip(&format!("-n {space} link set lo up"))
    }

    fn bridge(&self) -> String {
        format!("ottla-{}", self.id)
    }

    pub fn space(&self, node: usize) -> String {
        format!("ottla-{}-{node}", self.id)
    }

    fn wire(&self, node: usize) -> String {
        self.space(node)
    }

    pub fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.id, node as u8 + 1)
    }

    /// Nothing comes through, and nobody is told.
    pub fn pull(&self, node: usize) {
        assert!(ip(&format!("link set {} down", self.wire(node))));
    }

    pub fn plug_in(&self, node: usize) {
        assert!(ip(&format!("link set {} up", self.wire(node))));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            ip(&format!("link del {}", self.wire(node)));
            ip(&format!("netns del {}", self.space(node)));
        }
        ip(&format!("link del {}", self.bridge()));
    }
}
