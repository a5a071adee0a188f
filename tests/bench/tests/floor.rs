//! The program against its own bare loop: each is the other's proof.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the world outside of the node"
)]

use bytes::Bytes;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("a process that was started");
    }
}

#[test]
fn what_is_produced_stands_in_the_files_and_its_cost_is_told() {
    let directory = std::env::temp_dir().join(format!("bench-test-{}", std::process::id()));
    let floor = Command::new(BENCH).arg("floor").arg(&directory).stdout(Stdio::piped()).spawn();
    let mut floor = Killed(floor.unwrap());
    let mut port = String::new();
    BufReader::new(floor.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let broker = format!("one=127.0.0.1:{}@{}", port.trim(), floor.0.id());
    let produce = ["produce", "--broker", &broker, "--partitions", "3", "--producers", "2"];
    let small = ["--rounds", "2", "--gb", "0.01", "--warm-gb", "0.001"];
    let done = Command::new(BENCH).args(produce).args(small).output().unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(told.lines().filter(|line| line.starts_with("  one ")).count(), 2, "{told}");
    assert!(
        told.lines().any(|line| line.starts_with("one: ") && line.ends_with(" of floor")),
        "{told}"
    );
    drop(floor);

    let mut bytes = 0;
    for partition in 0..3 {
        let file = Bytes::from(std::fs::read(directory.join(partition.to_string())).unwrap());
        bytes += file.len();
        let mut next = 0;
        for batch in wire::batch::batches(file) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            assert_eq!(batch.header().base_offset, next);
            next = batch.header().next_offset();
        }
        assert!(next > 0);
    }
    assert!((19_000_000..23_000_000).contains(&bytes), "{bytes}");
    std::fs::remove_dir_all(directory).unwrap();
}
