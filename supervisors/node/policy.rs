//! How each kind of actor is supervised: data, in one place.

use std::time::Duration;

use runtime::{Backoff, Bulkhead, ChildSpec, GiveUp};

/// When what fails again and again is tried once more.
const REVIVAL: Duration = Duration::from_secs(30);

/// A partition recovers its log and is back in milliseconds; one that cannot goes offline alone, for a while, and others lead it.
pub(crate) fn partition() -> ChildSpec {
    let backoff =
        Backoff { initial: Duration::from_millis(1), max: Duration::from_secs(1), jitter: 0.5 };
    ChildSpec::permanent()
        .on(Bulkhead::Storage)
        .intensity(3, Duration::from_secs(60))
        .backoff(backoff)
        .give_up(GiveUp::Offline)
        .revive_after(REVIVAL)
        .shutdown(Duration::from_secs(60))
        .stops_at_once()
}

/// A replica fetcher has nothing to lose: it is started again however often it fails, as no other fetches its partitions.
pub(crate) fn fetcher() -> ChildSpec {
    let backoff =
        Backoff { initial: Duration::from_millis(10), max: Duration::from_secs(1), jitter: 0.5 };
    ChildSpec::permanent()
        .on(Bulkhead::Network)
        .intensity(u32::MAX, Duration::from_secs(60))
        .backoff(backoff)
        .give_up(GiveUp::Offline)
        .shutdown(Duration::from_secs(1))
        .stops_at_once()
}

/// Who sends traces has nothing to lose either.
pub(crate) fn exporter() -> ChildSpec {
    fetcher()
}

/// A coordinator loads anew from its partition; it ends where the partition's leadership does. One that cannot load is offline
/// alone.
pub(crate) fn coordinator() -> ChildSpec {
    ChildSpec::transient()
        .intensity(10, Duration::from_secs(60))
        .give_up(GiveUp::Offline)
        .revive_after(REVIVAL)
}

/// A branch of the tree: its failure is the node's.
pub(crate) fn branch() -> ChildSpec {
    ChildSpec::permanent().give_up(GiveUp::Escalate).shutdown(Duration::from_secs(120))
}

/// Raft, the controller and what follows the metadata log.
pub(crate) fn quorum_member() -> ChildSpec {
    ChildSpec::permanent().give_up(GiveUp::Escalate)
}

/// The ways to other nodes of the quorum: raft asks again whatever a failed one was asked.
pub(crate) fn peer() -> ChildSpec {
    quorum_member().shutdown(Duration::from_secs(1)).stops_at_once()
}

/// Raft and log directories wait for the disk.
pub(crate) fn storage_member() -> ChildSpec {
    quorum_member().on(Bulkhead::Storage).shutdown(Duration::from_secs(60))
}

/// A listener's socket outlives it.
pub(crate) fn listener() -> ChildSpec {
    ChildSpec::permanent().on(Bulkhead::Network).give_up(GiveUp::Escalate)
}

/// A connection's failure is its client's: it connects anew.
pub(crate) fn connection() -> ChildSpec {
    ChildSpec::temporary().on(Bulkhead::Network).shutdown(Duration::from_secs(1)).stops_at_once()
}

/// Its topic waits for it.
pub(crate) fn interceptor() -> ChildSpec {
    let backoff =
        Backoff { initial: Duration::from_millis(10), max: Duration::from_secs(1), jitter: 0.5 };
    extension().backoff(backoff).intensity(20, Duration::from_secs(60)).revive_after(REVIVAL)
}

/// What users add: kept apart, so that a bug in it costs nothing else.
pub(crate) fn extension() -> ChildSpec {
    of_users(ChildSpec::permanent())
}

/// Whatever a user's own policy says, one that is given up is offline alone; where that names no threads, it is not on the controller's.
pub(crate) fn of_users(spec: ChildSpec) -> ChildSpec {
    let bulkhead = match spec.bulkhead {
        Bulkhead::Control => Bulkhead::Extensions,
        named => named,
    };
    spec.on(bulkhead).give_up(GiveUp::Offline)
}
