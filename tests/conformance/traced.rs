//! What a running node shows of what an actor does, message by message.

use crate::batch;
use crate::commands::{is_foreign, words};
use crate::node::{OTTLA, ended};
use crate::observed::{fault, find, forest, start, until};
use crate::requests::{create_topic, produce};
use crate::starting::assert_refused;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// One that goes on, read while it does. A test that waits for a line in vain is ended by `--for`.
pub struct Trace {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Trace {
    pub fn of(console: SocketAddr, actor: &str) -> Trace {
        let mut command = Command::new(OTTLA);
        command.args(["trace", actor, "--for", "60s", "--console", &console.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the ottla binary");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut trace = Trace { child, lines };
        assert_refused(&trace.next(), &["tracing node-1/", actor]);
        trace
    }

    fn next(&mut self) -> String {
        self.lines.next().expect("it goes on").expect("text")
    }

    /// The next line that has this, and those before it.
    pub fn until(&mut self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line = self.next();
            assert!(!line.ends_with(" messages"), "it ended without {text}: {seen:?}");
            let is_it = line.contains(text);
            seen.push(line);
            if is_it {
                return seen;
            }
        }
    }

    /// As Ctrl-C does; what it says then.
    fn interrupt(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("the signal is sent");
        let rest = self.lines.by_ref().map(|line| line.expect("text")).collect();
        assert!(self.child.wait().expect("a child").success());
        rest
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn trace(console: SocketAddr, args: &[&str]) -> Result<String, String> {
    let (status, said) =
        ended(&words(&[&["trace"], args, &["--console", &console.to_string()]].concat()));
    if status.success() { Ok(said) } else { Err(said) }
}

/// Of all lines those of one message.
fn count(lines: &[String], message: &str) -> usize {
    lines.iter().filter(|line| line.split_whitespace().any(|word| word == message)).count()
}

#[test]
fn what_an_actor_does_is_shown_message_by_message() {
    if is_foreign("what_an_actor_does_is_shown_message_by_message") {
        return;
    }
    let (node, console) = start(&["ottla.faults.enable=true"]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 2);
    let records = batch::of(&[b"an order"]).bytes();
    let mut write = |partition| produce(&mut connection, "orders", partition, &records).error;
    assert_eq!((write(0), write(1)), (0, 0));

    let mut orders = Trace::of(console, "orders-0");
    for _ in 0..20 {
        assert_eq!((write(0), write(1)), (0, 0));
    }
    assert!(fault(console, &["fail", "orders-0", "--message", "\u{1b}[2Jsalted"]).is_ok());
    write(0);
    let mut seen = orders.until(r"FAILED: \u{1b}[2Jsalted");
    let failed = usize::from(count(&seen[seen.len() - 1..], "Append") == 1);
    assert_eq!(count(&seen, "Append") - failed, 20, "{seen:?}");
    assert_refused(&orders.until("generation 2").concat(), &["-- restarted", "salted"]);
    let begun = Instant::now();
    while write(0) != 0 {
        assert!(begun.elapsed() < LIMIT, "it does not come back");
    }
    seen.extend(orders.until("Append"));
    let sums = orders.interrupt().join("\n");
    assert_refused(&sums, &[" messages\n", "1 failed", "  Append", "in the mean"]);
    assert_eq!(find(&forest(console), "orders-1").map(|one| one["restarts"] == 0), Some(true));
}

#[test]
fn what_is_in_hand_for_long_and_is_killed_there_is_shown() {
    if is_foreign("what_is_in_hand_for_long_and_is_killed_there_is_shown") {
        return;
    }
    let (node, console) = start(&["ottla.faults.enable=true"]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    until(console, "orders-0", |actor| actor["status"] == "running");
    let mut orders = Trace::of(console, "orders-0");
    assert!(fault(console, &["delay", "orders-0", "--by", "600s"]).is_ok());
    let records = batch::of(&[b"an order"]).bytes();
    let writes = std::thread::spawn(move || produce(&mut connection, "orders", 0, &records).error);
    orders.until("is in hand, for 1.");
    let actor = until(console, "orders-0", |actor| actor["in_hand_ms"].as_u64() >= Some(1000));
    let message = actor["in_hand"].as_str().expect("a message").to_owned();
    assert!(fault(console, &["kill", "orders-0"]).is_ok());
    let lines = orders.until("FAILED: killed as it was in hand");
    assert_eq!(count(&lines[lines.len() - 1..], &message), 1, "{lines:?}");
    assert_refused(&orders.until("generation 2").concat(), &["-- restarted", "killed"]);
    writes.join().expect("an answer");
    drop(node);
}

#[test]
fn a_trace_ends_when_it_is_to_and_asks_for_an_actor_that_there_is() {
    if is_foreign("a_trace_ends_when_it_is_to_and_asks_for_an_actor_that_there_is") {
        return;
    }
    let (node, console) = start(&[]);
    let mut connection = node.connect();
    create_topic(&mut connection, "orders", 1);
    until(console, "orders-0", |actor| actor["status"] == "running");
    assert_refused(&trace(console, &["order-0"]).unwrap_err(), &["did you mean", "orders-0"]);

    let short = trace(console, &["orders-0", "--for", "100ms"]).unwrap();
    assert_refused(&short, &["tracing node-1/partitions/orders-0", " messages"]);

    let silent = TcpListener::bind("127.0.0.1:0").expect("an address");
    let nobody = silent.local_addr().expect("it has one");
    let failed = trace(nobody, &["orders-0", "--for", "100ms"]).unwrap_err();
    assert_refused(&failed, &["no console answers", &nobody.to_string(), "timed out"]);

    let records = batch::of(&[b"an order"]).bytes();
    let counted = std::thread::spawn(move || trace(console, &["orders-0", "--count", "7"]));
    let begun = Instant::now();
    while !counted.is_finished() {
        assert_eq!(produce(&mut connection, "orders", 0, &records).error, 0);
        assert!(begun.elapsed() < LIMIT, "it does not end");
    }
    let said = counted.join().expect("it ended").expect("it was shown");
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    let end = lines.iter().position(|line| line == "7 messages").expect("their number");
    assert_eq!(end, 8, "{said}");
    assert!(count(&lines[1..end], "Append") > 0, "{said}");
}
