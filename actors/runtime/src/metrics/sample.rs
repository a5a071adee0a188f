use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::stats::HISTOGRAM_BUCKETS;
use super::{Registry, Status, bucket_limit_micros, lock};

/// Sums over all actors of a node, those that are gone included: little enough work to be taken every few seconds.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub actors: u64,
    /// Messages in mailboxes.
    pub waiting: u64,
    pub handled: u64,
    /// By kind and name.
    pub counters: BTreeMap<(&'static str, &'static str), u64>,
    /// Handling times, by powers of two of microseconds.
    pub histogram: [u64; HISTOGRAM_BUCKETS],
}

impl Sample {
    pub fn counter(&self, kind: &'static str, name: &'static str) -> u64 {
        self.counters.get(&(kind, name)).copied().unwrap_or(0)
    }

    /// Of the messages handled since `before`, the time that this share of them did not exceed; none where there were none. Microseconds.
    pub fn quantile_since(&self, before: &Sample, share: f64) -> Option<u64> {
        let since: Vec<u64> = self
            .histogram
            .iter()
            .zip(before.histogram)
            .map(|(now, then)| now.saturating_sub(then))
            .collect();
        quantile(&since, share).map(bucket_limit_micros)
    }
}

/// The bucket of counts that this share of all does not exceed; none where nothing was counted.
pub fn quantile(counts: &[u64], share: f64) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    counts.iter().position(|count| {
        seen += count;
        total > 0 && seen >= wanted
    })
}

impl Registry {
    pub fn sample(&self) -> Sample {
        let mut sample = Sample::default();
        // In this order, so that who goes meanwhile is counted once.
        let entries = self.entries();
        let gone = {
            let past = lock(&self.0.past);
            for totals in past.kinds.values() {
                sample.handled += totals.handled.values().sum::<u64>();
                add(&mut sample.histogram, &totals.histogram);
            }
            sample.counters.extend(past.counters.iter().map(|(key, count)| (*key, *count)));
            past.gone
        };
        for entry in entries {
            let state = lock(&entry.state);
            if state.gone.is_some_and(|at| at <= gone) {
                continue;
            }
            sample.actors += 1;
            if let Some(past) = &state.past {
                sample.handled += past.handled.values().sum::<u64>();
                add(&mut sample.histogram, &past.histogram);
            }
            if let Some(stats) = &state.stats {
                sample.handled += stats.handled();
                if state.status == Status::Running {
                    sample.waiting += stats.depth();
                }
                stats.histogram(|bucket, count| {
                    sample.histogram[bucket] += count.load(Ordering::Relaxed)
                });
            }
            for (name, counter) in &state.counters.0 {
                *sample.counters.entry((entry.kind, name)).or_default() += counter.get();
            }
        }
        sample
    }
}

fn add(sum: &mut [u64; HISTOGRAM_BUCKETS], more: &[u64; HISTOGRAM_BUCKETS]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
