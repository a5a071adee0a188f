//! A start with nothing there; and starts that must be refused, with a message that names what is wrong.

use crate::batch;
use crate::node::{Node, ended, failing_start, free_address, start_command};
use crate::raw::{Answer, Bytes, Connection};
use crate::requests::{self, METADATA};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub fn home() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

pub fn assert_refused(said: &str, names: &[&str]) {
    for name in names {
        assert!(said.contains(name), "the message does not name {name:?}:\n{said}");
    }
}

#[test]
fn a_node_with_nothing_there_soon_takes_its_first_record() {
    const LIMIT: Duration = Duration::from_secs(20);
    let begin = Instant::now();
    let test = "a_node_with_nothing_there_soon_takes_its_first_record";
    let Some(mut node) = Node::start_own(test) else { return };
    let served = begin.elapsed();
    let idle = node.resident();
    let mut connection = node.connect();
    let topic = crate::unique("first");
    let named = connection.ask(METADATA, 1, &Bytes::new().i32(1).string(&topic).done());
    assert!(matches!(named, Answer::Body(_)), "it is created as it is asked for");
    let record = batch::of(&[b"hello"]).bytes();
    loop {
        match requests::produce(&mut connection, &topic, 0, &record).error {
            0 => break,
            // It is not there yet, or has no leader yet.
            error @ (3 | 5 | 6) => assert!(begin.elapsed() < LIMIT, "error {error}"),
            error => panic!("error {error}"),
        }
    }
    let taken = begin.elapsed();
    let said = node.said();
    let told = said.split_once(" after ").and_then(|(_, told)| told.split_once(" ms"));
    let told: Option<u128> = told.and_then(|(ms, _)| ms.parse().ok());
    assert!(told.is_some_and(|ms| (1..=taken.as_millis()).contains(&ms)), "{taken:?}: {said}");
    let mebibytes = |bytes: Option<u64>| bytes.map_or(0.0, |bytes| bytes as f64 / 1_048_576.0);
    let (idle, now) = (mebibytes(idle), mebibytes(node.resident()));
    eprintln!(
        "MEASURED: from nothing to serving {served:?}, to the first record {taken:?}; resident {idle:.1} MiB, then {now:.1} MiB"
    );
}

/// It may not even serve yet: what it has begun is ended in order.
#[test]
fn a_node_that_is_told_to_stop_while_it_starts_stops_in_order() {
    if std::env::var("OTTLA_BOOTSTRAP").is_ok() {
        return;
    }
    let home = home();
    let data = home.path().join("data");
    let mut command = start_command(&free_address().to_string(), &data);
    let starting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let starting = starting.expect("the program starts");
    let begin = Instant::now();
    while !data.join("meta.properties").exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not begin");
    }
    let id = Pid::from_child(&starting);
    kill_process(id, Signal::TERM).expect("the signal is sent");
    let ended = starting.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    assert_refused(&said, &["stopped"]);
    assert!(data.join(".kafka_cleanshutdown").exists(), "there is nothing to recover");
}

/// Ended with the test, however that ends.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process ignores that its terminal is closed.
fn ignores_hang_up(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it");
    u64::from_str_radix(ignored.trim(), 16).expect("a mask") & 1 == 1
}

/// As `nohup` has it, and as it is without: who closes the terminal means the node only where nobody said otherwise.
#[test]
fn a_node_outlives_its_terminal_where_it_is_to() {
    if std::env::var("OTTLA_BOOTSTRAP").is_ok() {
        return;
    }
    for outlives in [true, false] {
        // What is ignored is inherited, and no shell takes it back.
        if !outlives && ignores_hang_up("self") {
            eprintln!("SKIPPED: the test itself outlives its terminal, and so does what it starts");
            continue;
        }
        let home = home();
        let address = free_address();
        let start = start_command(&address.to_string(), &home.path().join("data"));
        let mut command = Command::new("sh");
        let trap = if outlives { "trap '' HUP; exec \"$@\"" } else { "exec \"$@\"" };
        command.args(["-c", trap, "sh"]).arg(start.get_program()).args(start.get_args());
        let node = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sh");
        let mut node = Started(node);
        let mut said = BufReader::new(node.0.stdout.take().expect("piped")).lines();
        let mut until = |text: &str| said.any(|line| line.expect("text").contains(text));
        assert!(until("ready"));
        let id = Pid::from_child(&node.0);
        assert_eq!(ignores_hang_up(&node.0.id().to_string()), outlives);
        kill_process(id, Signal::HUP).expect("the signal is sent");
        if outlives {
            requests::create_topic(&mut Connection::open(address), "still", 1);
            kill_process(id, Signal::TERM).expect("the signal is sent");
        }
        assert!(until("stopped"));
        assert!(node.0.wait().expect("it ends").success());
    }
}

