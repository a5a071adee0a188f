//! Heartbeats: a broker is fenced, unfenced, or helped to stop, and the leaders move with that.

use model::{ErrorCode, Now, Uuid};
use wire::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationChangeRecord,
    MetadataRecord, UnregisterBrokerRecord,
};

use super::elections::Leaving;
use super::{Controller, ControllerEvent, of_records};
use crate::metadata::BrokerRegistration;

/// From the broker's view: what it is, and what its heartbeat makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fenced,
    Unfenced,
    /// Its leaders are being moved; it still serves.
    ControlledShutdown,
    ShutdownNow,
}

impl State {
    fn fenced(self) -> bool {
        matches!(self, State::Fenced | State::ShutdownNow)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerEpochError {
    #[error("No broker registration found for broker id {0}")]
    NotRegistered(i32),
    #[error("Expected broker epoch {expected}, but got broker epoch {got}")]
    Stale { expected: i64, got: i64 },
}

impl BrokerEpochError {
    pub fn code(&self) -> ErrorCode {
        ErrorCode::StaleBrokerEpoch
    }
}

const FENCE: i8 = 1;
const UNFENCE: i8 = -1;

impl Controller {
    pub(super) fn check_broker_epoch(
        &self,
        id: i32,
        epoch: i64,
    ) -> Result<&BrokerRegistration, BrokerEpochError> {
        match self.image().broker(id) {
            None => Err(BrokerEpochError::NotRegistered(id)),
            Some(broker) if broker.epoch != epoch => {
                Err(BrokerEpochError::Stale { expected: broker.epoch, got: epoch })
            }
            Some(broker) => Ok(broker),
        }
    }

    pub(super) fn broker_heartbeat(
        &self,
        now: Now,
        request: &BrokerHeartbeatRequest,
    ) -> (Vec<ControllerEvent>, BrokerHeartbeatResponse) {
        let broker = match self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            Ok(broker) => broker,
            Err(error) => {
                let error_code = error.code().code();
                return (Vec::new(), BrokerHeartbeatResponse { error_code, ..Default::default() });
            }
        };
        let (current, next) = self.next_state(broker, request);
        let mut records = Vec::new();
        if current != next {
            records = match next {
                State::Fenced | State::ShutdownNow if broker.fenced => Vec::new(),
                State::Fenced | State::ShutdownNow => self.records_to_fence(broker),
                State::Unfenced => self.records_to_unfence(broker),
                State::ControlledShutdown => self.records_for_controlled_shutdown(broker),
            };
        }
        if self.image().metadata_version().directory_assignment() {
            records.extend(self.records_for_offline_directories(broker, &request.offline_log_dirs));
        }
        if self.image().metadata_version().cordoned_log_dirs() {
            records.extend(records_for_cordoned_directories(broker, request));
        }
        let last_offset = self.next_offset + records.len() as i64 - 1;
        let mut events = of_records(records);
        events.push(ControllerEvent::Contact {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            metadata_offset: request.current_metadata_offset,
            at: now.mono,
        });
        match next {
            State::ControlledShutdown => {
                events.push(ControllerEvent::ShuttingDown {
                    broker_id: broker.id,
                    offset: last_offset,
                });
            }
            State::ShutdownNow => {
                events.push(ControllerEvent::SessionEnded { broker_id: broker.id });
            }
            // Who heartbeats lives, fenced or not: no other process takes its id.
            State::Fenced | State::Unfenced => {}
        }
        let response = BrokerHeartbeatResponse {
            is_caught_up: request.current_metadata_offset >= broker.record_offset,
            is_fenced: next.fenced(),
            should_shut_down: next == State::ShutdownNow,
            ..Default::default()
        };
        (events, response)
    }

    fn next_state(
        &self,
        broker: &BrokerRegistration,
        request: &BrokerHeartbeatRequest,
    ) -> (State, State) {
        let shutdown_offset = self.heartbeats.shutdown_offset(broker.id);
        if let Some(shutdown_offset) = shutdown_offset {
            let moved = !self.leads_any(broker.id);
            let lowest = self.heartbeats.lowest_offset(|id| self.image().broker_active(id));
            let told = lowest.is_none_or(|lowest| shutdown_offset <= lowest);
            let next = if moved && told { State::ShutdownNow } else { State::ControlledShutdown };
            return (State::ControlledShutdown, next);
        }
        let caught_up = request.current_metadata_offset >= broker.record_offset;
        if broker.fenced {
            // Having stopped as it wished, this process serves no more: another one registers.
            let stops = request.want_shut_down || broker.in_controlled_shutdown;
            let next = match (stops, request.want_fence) {
                (true, _) => State::ShutdownNow,
                (false, false) if caught_up => State::Unfenced,
                (false, _) => State::Fenced,
            };
            return (State::Fenced, next);
        }
        let next = match (request.want_fence, request.want_shut_down) {
            (true, true) => State::ShutdownNow,
            (true, false) => State::Fenced,
            (false, true) if self.leads_any(broker.id) => State::ControlledShutdown,
            (false, true) => State::ShutdownNow,
            (false, false) => State::Unfenced,
        };
        (State::Unfenced, next)
    }

    fn leads_any(&self, broker: i32) -> bool {
        self.image().topics.iter().any(|t| t.partitions.values().any(|p| p.leader == broker))
    }

    pub(super) fn records_to_fence(&self, broker: &BrokerRegistration) -> Vec<MetadataRecord> {
        let mut records =
            self.records_for_leaving(Leaving { removed: Some(broker.id), ..Leaving::default() });
        records.push(change(broker, |r| r.fenced = FENCE));
        records
    }

    fn records_to_unfence(&self, broker: &BrokerRegistration) -> Vec<MetadataRecord> {
        let mut records = vec![change(broker, |r| r.fenced = UNFENCE)];
        records.extend(self.records_for_arrival(broker.id));
        records
    }

    fn records_for_controlled_shutdown(&self, broker: &BrokerRegistration) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        if !broker.in_controlled_shutdown {
            records.push(change(broker, |r| r.in_controlled_shutdown = 1));
        }
        records.extend(
            self.records_for_leaving(Leaving { removed: Some(broker.id), ..Leaving::default() }),
        );
        records
    }

