//! Records that have left the page cache.

use crate::batch;
use crate::commands;
use crate::node::{Node, free_address};
use crate::requests::{FETCH, create_topic, fetch_body, produce};
use crate::starting::home;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::IoSliceMut;
use std::net::SocketAddr;

const BATCHES: i64 = 6;

fn cold_reads(console: SocketAddr) -> u64 {
    let metrics = commands::get(console, "/metrics").body;
    let number = "ottla_actor_count_total{node=\"1\",kind=\"listener\",name=\"cold_reads\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(number));
    line.and_then(|count| count.parse().ok()).expect("the listener's number")
}

/// Whether the file's first byte has to come from the device now.
fn drop_cache(log: &File) -> bool {
    log.sync_all().expect("a log on a disk");
    fadvise(log, 0, None, Advice::DontNeed).expect("an advice");
    let mut byte = [0];
    let read = preadv2(log, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    read == Err(Errno::AGAIN)
}

#[test]
fn records_that_left_the_page_cache_are_read_in_beside_the_network() {
    let test = "records_that_left_the_page_cache_are_read_in_beside_the_network";
    if commands::is_foreign(test) {
        return;
    }
    let (home, address, console) = (home(), free_address(), free_address());
    let (data, at) = (home.path().join("data"), console.to_string());
    let (data_arg, listen) = (data.to_string_lossy().into_owned(), address.to_string());
    let args = ["start", "--data", &data_arg, "--listen", &listen, "--console", &at];
    let none_in_memory = ["--set", "ottla.recent.bytes=0"];
    let node =
        Node::start_by(home, address, commands::words(&[&args[..], &none_in_memory].concat()));
    let mut connection = node.connect();
    create_topic(&mut connection, "cold", 1);
    let records = batch::of(&[&[7; 400_000]]).bytes();
    for _ in 0..BATCHES {
        assert_eq!(produce(&mut connection, "cold", 0, &records).error, 0);
    }
    let mut read = || connection.ask(FETCH, 11, &fetch_body("cold", 0, 0, 4 << 20));
    let warm = read();
    assert_eq!(cold_reads(console), 0, "all was just written");
    let log = File::open(data.join("cold-0/00000000000000000000.log")).expect("the log");
    if !drop_cache(&log) {
        eprintln!("SKIPPED {test}: {} stays in memory, or does not tell", data.display());
        return;
    }
    assert_eq!(read(), warm);
    assert!(cold_reads(console) > 0, "the threads of the network waited for the disk");
}
