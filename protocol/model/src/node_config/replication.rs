use std::time::Duration;

use crate::settings::Values;

/// How replica fetchers fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// Of one partition.
    pub fetch_max_bytes: i32,
    pub fetch_response_max_bytes: i32,
    pub fetch_min_bytes: i32,
    pub fetch_wait_max_ms: i32,
    /// After a failure.
    pub fetch_backoff: Duration,
    /// How long a request waits for its answer.
    pub socket_timeout: Duration,
    /// None leaves it to the operating system.
    pub socket_receive_buffer: Option<u32>,
}

impl ReplicationConfig {
    pub fn new(values: &Values) -> ReplicationConfig {
        let ms = |name| Duration::from_millis(u64::try_from(values.int(name)).unwrap_or(0));
        ReplicationConfig {
            fetch_max_bytes: values.int("replica.fetch.max.bytes"),
            fetch_response_max_bytes: values.int("replica.fetch.response.max.bytes"),
            fetch_min_bytes: values.int("replica.fetch.min.bytes"),
            fetch_wait_max_ms: values.int("replica.fetch.wait.max.ms"),
            fetch_backoff: ms("replica.fetch.backoff.ms"),
            socket_timeout: ms("replica.socket.timeout.ms"),
            socket_receive_buffer: u32::try_from(values.int("replica.socket.receive.buffer.bytes"))
                .ok()
                .filter(|bytes| *bytes > 0),
        }
    }
}

/// `num.replica.fetchers`; read anew whenever settings change.
pub fn replica_fetchers(values: &Values) -> u32 {
    u32::try_from(values.int("num.replica.fetchers")).unwrap_or(1).max(1)
}

/// For so long it is remembered what throttled replicas took.
pub fn replication_quota_window(values: &Values) -> Duration {
    let count = |name| u64::try_from(values.int(name)).unwrap_or(1);
    let samples = count("replication.quota.window.num");
    Duration::from_secs(samples * count("replication.quota.window.size.seconds"))
}

/// How long a controller that does not answer is waited for before it is asked over another connection.
pub fn controller_socket_timeout(values: &Values) -> Duration {
    let ms = values.int("controller.socket.timeout.ms");
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
