//! The long poll: looks, and where that is not enough waits for its partitions to move, up to the request's time.

use runtime::{Waiter, World};

use super::look::{Looks, look, may_find_more};
use super::{Params, Target};

pub(super) async fn poll(world: &World, params: &Params, targets: &[Target]) -> Looks {
    let found = look(params, targets);
    if params.max_wait.is_zero() || found.enough(params) {
        return found;
    }
    let waited = world.timeout(params.max_wait, more(params, targets)).await;
    waited.unwrap_or_else(|_| look(params, targets))
}

/// Ends when a look finds enough. Nobody is put in line before the first look has found too little.
async fn more(params: &Params, targets: &[Target]) -> Looks {
    let mut waiter = Waiter::new();
    loop {
        for handle in targets.iter().filter_map(|target| target.handle.as_ref()) {
            waiter.on(handle.pulse());
        }
        if targets.iter().any(|target| may_find_more(params, target)) {
            let found = look(params, targets);
            if found.enough(params) {
                return found;
            }
        }
        waiter.wait().await;
    }
}