/// What the last life's checkpoints say is not lost on one that ends before it has looked at its logs.
#[test]
fn a_node_that_is_told_to_stop_while_it_starts_leaves_the_checkpoints() {
    let test = "a_node_that_is_told_to_stop_while_it_starts_leaves_the_checkpoints";
    let Some(mut node) = Node::start_own_with(
        test,
        &["log.flush.start.offset.checkpoint.interval.ms=20", "log.flush.interval.messages=1"],
    ) else {
        return;
    };
    let data = node.data().expect("a process of the test's own");
    let topic = crate::unique("trimmed");
    let mut connection = node.connect();
    requests::create_topic(&mut connection, &topic, 1);
    let record = batch::of(&[b"one"]).bytes();
    for _ in 0..4 {
        assert_eq!(requests::produce(&mut connection, &topic, 0, &record).error, 0);
    }
    requests::delete_records(&mut connection, &topic, 0, 3);
    let file = data.join("log-start-offset-checkpoint");
    let entry = format!("{topic} 0 3\n");
    let has_entry = || fs::read_to_string(&file).is_ok_and(|text| text.contains(&entry));
    let begin = Instant::now();
    while !has_entry() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the log's start is not written");
    }
    for _ in 0..5 {
        node.kill_and_stop_while_it_starts();
        assert!(has_entry(), "{:?}", fs::read_to_string(&file));
    }
    node.kill_and_restart();
    let begin = Instant::now();
    while requests::earliest(&mut node.connect(), &topic, 0) != (0, 3) {
        assert!(begin.elapsed() < Duration::from_secs(20), "what was deleted is back");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let Some(node) = Node::start_own("a_port_in_use_is_named") else { return };
    let home = home();
    let data = home.path().join("data");
    let taken = node.address;
    let (address, listen) = (free_address(), data.to_string_lossy().into_owned());
    let before = ["start", "--listen", &address.to_string(), "--data", &listen].map(str::to_owned);
    let (status, _, home) = Node::start_by(home, address, before.to_vec()).terminate();
    assert!(status.success());
    let marker = || fs::read_to_string(home.path().join("data/.kafka_cleanshutdown"));
    let left = marker().expect("a clean stop's");
    // The controller's is the next.
    let beside = SocketAddr::new(taken.ip(), taken.port() - 1);
    for listen in [taken, beside] {
        let (status, said) = failing_start(&listen.to_string(), &data, &[]);
        assert!(!status.success());
        assert_refused(&said, &[&taken.to_string(), "in use"]);
        assert_eq!(marker().ok().as_ref(), Some(&left), "the next start knows that it was clean");
        let fresh = home.path().join("fresh");
        assert!(!failing_start(&listen.to_string(), &fresh, &[]).0.success());
        assert_eq!(names(&fresh), [""; 0]);
    }
    let (console, data) = (taken.to_string(), data.to_string_lossy());
    let args = ["start", "--listen", &free_address().to_string(), "--data", &data];
    let args = [&args[..], &["--console", &console]].concat();
    let (status, said) = ended(&args.into_iter().map(str::to_owned).collect::<Vec<_>>());
    assert!(!status.success());
    assert_refused(&said, &[&console, "in use", "--console off"]);
}

