//! What an account is asked, what happens to it, and what it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// No other has its id; then whose account is on the other side, and how much it is.
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
    Took(u64, u64),
    Done(u64),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub balance: u64,
    pub sent: BTreeMap<u64, Transfer>,
    pub took: BTreeSet<u64>,
}
