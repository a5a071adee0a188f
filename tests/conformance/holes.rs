//! A log that lost what was durable is not served, says why, and keeps nothing else from serving.

use crate::batch;
use crate::commands::{get, is_foreign, words};
use crate::node::{Node, free_address};
use crate::requests::{create_topic_with, earliest, fetch, produce};
use crate::starting::{assert_refused, home};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
const DURABLE: [(&str, &str); 2] = [("flush.messages", "1"), ("segment.bytes", "1048576")];
const KAFKA_STORAGE_ERROR: i16 = 56;

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "waited for {what}");
    }
}

/// The segment that begins at this offset.
fn segment(data: &Path, offset: u64) -> PathBuf {
    data.join("holed-0").join(format!("{offset:020}.log"))
}

struct Holed {
    node: Node,
    data: PathBuf,
    console: SocketAddr,
}

/// A node that was killed, lost a part of what was durable of one of its two topics, and was started again.
fn holed(test: &str, meanwhile: impl FnOnce(&Path)) -> Option<Holed> {
    if is_foreign(test) {
        return None;
    }
    let (home, address, console) = (home(), free_address(), free_address());
    let data = home.path().join("data");
    let (listen, shown, dir) =
        (address.to_string(), console.to_string(), data.to_string_lossy().into_owned());
    let mut args = words(&["start", "--listen", &listen, "--console", &shown, "--data", &dir]);
    args.extend(words(&["--set", "log.flush.offset.checkpoint.interval.ms=20"]));
    let mut node = Node::start_by(home, address, args);
    let mut connection = node.connect();
    let record = record();
    for topic in ["holed", "whole"] {
        create_topic_with(&mut connection, topic, 1, &DURABLE);
        for _ in 0..6 {
            assert_eq!(produce(&mut connection, topic, 0, &record).error, 0);
        }
    }
    let points = data.join("recovery-point-offset-checkpoint");
    let said = || fs::read_to_string(&points).unwrap_or_default();
    wait_for("the checkpoint", || said().contains("holed 0 6\n"));
    node.kill_and_restart_after(|data| {
        // The second of three segments ends within its first record.
        let damaged = fs::OpenOptions::new().write(true).open(segment(data, 2)).expect("a segment");
        damaged.set_len(1000).expect("cut");
        let index = segment(data, 2).with_extension("index");
        fs::remove_file(index).expect("its index");
        meanwhile(data);
    });
    let mut connection = node.connect();
    wait_for("the other", || produce(&mut connection, "whole", 0, &record).error == 0);
    wait_for("its error", || {
        produce(&mut connection, "holed", 0, &record).error == KAFKA_STORAGE_ERROR
    });
    Some(Holed { node, data, console })
}

fn record() -> Vec<u8> {
    batch::of(&[&[7; 400_000]]).bytes()
}

#[test]
fn a_hole_in_what_was_durable_takes_its_partition_offline_and_says_so() {
    let test = "a_hole_in_what_was_durable_takes_its_partition_offline_and_says_so";
    let Some(Holed { node, data, console }) = holed(test, |_| {}) else { return };
    assert_eq!(earliest(&mut node.connect(), "holed", 0).0, KAFKA_STORAGE_ERROR);
    let segment = segment(&data, 2);
    let why = [segment.to_str().expect("a path"), "durable up to 6", "restore the files"];
    let tree = get(console, "/tree").body;
    let shown: serde_json::Value = serde_json::from_str(&tree).expect("JSON");
    let holed = find(&shown, "holed-0").expect("it is in the tree");
    assert_eq!(holed["status"], "offline");
    assert_refused(holed["last_failure"].as_str().expect("a cause"), &why);
    assert_eq!(find(&shown, "whole-0").expect("it is there")["status"], "running");

    let (status, said, _home) = node.terminate();
    assert!(status.success(), "{said}");
    assert_refused(&said, &why);
    assert_refused(&said, &["holed-0", "offline"]);
    assert!(!data.join(".kafka_cleanshutdown").exists(), "the next start must look again");
    assert_eq!(fs::metadata(&segment).expect("it is still there").len(), 1000, "left as it was");
}

#[test]
fn who_accepts_the_loss_as_the_error_says_has_a_log_that_ends_before_it() {
    let test = "who_accepts_the_loss_as_the_error_says_has_a_log_that_ends_before_it";
    let Some(Holed { mut node, data, .. }) = holed(test, |_| {}) else { return };
    node.kill_and_restart_after(|data| {
        let points = data.join("recovery-point-offset-checkpoint");
        let said = fs::read_to_string(&points).expect("a checkpoint");
        let count: usize = said.lines().nth(1).and_then(|n| n.parse().ok()).expect("a count");
        let kept: Vec<&str> = said.lines().skip(2).filter(|l| !l.starts_with("holed ")).collect();
        assert_eq!(kept.len(), count - 1);
        let text = format!("0\n{}\n{}\n", kept.len(), kept.join("\n"));
        fs::write(points, text).expect("written");
    });
    let mut connection = node.connect();
    let mut taken = produce(&mut connection, "holed", 0, &record());
    wait_for("its partition", || {
        if taken.error != 0 {
            taken = produce(&mut connection, "holed", 0, &record());
        }
        taken.error == 0
    });
    assert_eq!(taken.base_offset, 2, "what was whole is kept");
    assert!(!segment(&data, 4).exists(), "what lay behind the loss is gone");
    for offset in 0..3 {
        let (error, bytes) = fetch(&mut connection, "holed", offset);
        assert_eq!((error, bytes.is_empty()), (0, false));
    }
}

/// It was looked at as the others were: they need no recovery when the process dies the next time.
#[test]
fn a_log_that_is_refused_costs_its_directory_nothing() {
    const KERNEL: &str = ".ottla_kernel";
    let test = "a_log_that_is_refused_costs_its_directory_nothing";
    let mut before = String::new();
    // As the machine was started anew.
    let rebooted = |data: &Path| {
        before = fs::read_to_string(data.join(KERNEL)).expect("the logs were whole");
        fs::write(data.join(KERNEL), "another kernel").expect("written");
    };
    let Some(Holed { mut node, data, .. }) = holed(test, rebooted) else { return };
    let now = || fs::read_to_string(data.join(KERNEL)).unwrap_or_default();
    wait_for("the directory to be whole but for one", || now() == before);
    node.kill_and_restart();
    assert_eq!(now(), before, "a process that dies costs no recovery");
    let mut connection = node.connect();
    wait_for("the other", || produce(&mut connection, "whole", 0, &record()).error == 0);
}

/// An actor of this name, in the tree or a part of it.
fn find<'a>(tree: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    if tree["name"] == name {
        return Some(tree);
    }
    let below = tree.as_array().or_else(|| tree["children"].as_array())?;
    below.iter().find_map(|actor| find(actor, name))
}
