//! The group coordinator: one replicated machine for each partition of `__consumer_offsets`.
//!
//! A shard holds the groups whose ids hash to its partition, and the offsets that they committed. Each kind of group is
//! a module of its own beside `classic`; `offsets` serves them all. What a shard asks of the rest of the node it gets
//! with the request: resolved topics, a uuid, the time.

mod admin;
mod causes;
mod classic;
mod event;
mod offsets;
mod refusal;
mod request;
mod settings;
mod shard;

#[cfg(test)]
mod admin_tests;
#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod rig;

pub use classic::{ClassicGroup, InitialDelay, Member, MemberId, ParkedJoin, Protocol, State};
pub use event::{GroupEvent, Record, RecordError};
pub use offsets::{CommittedOffset, fetch_groups, fetch_response};
pub use refusal::offset_fetch_error;
pub use request::{
    ClientContext, DeletedTopic, GroupReply, GroupRequest, GroupTimer, JoinGroup, Kept, ListFilter,
};
pub use settings::GroupSettings;
pub use shard::{Group, GroupDecision, GroupShard, GroupType};