    /// Before a new process of the broker is registered: the old one has stopped, and with an unclean stop it may have lost records
    /// that it had confirmed.
    pub(super) fn records_for_shutdown(&self, broker: i32, clean: bool) -> Vec<MetadataRecord> {
        if self.image().elr_enabled() && !clean {
            self.records_for_leaving(Leaving { unclean: Some(broker), ..Leaving::default() })
        } else {
            self.records_for_leaving(Leaving { removed: Some(broker), ..Leaving::default() })
        }
    }

    pub(super) fn records_for_unregistration(
        &self,
        broker: &BrokerRegistration,
    ) -> Vec<MetadataRecord> {
        let leaving =
            Leaving { removed: Some(broker.id), also_eligible: true, ..Leaving::default() };
        let mut records = self.records_for_leaving(leaving);
        records.push(MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
            broker_id: broker.id,
            broker_epoch: broker.epoch,
            ..Default::default()
        }));
        records
    }

    fn records_for_offline_directories(
        &self,
        broker: &BrokerRegistration,
        offline: &[Uuid],
    ) -> Vec<MetadataRecord> {
        let (lost, online): (Vec<Uuid>, Vec<Uuid>) =
            broker.directories.iter().partition(|d| offline.contains(d));
        if lost.is_empty() {
            return Vec::new();
        }
        let leaving = Leaving { removed: Some(broker.id), directories: lost, ..Leaving::default() };
        let mut records = self.records_for_leaving(leaving);
        records.push(change(broker, |r| r.log_dirs = online));
        records
    }

    pub(super) fn fence_stale_brokers(&self, now: Now) -> Vec<ControllerEvent> {
        // One at a time: where the leaders of one go depends on who was fenced before it.
        let Some((broker_id, epoch)) = self.heartbeats.expired(now, self.session_timeout()).next()
        else {
            return Vec::new();
        };
        let events = self.broker_gone(broker_id, epoch);
        if events.is_empty() { vec![ControllerEvent::SessionEnded { broker_id }] } else { events }
    }

    /// Fences it now. Of a process that was replaced meanwhile nothing is left to do.
    pub(super) fn broker_gone(&self, broker_id: i32, broker_epoch: i64) -> Vec<ControllerEvent> {
        let mut events = match self.check_broker_epoch(broker_id, broker_epoch) {
            Ok(broker) if !broker.fenced => of_records(self.records_to_fence(broker)),
            Ok(_) => Vec::new(),
            Err(_) => return Vec::new(),
        };
        events.push(ControllerEvent::SessionEnded { broker_id });
        events
    }
}

fn change(
    broker: &BrokerRegistration,
    set: impl FnOnce(&mut BrokerRegistrationChangeRecord),
) -> MetadataRecord {
    let mut record = BrokerRegistrationChangeRecord {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        ..Default::default()
    };
    set(&mut record);
    MetadataRecord::BrokerRegistrationChange(record)
}

fn records_for_cordoned_directories(
    broker: &BrokerRegistration,
    request: &BrokerHeartbeatRequest,
) -> Option<MetadataRecord> {
    let sorted = |dirs: &[Uuid]| {
        let mut dirs = dirs.to_vec();
        dirs.sort();
        dirs
    };
    let cordoned = request.cordoned_log_dirs.as_ref()?;
    let known = broker.cordoned_directories.as_deref().map(sorted);
    (known.as_ref() != Some(&sorted(cordoned)))
        .then(|| change(broker, |r| r.cordoned_log_dirs = Some(cordoned.clone())))
}
