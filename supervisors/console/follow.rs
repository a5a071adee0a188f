//! A trace in the terminal, line by line as it goes on.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use model::node_config::HostPort;
use runtime::{AskTrace, Clock, Did, InHand, RealClock, TraceLine, Traced};

use super::asking::{asking, tell_end};
use super::fetch::{FetchError, fetch_trace};
use super::printable;

/// Between two looks.
const STEP: Duration = Duration::from_millis(100);
/// An answer or a failure comes before.
const LONGEST: Duration = Duration::from_secs(3600);
/// For the last answer.
const LAST: Duration = Duration::from_secs(2);
/// What is in hand for longer is told of before it is handled.
const LONG_MS: u64 = 1000;

/// When it ends.
pub struct Until {
    pub lasts: Option<Duration>,
    /// So many messages.
    pub count: Option<u64>,
    /// Somebody asks for its end: it is closed.
    pub stopped: Receiver<()>,
}

/// Shows what an actor does, and at the end how many messages there were of each name.
///
/// # Errors
/// Nobody answers there, or it is refused.
pub fn follow(
    console: &HostPort,
    actor: String,
    until: Until,
    out: &mut impl Write,
) -> Result<(), FetchError> {
    let (clock, mut shown) = (RealClock::new(), Shown::default());
    let (tell, events) = channel();
    let at = console.clone();
    // None: the end.
    tell_end(until.stopped, tell.clone(), None).map_err(FetchError::Thread)?;
    let ask = asking(tell, move |asked| Some(fetch_trace(&at, &asked)));
    let ask = ask.map_err(FetchError::Thread)?;
    let left = || until.lasts.map(|lasts| lasts.saturating_sub(clock.mono()));
    let mut asked = AskTrace { actor, since: None };
    loop {
        let _ = ask.send(asked);
        let traced = match events.recv_timeout(left().map_or(LONGEST, |left| left.max(LAST))) {
            Ok(Some(traced)) => traced?,
            Err(RecvTimeoutError::Timeout) if shown.status.is_empty() => {
                let (address, source) = (console.to_string(), io::ErrorKind::TimedOut.into());
                return Err(FetchError::Io { address, source });
            }
            _ => {
                let _ = shown.sums(out);
                return Ok(());
            }
        };
        let most = until.count.map(|count| count.saturating_sub(shown.messages));
        // Who has seen enough closes the pipe.
        if shown.show(out, &traced, most).is_err() {
            return Ok(());
        }
        let left = left();
        let is_over = left.is_some_and(|left| left.is_zero())
            || until.count.is_some_and(|count| shown.messages >= count);
        asked = AskTrace { actor: traced.path, since: Some(traced.next) };
        let step = left.map_or(STEP, |left| left.min(STEP));
        let ended = is_over || !matches!(events.recv_timeout(step), Err(RecvTimeoutError::Timeout));
        if ended {
            let _ = shown.sums(out);
            return Ok(());
        }
    }
}

#[derive(Default)]
struct Shown {
    status: String,
    messages: u64,
    lost: u64,
    /// How long the message was in hand that was told of.
    in_hand_ms: Option<u64>,
    by_name: BTreeMap<String, Sum>,
}

#[derive(Default)]
struct Sum {
    handled: u64,
    failed: u64,
    took: Duration,
    longest: Duration,
}

impl Shown {
    /// Up to so many messages.
    fn show(&mut self, out: &mut impl Write, traced: &Traced, most: Option<u64>) -> io::Result<()> {
        if self.status.is_empty() {
            writeln!(out, "tracing {}", printable(&traced.path))?;
            self.status = "running".to_owned();
        }
        if traced.interrupted {
            writeln!(out, "-- what it did for a while is not known: nobody asked")?;
        }
        if traced.lost > 0 {
            self.lost += traced.lost;
            writeln!(out, "-- {} lost: it does more than can be shown", traced.lost)?;
        }
        let end = self.messages.saturating_add(most.unwrap_or(u64::MAX));
        for line in &traced.lines {
            if self.messages == end {
                break;
            }
            self.line(out, line)?;
        }
        self.in_hand(out, traced.in_hand.as_ref())?;
        if traced.status != self.status {
            writeln!(out, "-- it is {}", printable(&traced.status))?;
            self.status.clone_from(&traced.status);
        }
        out.flush()
    }

    /// Once of each.
    fn in_hand(&mut self, out: &mut impl Write, now: Option<&InHand>) -> io::Result<()> {
        let now = now.filter(|in_hand| in_hand.for_ms >= LONG_MS);
        let told = std::mem::replace(&mut self.in_hand_ms, now.map(|in_hand| in_hand.for_ms));
        match now {
            Some(InHand { message, for_ms }) if told.is_none_or(|before| before > *for_ms) => {
                let lasts = short(Duration::from_millis(*for_ms));
                writeln!(out, "-- {} is in hand, for {lasts} so far", printable(message))
            }
            _ => Ok(()),
        }
    }

    fn line(&mut self, out: &mut impl Write, line: &TraceLine) -> io::Result<()> {
        let at = time_of_day(line.at_ms);
        match &line.did {
            Did::Handled { message, nanos, failed } => {
                let took = Duration::from_nanos(*nanos);
                let failure = failed.as_ref().map(|why| format!("  FAILED: {}", printable(why)));
                let failure = failure.unwrap_or_default();
                self.messages += 1;
                let sum = self.by_name.entry(message.clone()).or_default();
                sum.handled += 1;
                sum.failed += u64::from(failed.is_some());
                sum.took += took;
                sum.longest = sum.longest.max(took);
                let (took, message) = (short(took), printable(message));
                let request = line.request.as_ref().map(|id| format!("  for {}", printable(id)));
                let request = request.unwrap_or_default();
                writeln!(out, "{at}  {took:>9}  {message}{request}{failure}")
            }
            Did::Restarted { generation, cause } => {
                let cause = printable(cause);
                writeln!(out, "{at}  -- restarted, generation {generation}: {cause}")
            }
        }
    }

    fn sums(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{} messages", self.messages)?;
        for (name, sum) in &self.by_name {
            let mean = sum.took.div_f64(sum.handled as f64);
            let failed =
                if sum.failed > 0 { format!(", {} failed", sum.failed) } else { String::new() };
            let (handled, name) = (sum.handled, printable(name));
            let (mean, longest) = (short(mean), short(sum.longest));
            writeln!(out, "{handled:>9}  {name}{failed}, {mean} in the mean, {longest} at most")?;
        }
        if self.lost > 0 {
            writeln!(out, "{:>9}  lost", self.lost)?;
        }
        out.flush()
    }
}

/// To three digits.
fn short(time: Duration) -> String {
    let micros = time.as_nanos() as f64 / 1e3;
    let (number, unit) = match micros {
        _ if micros < 1e3 => (micros, "µs"),
        _ if micros < 1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$} {unit}")
}

/// In UTC.
fn time_of_day(unix_ms: i64) -> String {
    let ms = unix_ms.rem_euclid(86_400_000);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1000)
}
