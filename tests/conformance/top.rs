//! Parts of the tree, and which actors matter most: as text, and on a terminal.

use crate::batch;
use crate::commands::{get, is_foreign, words};
use crate::node::{Node, OTTLA, ended};
use crate::observed::{fault, find, start, until};
use crate::requests::{create_topic, produce};
use crate::starting::assert_refused;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// A node with fifty partitions, of which one was killed and one is written to.
fn begin() -> (Node, SocketAddr) {
    let (node, console) = start(&["ottla.faults.enable=true"]);
    let mut connection = node.connect();
    create_topic(&mut connection, "many", 50);
    let records = batch::of(&[b"a record"]).bytes();
    for _ in 0..300 {
        assert_eq!(produce(&mut connection, "many", 33, &records).error, 0);
    }
    fault(console, &["kill", "many-44"]).expect("it is there");
    until(console, "many-44", |one| one["restarts"] == 1 && one["status"] == "running");
    (node, console)
}

fn said(console: SocketAddr, args: &[&str]) -> String {
    let (status, said) = ended(&words(&[args, &["--console", &console.to_string()]].concat()));
    assert!(status.success(), "{said}");
    said
}

#[test]
fn as_much_of_the_tree_as_is_asked_for() {
    if is_foreign("as_much_of_the_tree_as_is_asked_for") {
        return;
    }
    let (_node, console) = begin();
    let shallow = said(console, &["tree", "--depth", "2"]);
    assert_refused(&shallow, &["├─ partitions", "│  └─ 50 more below"]);
    assert!(!shallow.contains("many-"), "{shallow}");
    let whole = get(console, "/tree").body.len();
    let part = get(console, "/tree?depth=2").body.len();
    assert!(3 * part < whole, "{part} of {whole} bytes");

    let one = said(console, &["tree", "--filter", "MANY-33"]);
    let names: Vec<&str> = one
        .lines()
        .map(|line| line.trim_start_matches(['│', '├', '└', '─', ' ']))
        .filter_map(|line| line.split([' ', '(']).next())
        .collect();
    assert_eq!(names, ["node-1", "partitions", "many-33"]);
    let kind = said(console, &["tree", "--filter", "listener"]);
    assert_refused(&kind, &["├─ CONTROLLER (listener)", "└─ PLAINTEXT (listener)"]);
    assert!(!kind.contains("storage"), "{kind}");
    let path = said(console, &["tree", "--filter", "quorum/r"]);
    assert_refused(&path, &["raft", "registrar"]);
    let nothing = said(console, &["tree", "--filter", "offline"]);
    assert_eq!(nothing.trim(), "");

    let under = said(console, &["tree", "--under", "partitions", "--depth", "1"]);
    assert!(under.starts_with("partitions  ") && under.contains("└─ 50 more below"), "{under}");
    let (status, wrong) =
        ended(&words(&["tree", "--under", "many-333", "--console", &console.to_string()]));
    assert!(!status.success());
    assert_refused(&wrong, &["no actor", "did you mean"]);
    for wrong in ["/tree?depth=0", "/tree?levels=2", "/top?sort=age", "/top?limit=all"] {
        assert!(get(console, wrong).head.contains("400"), "{wrong}");
    }
}

/// Of a page of actors: the number in a column of each, and its path.
fn rows(page: &str, column: usize) -> Vec<(&str, &str)> {
    let behind = page.lines().skip_while(|line| !line.contains("BUSY%")).skip(1);
    behind
        .map(|line| {
            // Times are a number and a unit.
            let words: Vec<&str> = line.split_whitespace().collect();
            let numbers: Vec<&str> =
                words.iter().filter(|word| !["µs", "ms", "s"].contains(word)).copied().collect();
            (numbers[column], numbers[8])
        })
        .collect()
}

#[test]
fn the_actors_that_matter_most_come_first() {
    if is_foreign("the_actors_that_matter_most_come_first") {
        return;
    }
    let (_node, console) = begin();
    let page = said(console, &["top", "--once", "--sort", "restarts", "--lines", "3"]);
    assert!(page.starts_with("ottla top of 127.0.0.1:"), "{page}");
    assert!(page.lines().next().is_some_and(|head| head.contains(": 3 of ")), "{page}");
    let first = rows(&page, 7);
    assert_eq!((first.len(), first[0]), (3, ("1", "node-1/partitions/many-44")));
    let args = ["top", "--once", "--sort", "handled", "--under", "partitions", "--lines", "2"];
    let page = said(console, &args);
    assert_refused(&page, &["2 of 50 actors under node-1/partitions, by handled", "generation 1"]);
    let busiest = rows(&page, 6);
    assert_eq!(busiest[0].1, "node-1/partitions/many-33");
    assert!(busiest[0].0.parse::<u64>().is_ok_and(|handled| handled >= 300), "{page}");

    // What the page says is what the tree says.
    let slow: Value =
        serde_json::from_str(&get(console, "/top?sort=slow&limit=100&filter=many-").body)
            .expect("JSON");
    let first = slow["first"].as_array().expect("a list");
    assert_eq!((first.len(), &slow["all"]), (50, &Value::from(50)));
    let p99 = |actor: &Value| actor["p99_micros"].as_u64().expect("a number");
    assert!(first.is_sorted_by(|one, other| p99(one) >= p99(other)), "{first:?}");
    let page = said(console, &["top", "--once", "--under", "many-44"]);
    assert_refused(&page, &[" 0 actors under node-1/partitions/many-44", "generation 2", "killed"]);
}

