//! What went wrong at one place of the tree.

use std::collections::VecDeque;
use std::time::Duration;

use super::tree::Restarted;
use crate::actor::Failure;

/// So many restarts are kept.
const RESTARTS: usize = 8;
/// A longer text is cut off.
const MOST_TEXT: usize = 1024;

#[derive(Default)]
pub(super) struct Trouble {
    pub(super) last: Option<(Duration, Failure)>,
    /// Of the next restart.
    cause: Option<Box<str>>,
    restarts: VecDeque<Restart>,
}

struct Restart {
    generation: u64,
    at: Duration,
    cause: Box<str>,
}

impl Trouble {
    pub(super) fn failed(&mut self, now: Duration, failure: &Failure) {
        self.cause = Some(cut(failure.to_string()).into());
        self.last = Some((now, failure.clone()));
    }

    pub(super) fn goes_with(&mut self, failure: &Failure) {
        self.cause = Some(cut(format!("a sibling failed: {failure}")).into());
    }

    /// Answers the cause.
    pub(super) fn restarted(&mut self, generation: u64, now: Duration) -> &str {
        if self.restarts.len() == RESTARTS {
            self.restarts.pop_front();
        }
        let cause = self.cause.take().unwrap_or_default();
        self.restarts.push_back(Restart { generation, at: now, cause });
        self.restarts.back().map_or("", |restart| &restart.cause)
    }

    /// The last ones, the newest last.
    pub(super) fn restarts(&self, now: Duration) -> Vec<Restarted> {
        let told = |Restart { generation, at, cause }: &Restart| Restarted {
            generation: *generation,
            ago_ms: now.saturating_sub(*at).as_millis() as u64,
            cause: cause.to_string(),
        };
        self.restarts.iter().map(told).collect()
    }
}

pub(crate) fn cut(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        text.truncate(text.floor_char_boundary(MOST_TEXT));
        text.push_str("...");
    }
    text
}
