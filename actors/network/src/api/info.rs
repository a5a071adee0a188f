//! What is known of a listener and of a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::quorum::Process;
use machines::metadata::MetadataVersion;
use runtime::Counter;
use wire::ListenerKind;

use super::produce;

/// In characters.
const MAX_SOFTWARE: usize = 64;

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) listener: Arc<ListenerInfo>,
    pub(crate) peer: SocketAddr,
    /// Name and version of the client's software, once ApiVersions told them (KIP-511), for the tree.
    software: OnceLock<Box<str>>,
    /// In nanoseconds of the node's monotonic clock, and before its last answer is out.
    last_active: AtomicU64,
    /// Whose heartbeats come by it.
    heard: Mutex<Option<Process>>,
    /// Batches that came too early.
    pub(super) refused: produce::RefusedBatches,
    /// The active controller takes other versions than the client was told.
    pub(super) told_old_versions: AtomicBool,
    /// Its last fetch is a follower's.
    is_followers: AtomicBool,
}

impl ConnectionInfo {
    pub(crate) fn new(
        listener: Arc<ListenerInfo>,
        peer: SocketAddr,
        now: Duration,
    ) -> ConnectionInfo {
        let info = ConnectionInfo {
            listener,
            peer,
            software: OnceLock::new(),
            last_active: AtomicU64::new(0),
            heard: Mutex::default(),
            refused: produce::RefusedBatches::default(),
            told_old_versions: AtomicBool::new(false),
            is_followers: AtomicBool::new(false),
        };
        info.was_active(now);
        info
    }

    /// Told again, it stays what it was first. What is longer than any software's name is cut.
    pub(crate) fn tell_software(&self, name: &str, version: &str) {
        self.software.get_or_init(|| {
            format!("{name:.MAX_SOFTWARE$} {version:.MAX_SOFTWARE$}").into_boxed_str()
        });
    }

    /// Empty where it is not known.
    pub(crate) fn software(&self) -> &str {
        self.software.get().map_or("", |software| software)
    }

    pub(crate) fn heard_of(&self, process: Process) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    /// The broker whose last heartbeat came by it.
    pub(crate) fn heard(&self) -> Option<Process> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is sent on is not answered any more: the client is to connect anew, and is told of the versions that there are.
    pub(super) fn told_old_versions(&self) {
        self.told_old_versions.store(true, Ordering::Relaxed);
    }

    pub(super) fn fetches_as(&self, replica_id: i32) {
        self.is_followers.store(replica_id >= 0, Ordering::Relaxed);
    }

    pub(crate) fn is_followers(&self) -> bool {
        self.is_followers.load(Ordering::Relaxed)
    }

    pub(crate) fn was_active(&self, now: Duration) {
        self.last_active.store(now.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn last_active(&self) -> u64 {
        self.last_active.load(Ordering::Relaxed)
    }
}

/// One of the node's listeners.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    pub(crate) name: String,
    pub(crate) kind: ListenerKind,
    pub(crate) unstable_versions: bool,
    pub(crate) metadata_version: MetadataVersion,
    pub(crate) cold_reads: Counter,
}
