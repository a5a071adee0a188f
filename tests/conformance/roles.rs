//! Nodes that are controllers only, and nodes that are brokers only.

use crate::clients;
use crate::flights::{self, digest};
use crate::node::{self, Node};
use crate::requests;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use tempfile::TempDir;

struct Member {
    id: i32,
    listen: SocketAddr,
    /// Its keys in the cluster's file, but for the id.
    keys: String,
}

fn members(home: &TempDir) -> [Member; 2] {
    let data = |name: &str| home.path().join(name);
    let (listen, controller) = (node::free_address(), node::free_address());
    [
        Member {
            id: 1,
            listen: controller,
            keys: format!(
                "roles = [\"controller\"]\ncontroller = \"{controller}\"\ndata = {:?}\n",
                data("controller")
            ),
        },
        Member {
            id: 2,
            listen,
            keys: format!(
                "roles = [\"broker\"]\nlisten = \"{listen}\"\ndata = {:?}\n",
                data("broker")
            ),
        },
    ]
}

/// Each a process; a broker waits for a controller.
fn start(home: &TempDir) -> [Node; 2] {
    let members = members(home);
    let nodes: Vec<String> =
        members.iter().map(|m| format!("[[node]]\nid = {}\n{}", m.id, m.keys)).collect();
    let file = home.path().join("cluster.toml");
    fs::write(&file, format!("[cluster]\nname = \"apart\"\n{}", nodes.concat()))
        .expect("a cluster's file");
    let start_one = |member: &Member| {
        let (id, file) = (member.id.to_string(), file.to_string_lossy());
        let args = ["start", "--config", &file, "--node", &id, "--console", "off"];
        let own = TempDir::new().expect("a temporary directory");
        Node::start_by(own, member.listen, args.map(str::to_owned).to_vec())
    };
    thread::scope(|scope| {
        let starting = members.each_ref().map(|member| scope.spawn(move || start_one(member)));
        starting.map(|node| node.join().expect("a node"))
    })
}

#[test]
fn a_controller_without_a_broker_leads_a_broker_without_a_controller() {
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        eprintln!("SKIPPED: it needs processes of its own, OTTLA_BOOTSTRAP is set");
        return;
    }
    let _turn = node::turn();
    let home = TempDir::new().expect("a temporary directory");
    let [mut controller, mut broker] = start(&home);
    controller.wait_to_hear(&format!("is ready on {} after ", controller.bootstrap()));
    let topic = crate::unique("apart");
    requests::create_topic(&mut broker.connect(), &topic, clients::PARTITIONS);
    let flights = flights::load(2_000);
    clients::produce(&clients::producer(&broker.bootstrap(), &[]), &topic, &flights);

    let read_all = || {
        let read = clients::in_order(clients::read_topic(&broker.bootstrap(), &topic));
        assert_eq!(digest(read.iter().map(|r| &r.flight)), digest(&flights));
    };
    read_all();

    // The broker serves while there is no controller, and goes on with the next.
    controller.kill_and_restart_after(|_| read_all());
    requests::create_topic(&mut broker.connect(), &crate::unique("later"), 3);

    let (status, said, _) = controller.terminate();
    assert!(status.success(), "{status}: {said}");
    // It looks for who would let it go.
    broker.ask_to_stop();
    broker.wait_to_hear("ottla: node 2 is stopping: ");
    broker.ask_to_stop();
    let (status, said) = broker.wait_for_its_end();
    assert!(!status.success() && said.contains("node 2 was not waited for"), "{status}: {said}");
    let kept = fs::read_dir(home.path().join("controller")).expect("its directory");
    let kept = kept.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut kept: Vec<_> = kept.filter(|name| !name.starts_with('.')).collect();
    kept.sort();
    // Nothing of replicas, of which it has none.
    assert_eq!(kept, ["__cluster_metadata-0", "meta.properties"]);
}
