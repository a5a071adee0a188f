//! Durable actors: state by key, kept in a topic, that survives its nodes. docs/EXTENDING.md tells of them.

pub use client::{DurableError, DurableRef};
pub use coordinators::DurableTopic;
pub use runtime::durable::{At, CodecError, Decision, Durable, decode};
