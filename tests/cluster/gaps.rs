//! How long producers waited, by what was done to the nodes.

use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
pub struct Gaps(BTreeMap<String, Vec<Duration>>);

impl Gaps {
    pub fn add(&mut self, kind: &str, gap: Duration) {
        self.0.entry(kind.to_owned()).or_default().push(gap);
    }

    /// A line for each kind, for the runner to judge.
    pub fn tell(&self) {
        for (kind, gaps) in &self.0 {
            let mut sorted = gaps.clone();
            sorted.sort_unstable();
            let (least, middle) = (sorted[0], sorted[sorted.len() / 2]);
            let most = sorted[sorted.len() - 1];
            println!(
                "MEASURED: {kind}, {} times: least {}, median {}, longest gap {}",
                sorted.len(),
                ms(least),
                ms(middle),
                ms(most)
            );
        }
    }
}

pub fn ms(gap: Duration) -> String {
    format!("{}ms", gap.as_millis())
}
