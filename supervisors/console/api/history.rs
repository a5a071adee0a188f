//! The last hour, in samples.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use runtime::{Sample, World};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::query::Asked;
use super::{All, Answer, Json};

pub(super) const STEP: Duration = Duration::from_secs(5);
/// An hour.
const KEPT: usize = 720;

/// What is kept of each sample, in this order.
const SERIES: [(&str, &str); 11] = [
    ("Messages handled", "per second"),
    ("Requests", "per second"),
    ("Batches appended", "per second"),
    ("Bytes appended", "bytes per second"),
    ("Bytes replicated from leaders", "bytes per second"),
    ("Half of messages handled within", "microseconds"),
    ("99 % of messages handled within", "microseconds"),
    ("Messages waiting", "messages"),
    ("Actors", "actors"),
    ("Memory of the process", "bytes"),
    ("CPU of the process", "percent of a core"),
];

/// Not a number where nothing is known.
type Point = [f32; SERIES.len()];

/// Of this process, all of its nodes together.
pub(super) struct Process {
    cpu: Duration,
    /// Bytes; none where the system does not tell.
    resident: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(cpu.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(cpu.tv_nsec).unwrap_or(0);
        Process { cpu: Duration::new(seconds, nanos), resident: resident() }
    }
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[derive(Default)]
pub(super) struct History(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: Option<Last>,
    /// When in Unix milliseconds, and what.
    points: VecDeque<(i64, Point)>,
}

struct Last {
    at: Duration,
    cpu: Duration,
    sample: Sample,
}

impl History {
    pub(super) fn note(&self, world: &World, process: &Process) {
        let (at, wall_ms, sample) = (world.mono(), world.now().wall_ms, world.registry().sample());
        let kept = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Last { at, cpu: process.cpu, sample };
        // What happened before the first one is not known.
        if let Some(last) = kept.last.replace(next)
            && let Some(next) = &kept.last
        {
            if kept.points.len() == KEPT {
                kept.points.pop_front();
            }
            kept.points.push_back((wall_ms, point(&last, next, process)));
        }
    }
}

fn point(last: &Last, next: &Last, process: &Process) -> Point {
    let seconds = next.at.saturating_sub(last.at).as_secs_f64().max(1e-3);
    let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds) as f32;
    let count = |kind, name| rate(next.sample.counter(kind, name), last.sample.counter(kind, name));
    let within = |share| {
        let micros = next.sample.quantile_since(&last.sample, share);
        micros.map_or(f32::NAN, |micros| micros as f32)
    };
    [
        rate(next.sample.handled, last.sample.handled),
        count("connection", "requests"),
        count("partition", "batches_appended"),
        count("partition", "bytes_appended"),
        count("replica-fetcher", "bytes_fetched"),
        within(0.5),
        within(0.99),
        next.sample.waiting as f32,
        next.sample.actors as f32,
        process.resident.map_or(f32::NAN, |bytes| bytes as f32),
        (next.cpu.saturating_sub(last.cpu).as_secs_f64() / seconds * 100.0) as f32,
    ]
}

pub(super) async fn history(State(all): State<Arc<All>>, asked: Asked) -> Answer {
    let seen = all.meant(&asked)?;
    let since: i64 = asked.number("since")?.unwrap_or(0);
    let kept = seen.history.0.lock().unwrap_or_else(PoisonError::into_inner);
    let points: Vec<&(i64, Point)> = kept.points.iter().filter(|(at, _)| *at > since).collect();
    let at: Vec<i64> = points.iter().map(|(at, _)| *at).collect();
    let series: Vec<Value> = SERIES
        .iter()
        .enumerate()
        .map(|(index, (name, unit))| {
            let value = |(_, point): &&(i64, Point)| Some(point[index]).filter(|v| v.is_finite());
            let values: Vec<Option<f32>> = points.iter().map(value).collect();
            json!({ "name": name, "unit": unit, "values": values })
        })
        .collect();
    let step_ms = u64::try_from(STEP.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(json!({ "step_ms": step_ms, "kept": KEPT, "at": at, "series": series })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_tells_what_was_done_since_the_last_one() {
        let sample = |handled, requests| Sample {
            handled,
            counters: [(("connection", "requests"), requests)].into(),
            ..Sample::default()
        };
        let of = |seconds, cpu_ms, sample| Last {
            at: Duration::from_secs(seconds),
            cpu: Duration::from_millis(cpu_ms),
            sample,
        };
        let process = Process { cpu: Duration::ZERO, resident: None };
        let point = point(&of(10, 100, sample(1000, 50)), &of(20, 600, sample(3000, 40)), &process);
        assert_eq!((point[0], point[10]), (200.0, 5.0));
        assert_eq!(point[1], 0.0, "a counter never goes back");
        assert!(point[5].is_nan() && point[9].is_nan());
    }
}