/// The ports that a process listens on.
fn listened_on(pid: u32) -> Vec<u16> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("its sockets");
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let own: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let mut ports = Vec::new();
    for socket in table.lines().skip(1) {
        let fields: Vec<&str> = socket.split_whitespace().collect();
        const LISTEN: &str = "0A";
        if fields[3] == LISTEN && own.contains(&format!("socket:[{}]", fields[9])) {
            let port = fields[1].rsplit(':').next().expect("a port");
            ports.push(u16::from_str_radix(port, 16).expect("a port"));
        }
    }
    ports.sort_unstable();
    ports
}

#[test]
fn the_console_is_where_it_is_told_to_be_or_nowhere() {
    let Some(node) = Node::start_own("the_console_is_where_it_is_told_to_be_or_nowhere") else {
        return;
    };
    let served = [node.address.port(), node.controller().port()];
    assert_eq!(listened_on(node.pid().expect("a process")), served, "--console off");
    let (home, address, console) = (home(), free_address(), free_address());
    let data = home.path().join("data").to_string_lossy().into_owned();
    let (listen, at) = (address.to_string(), console.to_string());
    let args = ["start", "--listen", &listen, "--data", &data, "--console", &at];
    let node = Node::start_by(home, address, args.map(str::to_owned).to_vec());
    let mut served = [node.address.port(), node.controller().port(), console.port()];
    served.sort_unstable();
    assert_eq!(listened_on(node.pid().expect("a process")), served);
    let (_, _, home) = node.terminate();
    let (address, everywhere) = (free_address(), format!(":{}", free_address().port()));
    let listen = address.to_string();
    let args = ["start", "--listen", &listen, "--data", &data, "--console", &everywhere];
    let _node = Node::start_by(home, address, args.map(str::to_owned).to_vec());
    let (status, said) = ended(&["tree", "--console", &everywhere].map(str::to_owned));
    assert!(status.success(), "{said}");
}

#[test]
fn an_unwritable_data_directory_is_named() {
    let home = home();
    let file = home.path().join("a-file");
    fs::write(&file, "not a directory").expect("a file");
    let read_only = home.path().join("read-only");
    fs::create_dir(&read_only).expect("a directory");
    fs::set_permissions(&read_only, Permissions::from_mode(0o555)).expect("its mode");
    let mut places = vec![file.join("data"), file, "/proc/ottla-data".into()];
    // Where permissions say anything to this user.
    if fs::write(read_only.join("probe"), "").is_err() {
        places.extend([read_only.clone(), read_only.join("data")]);
    }
    for data in places {
        let (status, said) = failing_start(&free_address().to_string(), &data, &[]);
        assert!(!status.success());
        assert_refused(&said, &[&data.to_string_lossy()]);
    }
}

#[test]
fn a_foreign_data_directory_is_named_and_left_alone() {
    let home = home();
    let data = home.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let foreign = "version=1\ncluster.id=SomebodyElsesClusterId\nnode.id=77\n";
    fs::write(data.join("meta.properties"), foreign).expect("a file");
    let (status, said) = failing_start(&free_address().to_string(), &data, &[]);
    assert!(!status.success());
    assert_refused(&said, &["meta.properties", "77"]);
    let kept = fs::read_to_string(data.join("meta.properties")).expect("it is still there");
    assert_eq!(kept, foreign);
    assert_eq!(names(&data), ["meta.properties"]);
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_directory_that_holds_something_else_is_named_and_left_alone() {
    let home = home();
    let data = home.path().join("data");
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("diary.txt"), "dear diary").expect("a file");
    let (status, said) = failing_start(&free_address().to_string(), &data, &[]);
    assert!(!status.success());
    assert_refused(&said, &[&data.to_string_lossy(), "diary.txt"]);
    assert!(!said.contains("formatt"), "nothing was formatted:\n{said}");
    assert_eq!(names(&data), ["diary.txt"]);
}

