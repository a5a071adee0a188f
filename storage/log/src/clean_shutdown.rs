//! The marker of a clean stop: a log directory that has it needs no recovery.

use std::path::Path;

use disk::{Disk, DiskError};
use model::BrokerEpoch;
use serde::{Deserialize, Serialize};

use crate::truncate::remove_if_there;

pub const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

const MAX_FILE: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    version: i32,
    broker_epoch: Option<i64>,
}

/// What the marker of a log directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The epoch that the broker stopped in; files of older brokers do not say.
    pub broker_epoch: Option<BrokerEpoch>,
}

impl CleanShutdown {
    /// `None` after an unclean stop.
    pub fn read(disk: &dyn Disk, log_dir: &Path) -> Result<Option<CleanShutdown>, DiskError> {
        let bytes = match disk.read(&log_dir.join(CLEAN_SHUTDOWN_FILE), MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let content: Option<Content> = serde_json::from_slice(&bytes).ok();
        let broker_epoch = content.and_then(|content| content.broker_epoch).map(BrokerEpoch);
        Ok(Some(CleanShutdown { broker_epoch }))
    }

    /// Once all logs of the directory are closed and their checkpoints written.
    pub fn write(self, disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
        let broker_epoch = self.broker_epoch.map_or(-1, |epoch| epoch.0);
        let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        disk.replace(&log_dir.join(CLEAN_SHUTDOWN_FILE), text.as_bytes())
    }

    /// Durably, before the first log is opened: from then on a stop is unclean.
    pub fn remove(disk: &dyn Disk, log_dir: &Path) -> Result<(), DiskError> {
        remove_if_there(disk, &log_dir.join(CLEAN_SHUTDOWN_FILE))?;
        disk.sync_dir(log_dir)
    }
}
