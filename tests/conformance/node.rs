//! The broker under test: an `ottla` process of the test's own, or whatever serves at OTTLA_BOOTSTRAP.

use crate::last_words;
use crate::raw::Connection;
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
const START_LIMIT: Duration = Duration::from_secs(20);

pub struct Node {
    pub address: SocketAddr,
    process: Option<Process>,
}

struct Process {
    child: Child,
    output: Output,
    home: TempDir,
    /// The program's name first.
    command: Vec<String>,
}

/// What the process says, kept to be shown when a test fails.
struct Output {
    lines: Receiver<String>,
    heard: Vec<String>,
}

/// Waited for by tests that take thousands of descriptors or all of a core: one of them at a time beside the others.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kafka's defaults, but a group forms at once: three seconds for each test would be spent waiting.
const SETTINGS: [&str; 1] = ["group.initial.rebalance.delay.ms=0"];

impl Node {
    pub fn start() -> Node {
        Node::start_with(&[])
    }

    /// A node with these settings; none where the broker is somebody else's and cannot be told.
    pub fn start_with(settings: &[&str]) -> Node {
        if let Ok(bootstrap) = env::var("OTTLA_BOOTSTRAP") {
            let address = bootstrap.to_socket_addrs().ok().and_then(|mut all| all.next());
            let address = address.unwrap_or_else(|| panic!("OTTLA_BOOTSTRAP={bootstrap}"));
            return Node { address, process: None };
        }
        let home = TempDir::new().expect("a temporary directory");
        let address = free_address();
        let data = home.path().join("data");
        let mut args = start_args(&address.to_string(), &data);
        for setting in SETTINGS.iter().chain(settings) {
            args.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        Node::start_by(home, address, args)
    }

    /// A node by a command line of the test's own, which makes it listen on `address`.
    pub fn start_by(home: TempDir, address: SocketAddr, args: Vec<String>) -> Node {
        Node::launch(home, address, [vec![OTTLA.to_owned()], args].concat())
    }

    /// The same, of one that does not serve before others do.
    pub fn begin(home: TempDir, address: SocketAddr, args: Vec<String>) -> Node {
        let command = [vec![OTTLA.to_owned()], args].concat();
        let (child, output) = spawn(&command);
        Node { address, process: Some(Process { child, output, home, command }) }
    }

    fn launch(home: TempDir, address: SocketAddr, command: Vec<String>) -> Node {
        let (child, output) = spawn(&command);
        let mut process = Process { child, output, home, command };
        process.wait_until_it_serves(address);
        Node { address, process: Some(process) }
    }

    /// A node of the test's own that has no more descriptors than this.
    pub fn start_limited(test: &str, descriptors: u32, settings: &[&str]) -> Option<Node> {
        if env::var_os("OTTLA_BOOTSTRAP").is_some() {
            eprintln!("SKIPPED {test}: it needs a process of its own, OTTLA_BOOTSTRAP is set");
            return None;
        }
        let home = TempDir::new().expect("a temporary directory");
        let address = free_address();
        let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut command = vec!["sh".to_owned(), "-c".to_owned(), limited, OTTLA.to_owned()];
        command.extend(start_args(&address.to_string(), &home.path().join("data")));
        for setting in SETTINGS.iter().chain(settings) {
            command.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        Some(Node::launch(home, address, command))
    }

    /// SIGTERM; answers how it ended, all it said, and its home.
    pub fn terminate(mut self) -> (ExitStatus, String, TempDir) {
        self.ask_to_stop();
        let (status, said) = self.wait_for_its_end();
        let process = self.process.take().expect("a process of the test's own");
        (status, said, process.home)
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        ask_to_stop(&self.process.as_ref().expect("a process of the test's own").child);
    }

    /// A node of the test's own with these log directories under its home, the metadata log in the first; none where the
    /// broker is somebody else's.
    pub fn start_on(test: &str, dirs: &[&str], settings: &[&str]) -> Option<Node> {
        if env::var_os("OTTLA_BOOTSTRAP").is_some() {
            eprintln!("SKIPPED {test}: it needs a process of its own, OTTLA_BOOTSTRAP is set");
            return None;
        }
        let home = TempDir::new().expect("a temporary directory");
        let paths: Vec<String> =
            dirs.iter().map(|dir| home.path().join(dir).to_string_lossy().into_owned()).collect();
        let address = free_address();
        let data = home.path().join("data");
        let mut args = start_args(&address.to_string(), &data);
        let dirs =
            [&*format!("log.dirs={}", paths.join(",")), &*format!("metadata.log.dir={}", paths[0])];
        for setting in SETTINGS.iter().chain(settings).chain(&dirs) {
            args.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        Some(Node::start_by(home, address, args))
    }

    /// kill -9, and a start that must fail; answers all that was said.
    pub fn fail_to_restart(&mut self) -> String {
        let process = self.process.as_mut().expect("a process of the test's own");
        process.child.kill().expect("SIGKILL");
        process.child.wait().expect("a dead process");
        (process.child, process.output) = spawn(&process.command);
        let (status, said) = self.wait_for_its_end();
        assert!(!status.success());
        said
    }

    /// Waits until the process ends by itself; answers how it ended and all it said.
    pub fn wait_for_its_end(&mut self) -> (ExitStatus, String) {
        let process = self.process.as_mut().expect("a process of the test's own");
        let begin = Instant::now();
        loop {
            if let Some(status) = process.child.try_wait().expect("a child") {
                process.output.listen(Duration::from_millis(200));
                return (status, process.output.all());
            }
            assert!(begin.elapsed() < START_LIMIT, "it goes on");
            process.output.listen(Duration::from_millis(5));
        }
    }

    /// All that the process has said, as far as it was heard.
    pub fn said(&mut self) -> String {
        self.process.as_mut().expect("a process of the test's own").output.all()
    }

    /// Waits until the process has said this.
    pub fn wait_to_hear(&mut self, words: &str) {
        let begin = Instant::now();
        while !self.said().contains(words) {
            assert!(begin.elapsed() < START_LIMIT, "it does not say {words:?}:\n{}", self.said());
            let process = self.process.as_mut().expect("a process of the test's own");
            process.output.listen(Duration::from_millis(5));
        }
    }

    pub fn home(&self) -> Option<PathBuf> {
        self.process.as_ref().map(|process| process.home.path().to_owned())
    }

    /// A node of the test's own; none, said aloud, where the broker is somebody else's.
    pub fn start_own(test: &str) -> Option<Node> {
        Node::start_own_with(test, &[])
    }

    pub fn start_own_with(test: &str, settings: &[&str]) -> Option<Node> {
        if env::var_os("OTTLA_BOOTSTRAP").is_some() {
            eprintln!("SKIPPED {test}: it needs a process of its own, OTTLA_BOOTSTRAP is set");
            return None;
        }
        Some(Node::start_with(settings))
    }

    /// A node that the test may kill: its own, or one that the shell command in OTTLA_CRASH kills and starts again.
    pub fn start_mortal(test: &str) -> Option<Node> {
        if env::var_os("OTTLA_CRASH").is_some() {
            Some(Node::start())
        } else {
            Node::start_own(test)
        }
    }

    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    pub fn data(&self) -> Option<PathBuf> {
        self.process.as_ref().map(|process| process.home.path().join("data"))
    }

    /// Where the controller of a node of the test's own listens.
    pub fn controller(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// kill -9, and the same again on the same directory; answers how long until it served again.
    pub fn kill_and_restart(&mut self) -> Duration {
        self.kill_and_restart_after(|_| {})
    }

    /// As [`Node::kill_and_restart`]; what is done meanwhile is told the data directory of a process of the test's own.
    pub fn kill_and_restart_after(&mut self, meanwhile: impl FnOnce(&Path)) -> Duration {
        let address = self.address;
        let Some(process) = &mut self.process else { return crash_foreign() };
        process.child.kill().expect("SIGKILL");
        process.child.wait().expect("a dead process");
        meanwhile(&process.home.path().join("data"));
        let begin = Instant::now();
        (process.child, process.output) = spawn(&process.command);
        process.wait_until_it_serves(address);
        begin.elapsed()
    }

    /// kill -9, and a start on the same directory that is told to stop as soon as it has looked at it.
    pub fn kill_and_stop_while_it_starts(&mut self) {
        let metadata =
            self.data().expect("a process of the test's own").join("__cluster_metadata-0");
        let process = self.process.as_mut().expect("a process of the test's own");
        process.child.kill().expect("SIGKILL");
        process.child.wait().expect("a dead process");
        (process.child, process.output) = spawn(&process.command);
        let files = format!("/proc/{}/fd", process.child.id());
        // What is in the log directory is read before.
        let has_opened = || {
            let mut files = fs::read_dir(&files).into_iter().flatten().filter_map(Result::ok);
            files.any(|file| fs::read_link(file.path()).is_ok_and(|to| to.starts_with(&metadata)))
        };
        let begin = Instant::now();
        while !has_opened() {
            assert!(begin.elapsed() < START_LIMIT, "it does not begin");
        }
        ask_to_stop(&process.child);
        let (status, said) = self.wait_for_its_end();
        assert!(status.success(), "{status}: {said}");
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// Resident memory in bytes, where the process is ours or OTTLA_PID names it.
    pub fn resident(&self) -> Option<u64> {
        let foreign = env::var("OTTLA_PID").ok().and_then(|text| text.parse().ok());
        let pid = self.pid().or(foreign)?;
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    /// The most that was ever resident, in bytes, where the process is ours.
    pub fn peak(&self) -> Option<u64> {
        let pid = self.pid()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// How far the peak is above one of before: not below it, although Linux tells a lower one where pages were given back
    /// meanwhile, as it keeps their count roughly.
    pub fn peak_above(&self, before: Option<u64>) -> u64 {
        self.peak().zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
    }

    /// Memory that is set aside, whether anything was written to it or not, in bytes, where the process is ours.
    pub fn reserved(&self) -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid()?)).ok()?;
        let pages: u64 = statm.split(' ').next()?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    /// Fails if the node has come to hold more than `limit` bytes above `before`.
    pub fn assert_grew_less(&self, before: Option<u64>, limit: u64) {
        if let (Some(before), Some(now)) = (before, self.resident()) {
            let grown = now.saturating_sub(before);
            eprintln!("MEASURED: resident {} MiB before, {} MiB now", before >> 20, now >> 20);
            let ours = self.process.is_some();
            assert!(!ours || grown < limit, "grew by {} MiB", grown >> 20);
        }
    }
}

impl Process {
    fn wait_until_it_serves(&mut self, address: SocketAddr) {
        let begin = Instant::now();
        while !Connection::try_open(address).is_some_and(|mut c| c.is_served()) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("ottla ended: {status}\n{}", self.output.all());
            }
            assert!(begin.elapsed() < START_LIMIT, "does not serve\n{}", self.output.all());
            self.output.listen(Duration::from_millis(2));
        }
    }
}

impl Output {
    fn of(child: &mut Child) -> Output {
        let (sender, lines) = channel();
        forward(child.stdout.take().expect("a pipe"), sender.clone());
        forward(child.stderr.take().expect("a pipe"), sender);
        Output { lines, heard: Vec::new() }
    }

    fn listen(&mut self, limit: Duration) {
        self.heard.extend(self.lines.recv_timeout(limit).ok());
    }

    fn all(&mut self) -> String {
        self.heard.extend(self.lines.try_iter());
        self.heard.join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        if thread::panicking() {
            let who = format!("the node at {}", self.address);
            eprintln!("{}", last_words::of(&who, &process.output.all()));
        }
        drop(process.child.kill());
        drop(process.child.wait());
    }
}

pub fn ask_to_stop(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("the signal is sent");
}

fn forward(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

fn spawn(command: &[String]) -> (Child, Output) {
    let (program, args) = command.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the ottla binary");
    let output = Output::of(&mut child);
    (child, output)
}

fn start_args(listen: &str, data: &Path) -> Vec<String> {
    let data = data.to_string_lossy();
    let args = ["start", "--listen", listen, "--console", "off", "--data", &data];
    args.map(str::to_owned).to_vec()
}

pub fn start_command(listen: &str, data: &Path) -> Command {
    let mut command = Command::new(OTTLA);
    command.args(start_args(listen, data));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn crash_foreign() -> Duration {
    let begin = Instant::now();
    let command = env::var("OTTLA_CRASH").expect("OTTLA_CRASH");
    let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
    assert!(status.success(), "{command}");
    begin.elapsed()
}

/// Runs a start that must fail; answers how it ended and all it said.
pub fn failing_start(listen: &str, data: &Path, more: &[&str]) -> (ExitStatus, String) {
    let mut args = start_args(listen, data);
    args.extend(more.iter().map(|text| (*text).to_owned()));
    ended(&args)
}

/// Runs a command that must end by itself; answers how it ended and all it said.
pub fn ended(args: &[String]) -> (ExitStatus, String) {
    let (mut child, mut output) = spawn(&[&[OTTLA.to_owned()], args].concat());
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            // Its pipes end with it.
            output.heard.extend(output.lines.iter());
            return (status, output.all());
        }
        if begin.elapsed() > START_LIMIT {
            drop(child.kill());
            panic!("it started, or hangs:\n{}", output.all());
        }
        output.listen(Duration::from_millis(5));
    }
}

/// A free port with a free one behind it, where the node's controller listens. Below those that the system hands out to
/// clients: after kill -9 the node must find both free again.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 500) as u16 * 20;
    loop {
        let offset = first.wrapping_add(NEXT.fetch_add(2, Ordering::Relaxed)) % 10_000;
        let port = 20_000 + offset;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return SocketAddr::from(([127, 0, 0, 1], port));
        }
    }
}