/// A command on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    heard: Receiver<Vec<u8>>,
    all: String,
}

impl Terminal {
    fn of(args: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let size = Winsize { ws_row: 30, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let slave = || OpenOptions::new().read(true).write(true).open(&name).expect("its end");
        let mut command = Command::new(OTTLA);
        command.args(args).stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().expect("the ottla binary");
        let (keys, mut screen) =
            (File::from(master.try_clone().expect("a file")), File::from(master));
        let (said, heard) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                if said.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        // The command has its own.
        drop(command);
        Terminal { child, keys, heard, all: String::new() }
    }

    /// Waits until the screen, drawn since the last key, shows this.
    fn until(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.all.contains(text) {
            assert!(begun.elapsed() < LIMIT, "no {text:?} in {:?}", self.all);
            if let Ok(bytes) = self.heard.recv_timeout(Duration::from_millis(100)) {
                self.all += &String::from_utf8_lossy(&bytes);
            }
        }
    }

    /// Waits until this line stands out.
    fn until_marked(&mut self, text: &str) {
        let begun = Instant::now();
        let is_marked = |all: &str| {
            let mut marked = all.split("\x1b[7m").skip(1).filter_map(|at| at.split_once("\x1b[0m"));
            marked.any(|(line, _)| line.contains(text))
        };
        while !is_marked(&self.all) {
            assert!(begun.elapsed() < LIMIT, "{text:?} is not chosen in {:?}", self.all);
            if let Ok(bytes) = self.heard.recv_timeout(Duration::from_millis(100)) {
                self.all += &String::from_utf8_lossy(&bytes);
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.all.clear();
        self.keys.write_all(keys.as_bytes()).expect("pressed");
    }

    /// It ended well, and the terminal is as before.
    fn ended(mut self) {
        self.until("\x1b[?1049l");
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn top_on_a_terminal_goes_by_keys() {
    if is_foreign("top_on_a_terminal_goes_by_keys") {
        return;
    }
    let (_node, console) = begin();
    let at = console.to_string();
    let mut terminal = Terminal::of(&["top", "--filter", "many-", "--console", &at]);
    terminal.until("50 actors with \"many-\", by busy");
    terminal.until("q quit");
    terminal.press("r");
    terminal.until("by restarts");
    // The first line stands out.
    terminal.until("\x1b[7m");
    terminal.press("\r");
    terminal.until("actors under node-1/partitions/many-44");
    terminal.until("generation 2");
    terminal.press("\x1b[D");
    terminal.until("50 actors with \"many-\", by restarts");
    // Below it are fewer than above what was chosen.
    terminal.press("\x1b[B\x1b[B\x1b[B");
    terminal.until_marked("/many-10");
    terminal.press("\r");
    terminal.until("actors under node-1/partitions/many-10");
    terminal.press("\x1b[D");
    terminal.until_marked("/many-10");
    terminal.press("h");
    terminal.until("by handled");
    terminal.press("\x1b[B");
    terminal.press("q");
    terminal.ended();
}

#[test]
fn the_live_tree_is_drawn_again_as_it_changes() {
    if is_foreign("the_live_tree_is_drawn_again_as_it_changes") {
        return;
    }
    let (node, console) = begin();
    let at = console.to_string();
    let mut terminal = Terminal::of(&["tree", "--live", "--filter", "late", "--console", &at]);
    terminal.until("\x1b[?1049h");
    create_topic(&mut node.connect(), "late", 1);
    terminal.until("late-0 (partition)");
    terminal.press("\x03");
    terminal.ended();

    let mut terminal = Terminal::of(&["tree", "--live", "--console", &at]);
    terminal.until("node-1 (node)");
    kill_process(Pid::from_child(&terminal.child), Signal::TERM).expect("the signal is sent");
    terminal.ended();
    for command in [&["top"][..], &["tree", "--live"]] {
        let (status, said) = ended(&words(&[command, &["--console", &at]].concat()));
        assert!(!status.success());
        assert_refused(&said, &["needs a terminal"]);
    }
    assert!(find(&crate::observed::forest(console), "late-0").is_some());
}

#[test]
fn who_wants_the_end_has_it_at_once_while_nobody_answers() {
    if is_foreign("who_wants_the_end_has_it_at_once_while_nobody_answers") {
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("an address");
    let at = silent.local_addr().expect("it has one").to_string();
    // An answer is waited for twice as long.
    let soon = Duration::from_secs(5);
    for (command, key) in [(&["top"][..], "q"), (&["top"], "\x03"), (&["tree", "--live"], "q")] {
        let mut terminal = Terminal::of(&[command, &["--console", &at]].concat());
        let _asked = silent.accept().expect("it asks");
        let begun = Instant::now();
        terminal.press(key);
        terminal.ended();
        assert!(begun.elapsed() < soon, "{command:?} ends after {:?}", begun.elapsed());
    }
    let mut trace = Command::new(OTTLA);
    let mut child = trace.args(["trace", "raft", "--console", &at]).spawn().expect("the binary");
    let _asked = silent.accept().expect("it asks");
    let begun = Instant::now();
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    assert!(child.wait().expect("a child").success());
    assert!(begun.elapsed() < soon, "trace ends after {:?}", begun.elapsed());
}
