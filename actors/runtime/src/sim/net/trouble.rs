//! What goes wrong on the wires.

use std::time::Duration;

use super::{Network, Side};

impl Network {
    pub(in crate::sim) fn block(&self, from: usize, to: usize) {
        let mut state = self.state();
        let state = &mut *state;
        if from == to || !state.blocked.insert((from, to)) {
            return;
        }
        for (when, (end, segment)) in std::mem::take(&mut state.flying) {
            if state.route(end) == Some((from, to)) {
                state.held.push((end, segment));
            } else {
                state.flying.insert(when, (end, segment));
            }
        }
    }

    pub(in crate::sim) fn unblock(&self, from: usize, to: usize) {
        let mut state = self.state();
        if state.blocked.remove(&(from, to)) {
            for (end, segment) in std::mem::take(&mut state.held) {
                state.send(end, segment);
            }
        }
    }

    pub(in crate::sim) fn slow_down(&self, one: usize, other: usize, by: Duration) {
        let mut state = self.state();
        let pair = (one.min(other), one.max(other));
        match by.as_micros() as u64 {
            0 => state.slow.remove(&pair),
            by => state.slow.insert(pair, by),
        };
    }

    /// What `from` sends on the connections there are arrives after this time at the earliest.
    pub(in crate::sim) fn hold_up(&self, from: usize, to: usize, late: Duration) {
        let mut state = self.state();
        let state = &mut *state;
        let until = state.now_us + late.as_micros() as u64;
        for end in state.ends_of(|side, peer| side.at.node == from && peer.at.node == to) {
            if let Some(side) = state.side(end) {
                side.last_arrival_us = side.last_arrival_us.max(until);
            }
        }
        for ((when, seq), (end, segment)) in std::mem::take(&mut state.flying) {
            let held_up = state.route(end) == Some((from, to));
            let when = if held_up { when.max(until) } else { when };
            state.flying.insert((when, seq), (end, segment));
        }
    }

    /// Breaks, for the sender alone, the connections on which something is held up.
    pub(in crate::sim) fn break_late(&self, from: usize, to: usize) {
        let mut state = self.state();
        // More than the network takes by itself.
        let late = state.now_us + 1_000_000;
        let held_up = |side: &Side, peer: &Side| {
            (side.at.node, peer.at.node) == (from, to) && side.last_arrival_us > late
        };
        for end in state.ends_of(held_up) {
            state.take_reset(end);
        }
    }

    /// Breaks all connections between two nodes.
    pub(in crate::sim) fn reset(&self, one: usize, other: usize) {
        let mut state = self.state();
        let between = |side: &Side, peer: &Side| {
            (side.at.node, peer.at.node) == (one, other)
                || (side.at.node, peer.at.node) == (other, one)
        };
        for end in state.ends_of(between) {
            state.take_reset(end);
        }
    }
}
