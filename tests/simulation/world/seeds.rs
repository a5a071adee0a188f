//! Many seeds, several at a time.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla::sim::{FaultPlan, check_replay};

use super::{Judged, Wrong, plan, run};

/// What was wrong; also where the run itself did not come to an end.
pub fn judged(seed: u64, plan: &FaultPlan, keep_lines: bool) -> Result<Judged, Wrong> {
    catch_unwind(AssertUnwindSafe(|| run(seed, plan, keep_lines))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        broken("the run ends in a panic", text.unwrap_or_default())
    })
}

/// What is wrong with the run itself.
fn broken(kind: &str, what: String) -> Wrong {
    Wrong { at_ms: 0, kind: kind.to_owned(), what }
}

/// What seeds came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub failed: BTreeSet<u64>,
    pub seeds: u64,
    pub acknowledged: usize,
    pub created: usize,
    pub lacked: usize,
    pub simulated_ms: u64,
    pub steps: u64,
}

impl Tally {
    fn add(&mut self, seed: u64, result: Result<Judged, Wrong>) {
        self.seeds += 1;
        match result {
            Ok(judged) => {
                self.acknowledged += judged.acknowledged;
                self.created += judged.created;
                self.lacked += judged.lacked;
                self.simulated_ms += judged.took.as_millis() as u64;
                self.steps += judged.log.count;
                if !judged.wrong.is_empty() {
                    self.fails(seed, &judged.wrong);
                }
            }
            Err(wrong) => self.fails(seed, &[wrong]),
        }
    }

    fn fails(&mut self, seed: u64, wrong: &[Wrong]) {
        self.failed.insert(seed);
        println!("seed {seed} fails:");
        wrong.iter().take(5).for_each(|wrong| println!("  {wrong}"));
    }
}

fn run_seed(seed: u64, twice: bool) -> Result<Judged, Wrong> {
    let plan = plan(seed);
    let first = judged(seed, &plan, false)?;
    if twice {
        check_replay(seed, |seed, keep_lines| run(seed, &plan, keep_lines).log)
            .map_err(|difference| broken("RU-3", difference.to_string()))?;
    }
    Ok(first)
}

/// Runs seeds in parallel.
pub fn tally(from: u64, count: u64, jobs: usize, twice: bool, first: bool) -> Tally {
    let next = AtomicU64::new(from);
    let tally = Mutex::new(Tally::default());
    let locked = || tally.lock().expect("nobody panics with it");
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || first && !locked().failed.is_empty() {
                        return;
                    }
                    let result = run_seed(seed, twice);
                    locked().add(seed, result);
                }
            });
        }
    });
    tally.into_inner().expect("nobody panics with it")
}
