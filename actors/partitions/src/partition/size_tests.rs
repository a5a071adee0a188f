//! What each of thousands of partitions takes while it rests.

use std::mem::size_of;

use runtime::{Actor, Cx};

use super::{PartitionActor, PartitionMsg};

fn handling_size<'a, A: Actor, F: 'a>(
    _: impl FnOnce(&'a mut A, &'a mut Cx<A>, A::Msg) -> F,
) -> usize {
    size_of::<F>()
}

/// Allocated with each message; ractor keeps room for a message in each actor, several times over.
#[test]
fn the_future_of_a_handler_is_small() {
    let (future, message) = (handling_size(PartitionActor::handle), size_of::<PartitionMsg>());
    assert!(future <= 176 && message <= 32, "handler {future}, message {message}");
}
