//! The long poll: looks, and where that is not enough waits for its partitions to move, up to the request's time.

use runtime::{Counter, Held, Waiter};

use super::look::{Looking, Looks, may_find_more};
use super::{Params, Target};
use crate::Broker;

/// What waits and keeps no more than this is not accounted for: each connection has one.
const SMALL: usize = 64 << 10;

/// A poll that waits gives back the request's memory, and takes for what it keeps itself. Where there is no room for that it
/// does not wait: the client has its answer early, and asks again.
pub(super) async fn poll(
    broker: &Broker,
    params: &Params,
    targets: &[Target],
    request: Held,
    cold_reads: &Counter,
) -> Looks {
    let found = Looking { broker, params, cold_reads, first: true }.look(targets).await;
    if params.max_wait.is_zero() || found.enough(params) {
        return found;
    }
    let kept = size_of_val(targets);
    let room = (kept > SMALL).then(|| {
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        broker.waiting_polls.try_take(kept)
    });
    if let Some(None) = room {
        return found;
    }
    drop((found, request));
    let looking = Looking { broker, params, cold_reads, first: false };
    let waited = broker.world.timeout(params.max_wait, more(&looking, targets)).await;
    match waited {
        Ok(found) => found,
        Err(_) => looking.look(targets).await,
    }
}

/// Ends when a look finds enough. Nobody is put in line before the first look has found too little.
async fn more(looking: &Looking<'_>, targets: &[Target]) -> Looks {
    let params = looking.params;
    let mut waiter = Waiter::new();
    loop {
        for handle in targets.iter().filter_map(|target| target.handle.as_ref()) {
            waiter.on(handle.pulse());
        }
        if targets.iter().any(|target| may_find_more(params, target)) {
            let found = looking.look(targets).await;
            if found.enough(params) {
                return found;
            }
        }
        waiter.wait().await;
    }
}