/// Kafka refuses each that is not formatted; an empty one is taken here.
#[test]
fn a_foreign_directory_beside_the_nodes_own_is_named_and_left_alone() {
    let test = "a_foreign_directory_beside_the_nodes_own_is_named_and_left_alone";
    let Some(node) = Node::start_on(test, &["own"], &[]) else { return };
    let (status, said, home) = node.terminate();
    assert!(status.success(), "{said}");
    let (own, foreign) = (home.path().join("own"), home.path().join("foreign"));
    fs::create_dir(&foreign).expect("a directory");
    fs::write(foreign.join("diary.txt"), "dear diary").expect("a file");
    let dirs = format!("log.dirs={},{}", own.display(), foreign.display());
    let metadata = format!("metadata.log.dir={}", own.display());
    let more = ["--set", &dirs, "--set", &metadata];
    let data = home.path().join("data");
    let (status, said) = failing_start(&free_address().to_string(), &data, &more);
    assert!(!status.success());
    assert_refused(&said, &[&foreign.to_string_lossy(), "diary.txt", "not empty"]);
    assert_eq!(names(&foreign), ["diary.txt"], "it is not made the node's");
}

#[test]
fn a_data_directory_in_use_is_named() {
    let Some(node) = Node::start_own("a_data_directory_in_use_is_named") else { return };
    let data = node.data().expect("a process of the test's own");
    let (status, said) = failing_start(&free_address().to_string(), &data, &[]);
    assert!(!status.success());
    assert_refused(&said, &[&data.to_string_lossy()]);

    let home = home();
    let fresh = home.path().join("fresh");
    let dirs = format!("log.dirs={},{}", fresh.display(), data.display());
    let (status, said) = failing_start(&free_address().to_string(), &fresh, &["--set", &dirs]);
    assert!(!status.success());
    assert_refused(&said, &[&data.to_string_lossy(), "in use"]);
    assert_eq!(names(&fresh), [""; 0], "it is not made the node's");
}

#[test]
fn a_wrong_setting_is_named_with_the_nearest_right_one() {
    let home = home();
    let data = home.path().join("data");
    let wrong = ["--set", "log.retention.hour=1"];
    let (status, said) = failing_start(&free_address().to_string(), &data, &wrong);
    assert!(!status.success());
    assert_refused(&said, &["log.retention.hour", "log.retention.hours"]);
    assert!(!data.exists(), "refused before anything is written");
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    let home = home();
    let data = home.path().join("data");
    let wrong = ["--set", "num.partitions=-3"];
    let (status, said) = failing_start(&free_address().to_string(), &data, &wrong);
    assert!(!status.success());
    assert_refused(&said, &["num.partitions", "-3", "1"]);
}

#[test]
fn a_broker_that_cannot_register_gives_up() {
    let home = home();
    let address = free_address();
    let (own, other) = (address.port() + 1, free_address().port());
    // The other half of the quorum is not there.
    let voters = format!("controller.quorum.voters=1@127.0.0.1:{own},2@127.0.0.1:{other}");
    let limit = "initial.broker.registration.timeout.ms=300";
    let more = ["--set", &voters, "--set", limit];
    let (status, said) = failing_start(&address.to_string(), &home.path().join("data"), &more);
    assert!(!status.success());
    assert_refused(&said, &[limit]);
}

#[test]
fn defaults_that_nothing_goes_by_are_said_to_change_nothing() {
    let test = "defaults_that_nothing_goes_by_are_said_to_change_nothing";
    let given = ["queued.max.requests=500", "group.coordinator.rebalance.protocols=classic"];
    let Some(node) = Node::start_own_with(test, &given) else { return };
    let (_, said, _) = node.terminate();
    assert!(said.contains("queued.max.requests: not honoured yet"), "{said}");
    assert!(!said.contains("rebalance.protocols"), "{said}");
}

#[test]
fn settings_that_are_not_honoured_are_named() {
    let home = home();
    for setting in [
        "queued.max.requests=100",
        "quota.window.num=7",
        "controller.quota.window.num=5",
        "group.coordinator.rebalance.protocols=classic,consumer,streams",
    ] {
        let more = ["--set", setting];
        let data = home.path().join("data");
        let (status, said) = failing_start(&free_address().to_string(), &data, &more);
        assert!(!status.success());
        let (name, value) = setting.split_once('=').expect("a setting");
        assert_refused(&said, &[name, value]);
        assert!(!data.exists(), "refused before anything is written");
    }
}
