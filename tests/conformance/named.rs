//! Two nodes by files of Kafka's properties, with listeners of other names: who is reached by which, and how followers fetch.

use crate::commands::{get, is_foreign, words};
use crate::node::{Node, ended, free_address};
use crate::raw::{Bytes, Connection};
use crate::requests::{CREATE_TOPICS, METADATA};
use crate::settings::{socket_between, until};
use crate::starting::home;
use crate::unique;
use std::fs;
use std::net::SocketAddr;
use tempfile::TempDir;

const IDS: [i32; 2] = [7, 8];
/// Which of two brokers leads a partition is drawn for each two of them: with few, all that one leads may be of one fetcher.
const PARTITIONS: i32 = 64;
const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

/// Where each node listens: to clients, to brokers, as a controller.
type Addresses = [SocketAddr; 3];

fn properties(home: &TempDir, id: i32, at: Addresses, voter: SocketAddr) -> String {
    let [clients, brokers, quorum] = at;
    let (roles, third) = match id {
        7 => ("broker,controller", format!(",QUORUM://{quorum}")),
        _ => ("broker", String::new()),
    };
    let file = home.path().join(format!("{id}.properties"));
    let dir = home.path().join(format!("data-{id}"));
    let text = format!(
        "broker.id={id}\nprocess.roles={roles}\nbroker.rack=rack-{id}\nlog.dir={}\n\
         listeners=CLIENTS://{clients},BROKERS://{brokers}{third}\n\
         listener.security.protocol.map=CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT,QUORUM:PLAINTEXT\n\
         inter.broker.listener.name=BROKERS\ncontroller.listener.names=QUORUM\n\
         controller.quorum.voters=7@{voter}\ndefault.replication.factor=2\n\
         num.replica.fetchers=2\nreplica.socket.receive.buffer.bytes=50000\n",
        dir.display()
    );
    fs::write(&file, text).expect("a file");
    file.to_string_lossy().into_owned()
}

/// Ids, ports and racks of the brokers, as a client is told.
fn brokers(at: SocketAddr) -> Vec<(i32, u16, String)> {
    let mut body = Connection::open(at).ask(METADATA, 1, &Bytes::new().i32(0).done()).body();
    let told = (0..body.i32()).map(|_| {
        let id = body.i32();
        body.string();
        (id, body.i32() as u16, body.string())
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

/// With as many replicas as the node's settings say.
fn create(connection: &mut Connection, topic: &str) {
    let body = Bytes::new().i32(1).string(topic).i32(PARTITIONS).i16(-1).i32(0).i32(0);
    let mut answer = connection.ask(CREATE_TOPICS, 4, &body.i32(10_000).i8(0).done()).body();
    answer.take::<8>();
    answer.string();
    assert_eq!(answer.i16(), 0);
}

#[test]
fn listeners_of_other_names_reach_whom_they_are_for() {
    if is_foreign("listeners_of_other_names_reach_whom_they_are_for") {
        return;
    }
    let (home_of_both, console) = (home(), free_address());
    let addresses = [(); 2].map(|()| [(); 3].map(|()| free_address()));
    let voter = addresses[0][2];
    let nodes = [0, 1].map(|index| {
        let (id, at) = (IDS[index], addresses[index]);
        let file = properties(&home_of_both, id, at, voter);
        let format = ["format", "--cluster-id", CLUSTER, "--properties", &file];
        let (status, said) = ended(&words(&format));
        assert!(status.success(), "{said}");
        let console = if index == 1 { console.to_string() } else { "off".to_owned() };
        let args = words(&["start", "--properties", &file, "--console", &console]);
        Node::start_by(home(), at[0], args)
    });
    let told = |which: usize| -> Vec<(i32, u16, String)> {
        let each = IDS.into_iter().zip(&addresses);
        each.map(|(id, at)| (id, at[which].port(), format!("rack-{id}"))).collect()
    };
    for (which, of_whom) in [(0, "clients"), (1, "brokers")] {
        until(of_whom, || addresses.iter().all(|at| brokers(at[which]) == told(which)));
    }
    let topic = unique("named");
    create(&mut nodes[0].connect(), &topic);
    let kept = |id: i32, partition: i32| {
        home_of_both.path().join(format!("data-{id}/{topic}-{partition}")).is_dir()
    };
    until("two replicas of each", || IDS.iter().all(|id| (0..PARTITIONS).all(|p| kept(*id, p))));
    // Those that node 8 has of the partitions that node 7 leads.
    until("two fetchers", || {
        let tree = get(console, "/tree").body;
        tree.matches("\"kind\":\"replica-fetcher\"").count() == 2
    });
    let leader = addresses[0][1].port();
    let socket = socket_between(&nodes[1], None, Some(leader)).expect("a fetcher's connection");
    let received = rustix::net::sockopt::socket_recv_buffer_size(&socket).expect("a socket");
    assert_eq!(received, 100_000, "Linux doubles what is asked for: socket(7)");
    assert!(socket_between(&nodes[1], None, Some(addresses[0][0].port())).is_none());
}

#[test]
fn names_that_fit_nothing_are_refused() {
    let home = home();
    for (setting, named) in [
        ("inter.broker.listener.name=ELSEWHERE", "ELSEWHERE"),
        ("listener.security.protocol.map=PLAINTEXT:PLAINTEXT", "CONTROLLER"),
        ("broker.id=9", "broker.id"),
    ] {
        let data = home.path().join("data");
        let more = ["--set", setting];
        let (status, said) = crate::node::failing_start(&free_address().to_string(), &data, &more);
        assert!(!status.success(), "{setting}");
        crate::starting::assert_refused(&said, &[named]);
        assert!(!data.exists(), "refused before anything is written");
    }
}
