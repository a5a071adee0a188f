//! Some seeds in each run of the tests; many by hand, by the example `simulate`.

use ottla::sim::check_replay;

use super::{plan, run, seeds};

/// `OTTLA_WORLDS` is how many, `OTTLA_JOBS` how many at a time.
#[test]
fn what_a_cluster_told_stays_true() {
    let number = |name, otherwise| crate::seeds::number(name).unwrap_or(otherwise);
    let jobs = number("OTTLA_JOBS", 2) as usize;
    let tally = seeds::tally(0, number("OTTLA_WORLDS", 24), jobs, false, false);
    assert!(tally.failed.is_empty(), "`cargo run --example simulate replay SEED`: {tally:?}");
    assert!(tally.lacked > 0, "no replica has left the ISR: {tally:?}");
    assert!(tally.acknowledged > 500, "too few records to mean much: {tally:?}");
    assert!(tally.created > 20, "too few topics to mean much: {tally:?}");
}

#[test]
fn a_cluster_replays() {
    let again = check_replay(1, |seed, keep_lines| run(seed, &plan(seed), keep_lines).log);
    again.unwrap_or_else(|difference| panic!("{difference}"));
}
