//! Three nodes, each of which may own counters.

use std::path::Path;
use std::process::Child;

use ottla::{Node, StartError};

use super::Counter;

/// Three nodes on this machine, with their data in a directory, and each record on all of them.
pub fn cluster(dir: &Path, ports: [u16; 6]) -> String {
    let settings = "\"default.replication.factor\" = 3\n\"min.insync.replicas\" = 2\n";
    let nodes = (1..=3).map(|id| {
        let (listen, controller) = (ports[id - 1], ports[id + 2]);
        let data = dir.join(format!("data-{id}"));
        format!("[[node]]\nid = {id}\nlisten = \"127.0.0.1:{listen}\"\ncontroller = \"127.0.0.1:{controller}\"\ndata = {data:?}\n")
    });
    format!("[cluster]\nname = \"counters\"\n[settings]\n{settings}{}", nodes.collect::<String>())
}

/// All nodes register the same.
pub async fn serve(file: &Path, id: i32) -> Result<Node, StartError> {
    Node::builder().config(file, id).durable("counters", Counter).start().await
}

/// A process that is killed with kill -9 when this is dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _may_be_gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
