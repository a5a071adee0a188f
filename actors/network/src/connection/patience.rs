//! How long a connection may keep the node waiting.

use std::time::Duration;

use super::Step;

/// How long a peer may pause inside a frame that the node holds memory for.
const STALLED_FRAME: Duration = Duration::from_secs(30);
/// How long memory may be held for requests that have not begun while others wait for it: less than a client waits for an answer.
const HELD_IN_SHORTAGE: Duration = Duration::from_secs(15);
/// How often that is looked at.
const CHECK: Duration = Duration::from_secs(5);

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("idle for too long")]
    Idle,
    #[error("stalled inside a frame")]
    Stalled,
    #[error("held memory for too long that others waited for")]
    Hoarding,
    #[error("left an answer unread for longest, and others need the memory")]
    Unread,
}

/// How things stand when the alarm rings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) step: Step,
    /// Memory is held for bytes of a frame that has not begun.
    pub(crate) inside_frame: bool,
    /// The connection itself waits for memory.
    pub(crate) waits: bool,
    /// Some connection of the node does.
    pub(crate) short: bool,
}

#[derive(Debug)]
pub(crate) struct Patience {
    /// `connections.max.idle.ms`.
    idle_after: Duration,
    last_active: Duration,
    last_heard: Duration,
    /// Since when there is memory held for requests of which none has begun.
    holds_since: Option<Duration>,
    alarm: Duration,
}

impl Patience {
    pub(crate) fn new(now: Duration, idle_after: Duration) -> Patience {
        let alarm = now.saturating_add(idle_after);
        Patience { idle_after, last_active: now, last_heard: now, holds_since: None, alarm }
    }

    /// The socket took or gave something, or an answer is there.
    pub(crate) fn was_active(&mut self, now: Duration) {
        self.last_active = now;
    }

    /// The peer sent something, or was not listened to.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.last_heard = now;
    }

    /// A request has begun.
    pub(crate) fn began(&mut self, now: Duration) {
        self.holds_since = self.holds_since.map(|_| now);
    }

    /// When to look next.
    pub(crate) fn alarm(&self) -> Duration {
        self.alarm
    }

    /// Whether the alarm is to ring at another time than was said before.
    pub(crate) fn set_alarm(&mut self, now: Duration, holds_memory: bool) -> bool {
        let idle = self.last_active.saturating_add(self.idle_after);
        let due = if holds_memory { idle.min(now + CHECK) } else { idle };
        self.holds_since = holds_memory.then(|| self.holds_since.unwrap_or(now));
        let moved = due < self.alarm || self.alarm <= now;
        if moved {
            self.alarm = due;
        }
        moved
    }

    pub(crate) fn check(&mut self, now: Duration, standing: Standing) -> Result<(), Lost> {
        let Standing { step, inside_frame, waits, short } = standing;
        let since = |then: Duration| now.saturating_sub(then);
        if since(self.last_active) >= self.idle_after {
            return Err(Lost::Idle);
        }
        if short && self.holds_since.is_some_and(|held| since(held) >= HELD_IN_SHORTAGE) {
            return Err(Lost::Hoarding);
        }
        if step != Step::Read || waits {
            self.heard(now);
        } else if inside_frame && since(self.last_heard) >= STALLED_FRAME {
            return Err(Lost::Stalled);
        }
        Ok(())
    }
}
