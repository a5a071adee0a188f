//! Many seeds, several at a time.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla::sim::{FaultPlan, check_replay};

use super::{Judged, plan, run};

/// What was wrong; also where the run itself did not come to an end.
pub fn judged(seed: u64, plan: &FaultPlan, keep_lines: bool) -> Result<Judged, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, plan, keep_lines))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without a message".to_owned())
    })
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
    fn add(&mut self, seed: u64, result: Result<Judged, String>) {
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
            Err(panic) => self.fails(seed, &[panic]),
        }
    }

    fn fails(&mut self, seed: u64, wrong: &[String]) {
        self.failed.insert(seed);
        println!("seed {seed} fails:\n  {}", wrong[..wrong.len().min(5)].join("\n  "));
    }
}

fn run_seed(seed: u64, twice: bool) -> Result<Judged, String> {
    let plan = plan(seed);
    let first = judged(seed, &plan, false)?;
    if twice {
        check_replay(seed, |seed, keep_lines| run(seed, &plan, keep_lines).log)
            .map_err(|difference| difference.to_string())?;
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
