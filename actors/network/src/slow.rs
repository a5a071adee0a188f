//! Slow requests, and where their time went, in the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wire::ApiKey;

use crate::api::ConnectionInfo;
use crate::requests::{Moments, Part};

/// So many are told of in each second; the others are counted.
const MOST: u32 = 10;

/// What was told of lately.
#[derive(Debug, Default)]
pub(crate) struct Slow(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    /// In seconds of the node's monotonic clock.
    second: u64,
    told: u32,
    left_out: u64,
}

impl Slow {
    /// How many were left out before, where one more may be told of now.
    fn may_tell(&self, now: Duration) -> Option<u64> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.second != now.as_secs() {
            *lately = Lately { second: now.as_secs(), told: 0, left_out: lately.left_out };
        }
        if lately.told == MOST {
            lately.left_out += 1;
            return None;
        }
        lately.told += 1;
        Some(std::mem::take(&mut lately.left_out))
    }

    /// A request whose answer is out, and which took as long.
    pub(crate) fn tell(
        &self,
        moments: &Moments,
        now: Duration,
        by: &ConnectionInfo,
        client_id: &str,
    ) {
        let Some(left_out) = self.may_tell(now) else { return };
        let [queue, local, remote, send] = moments.parts(now);
        let total = now.saturating_sub(moments.came);
        tracing::warn!(
            request = %moments.id,
            api = %moments.key,
            version = moments.version,
            ?total,
            ?queue,
            ?local,
            ?remote,
            ?send,
            client_id,
            software = by.software(),
            peer = %by.peer,
            listener = by.listener.name,
            left_out,
            "a slow request"
        );
    }
}

/// How long a request took, but for what it is meant to wait for: records that are to come, others of its group.
pub(crate) fn unduly(moments: &Moments, now: Duration) -> Duration {
    let all = now.saturating_sub(moments.came);
    let waits = matches!(moments.key, ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup);
    let meant = if waits { moments.parts(now)[Part::Remote as usize] } else { Duration::ZERO };
    all.saturating_sub(meant)
}

#[cfg(test)]
mod tests {
    use runtime::RequestId;

    use super::*;

    #[test]
    fn waiting_that_is_meant_does_not_count() {
        let ms = Duration::from_millis;
        let id = RequestId::new(1, 7);
        let took = |key| {
            let (came, begun, waits, done) = (ms(0), ms(1), Some(ms(3)), ms(503));
            unduly(&Moments { id, key, version: 0, came, begun, waits, done }, ms(504))
        };
        assert_eq!(took(ApiKey::Fetch), ms(4));
        assert_eq!(took(ApiKey::SyncGroup), ms(4));
        assert_eq!(took(ApiKey::Produce), ms(504));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let slow = Slow::default();
        let at = |ms| slow.may_tell(Duration::from_millis(ms));
        assert!((0..10).all(|ms| at(ms) == Some(0)));
        assert_eq!((at(10), at(999)), (None, None));
        assert_eq!((at(1000), at(1001)), (Some(2), Some(0)));
    }
}
