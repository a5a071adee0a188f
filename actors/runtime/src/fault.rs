//! Faults that people set on purpose, to see what they lead to. An actor that has none pays for one look at a flag.

use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::actor::{Failure, Outcome};
use crate::metrics::{cut, lock};
use crate::world::World;

/// No fault lasts longer.
pub const LONGEST_FAULT: Duration = Duration::from_mins(10);

/// What is to befall an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It ends at once, as by a crash.
    Kill,
    /// It takes nothing in hand for so long; what is sent to it waits.
    Pause { for_ms: u64 },
    /// Each message is in hand for so much longer, for so long.
    Delay { by_ms: u64, for_ms: u64 },
    /// Its next message is not handled: it fails.
    Fail { message: String },
    /// Nothing of the above.
    Resume,
}

impl Fault {
    /// With no more text than is kept of a failure.
    pub(crate) fn bounded(self) -> Fault {
        match self {
            Fault::Fail { message } => Fault::Fail { message: cut(message) },
            other => other,
        }
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFault {
    /// Its path, or as much of the path's end as no other actor's has.
    pub actor: String,
    pub fault: Fault,
}

/// Those that are set for one incarnation.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    set: Mutex<Set>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Set {
    /// When it ends.
    paused: Option<Duration>,
    /// By how much, and when it ends.
    delayed: Option<(Duration, Duration)>,
    fails: Option<String>,
}

impl Set {
    /// Without what has ended.
    fn at(&mut self, now: Duration) -> &mut Set {
        self.paused = self.paused.filter(|until| *until > now);
        self.delayed = self.delayed.filter(|(_, until)| *until > now);
        self
    }
}

impl Faults {
    pub(crate) fn set(&self, fault: Fault, now: Duration) {
        let until = |for_ms| now + Duration::from_millis(for_ms).min(LONGEST_FAULT);
        let mut set = lock(&self.set);
        match fault {
            Fault::Pause { for_ms } => set.paused = Some(until(for_ms)),
            Fault::Delay { by_ms, for_ms } => {
                let by = Duration::from_millis(by_ms).min(LONGEST_FAULT);
                set.delayed = Some((by, until(for_ms)));
            }
            Fault::Fail { message } => set.fails = Some(message),
            Fault::Kill | Fault::Resume => *set = Set::default(),
        }
        self.changed.notify_waiters();
    }

    /// What is still to come of them, in words.
    pub(crate) fn told(&self, now: Duration) -> Option<String> {
        let mut set = lock(&self.set);
        let set = set.at(now);
        let left = |until: Duration| until.saturating_sub(now).as_secs_f64();
        let mut text = String::new();
        if let Some(until) = set.paused {
            let _ = write!(text, "paused for {:.1} s", left(until));
        }
        if let Some((by, until)) = set.delayed {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}delayed by {by:?} for {:.1} s", left(until));
        }
        if let Some(message) = &set.fails {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}fails next: {message}");
        }
        (!text.is_empty()).then_some(text)
    }

    /// What befalls the next one in the mailbox before it is taken in hand. `is_message`: it is none of the kit's own.
    pub(crate) async fn befall(&self, world: &World, is_message: bool) -> Outcome {
        loop {
            let changed = self.changed.notified();
            let paused = {
                let (now, mut set) = (world.mono(), lock(&self.set));
                match set.at(now).paused {
                    Some(until) => until.saturating_sub(now),
                    None if !is_message => return Ok(()),
                    None => return set.fails.take().map_or(Ok(()), |why| Err(Failure::new(why))),
                }
            };
            sleep_or(world, paused, changed).await;
        }
    }

    /// Lasts as long as the message that is in hand is delayed.
    pub(crate) async fn delay(&self, world: &World) {
        let taken = world.mono();
        loop {
            let changed = self.changed.notified();
            let now = world.mono();
            let Some((by, until)) = lock(&self.set).at(now).delayed else { return };
            let left = (taken + by).min(until).saturating_sub(now);
            if left.is_zero() {
                return;
            }
            sleep_or(world, left, changed).await;
        }
    }
}

async fn sleep_or(world: &World, time: Duration, changed: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = changed => {}
        () = world.sleep(time) => {}
    }
}
