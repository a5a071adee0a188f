//! What an account is asked, what happens to it, and what it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// No other of its sender has its id; then whose account is on the other side, and how much it is.
pub type Transfer = (u64, String, u64);

#[derive(Serialize, Deserialize)]
pub enum Command {
    Open(u64),
    Look,
    Send(Transfer),
    Take(Transfer),
    Taken(u64),
}

#[derive(Serialize, Deserialize)]
pub enum Event {
    Opened(u64),
    Sent(Transfer),
    Took(Transfer),
    Done(u64),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub open: bool,
    pub balance: u64,
    /// On their way.
    pub sent: BTreeMap<u64, Transfer>,
    /// All that were ever sent.
    pub known: BTreeSet<u64>,
    /// By sender and id.
    pub took: BTreeSet<(String, u64)>,
}

impl Account {
    pub fn replay(&mut self, event: &Event) {
        match event {
            Event::Opened(amount) => {
                self.open = true;
                self.balance += amount;
            }
            Event::Sent(sent) => {
                self.balance -= sent.2;
                self.known.insert(sent.0);
                self.sent.insert(sent.0, sent.clone());
            }
            Event::Took((id, with, amount)) => {
                self.took.insert((with.clone(), *id));
                self.balance += amount;
            }
            Event::Done(id) => drop(self.sent.remove(id)),
        }
    }
}
