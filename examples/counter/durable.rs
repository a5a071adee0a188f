//! A counter for each key.

use ottla::durable::{At, Decision, Durable};
use serde::{Deserialize, Serialize};

pub struct Counter;

#[derive(Serialize, Deserialize)]
pub struct Add(pub u64);

#[derive(Serialize, Deserialize)]
pub struct Added(u64);

impl Durable for Counter {
    type Command = Add;
    type Event = Added;
    type State = u64;
    type Reply = u64;

    fn decide(&self, _at: At<'_>, total: &u64, add: Add) -> Decision<Self> {
        Decision::persist(Added(add.0)).reply(total + add.0)
    }

    fn replay(&self, total: &mut u64, added: &Added) {
        *total += added.0;
    }
}
