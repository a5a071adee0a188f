//! What is said, on its way to stdout and stderr: who says something does not wait for who reads it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that may wait to be read. What is said beyond them is lost, and counted.
const WAITING: usize = 256 << 10;
/// How long the end of the process waits for who reads.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// To stdout.
pub static OUT: LazyLock<Lines> = LazyLock::new(|| Lines::to("ottla-stdout", io::stdout()));
/// To stderr.
pub static ERR: LazyLock<Lines> = LazyLock::new(|| Lines::to("ottla-stderr", io::stderr()));

/// Lines that a thread of their own writes; each `write` is one of them.
pub struct Lines {
    shared: Arc<Shared>,
    has_thread: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines, since the last that was taken.
    lost: u64,
    /// One is being written.
    busy: bool,
}

impl Lines {
    fn to(thread: &str, out: impl Write + Send + 'static) -> Lines {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        let thread = thread::Builder::new().name(thread.to_owned());
        let has_thread = thread.spawn(move || theirs.write_to(out)).is_ok();
        Lines { shared, has_thread }
    }

    /// Waits until all that was said is written, or nobody seems to read it.
    pub fn written(&self) {
        let waiting = self.shared.lock();
        let is_owed = |waiting: &mut Waiting| waiting.busy || waiting.has_more();
        let waited = self.shared.changed.wait_timeout_while(waiting, LAST_WORDS, is_owed);
        drop(waited);
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.has_thread {
            self.shared.lock().say(line);
            self.shared.changed.notify_all();
            return Ok(line.len());
        }
        // Nothing else runs either.
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut waiting = self.lock();
        loop {
            let Some(line) = waiting.next() else {
                waiting.busy = false;
                self.changed.notify_all();
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            waiting.busy = true;
            drop(waiting);
            // Where nobody can read it any more, it is not missed.
            let _ = out.write_all(&line).and_then(|()| out.flush());
            waiting = self.lock();
            waiting.bytes -= line.len();
        }
    }
}

impl Waiting {
    fn has_more(&self) -> bool {
        self.lost > 0 || !self.lines.is_empty()
    }

    fn say(&mut self, line: &[u8]) {
        if self.bytes + line.len() > WAITING {
            self.lost += 1;
            return;
        }
        self.say_lost();
        self.add(line.to_vec());
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.lines.is_empty() {
            self.say_lost();
        }
        self.lines.pop_front()
    }

    fn say_lost(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            self.add(format!("ottla: {lost} lines are lost here: nobody read them\n").into());
        }
    }

    fn add(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Writes when it is told to, and shows what.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_nobody_reads_is_lost_and_counted_and_what_waits_is_written() {
        const LINE: usize = 1000;
        let (tell, told) = channel();
        let (show, shown) = channel();
        let lines = Lines::to("slow", Slow(told, show));
        let said = 1000;
        for n in 0..said {
            (&lines).write_all(format!("{n:>width$}\n", width = LINE - 1).as_bytes()).unwrap();
        }
        let kept = WAITING / LINE;
        for n in 0..kept {
            tell.send(()).unwrap();
            let line = String::from_utf8(shown.recv().unwrap()).unwrap();
            assert_eq!(line.trim().parse(), Ok(n));
        }
        tell.send(()).unwrap();
        let note = String::from_utf8(shown.recv().unwrap()).unwrap();
        assert_eq!(note, format!("ottla: {} lines are lost here: nobody read them\n", said - kept));
        tell.send(()).unwrap();
        (&lines).write_all(b"the last\n").unwrap();
        lines.written();
        assert_eq!(shown.try_recv().unwrap(), b"the last\n");
    }
}
