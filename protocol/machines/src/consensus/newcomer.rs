//! A voter that was started on empty directories, which nobody had formatted by hand: either its cluster is new, or its directories
//! were lost, and with them what it had acknowledged and whom it had voted for. Together with a voter that lags behind it might elect a
//! leader that lacks what it had itself acknowledged. Kafka starts on no such directories.
//!
//! So it helps, itself too, only to elect one whose log is empty, as those of a new cluster are, until it holds all that its leader
//! knows to be committed; or until it has voted, as a vote is asked for only where a majority would have that leader: so its cluster
//! is new.

use super::{Consensus, OffsetAndEpoch};

impl Consensus {
    /// Whether it may have held what it does not hold now.
    pub fn is_newcomer(&self) -> bool {
        self.config.is_newcomer
    }

    pub(super) fn may_help(&self, log_end: OffsetAndEpoch) -> bool {
        !self.config.is_newcomer || log_end == OffsetAndEpoch::EMPTY
    }

    /// Its leader has answered a fetch: what a leader knows to be committed is all that ever was.
    pub(super) fn holds_what_is_committed(&mut self, high_watermark: i64) {
        if high_watermark <= self.log_end.offset {
            self.config.is_newcomer = false;
        }
    }

    pub(super) fn has_voted(&mut self) {
        self.config.is_newcomer = false;
    }
}
