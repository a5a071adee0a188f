//! Voters that come and go (KIP-853): a leader writes one new voter set at a time, and the next one when that is committed. Any two that
//! follow each other share a majority, then.

use std::time::Duration;

use model::{ErrorCode, Now};

use super::{
    Consensus, ControlRecord, Effect, ReplicaKey, Role, Voter, VoterEndpoint, VoterSet, VotersAt,
};
use crate::metadata::{KRAFT_VERSION, LevelRange};

/// One that is to vote must have had all that its leader had within this time.
const CAUGHT_UP_MS: i64 = 3_600_000;

#[derive(Debug, Clone, PartialEq)]
pub enum VoterChange {
    Add {
        key: ReplicaKey,
        endpoints: Vec<VoterEndpoint>,
        /// Answered only then; else as soon as it is written.
        ack_when_committed: bool,
    },
    Remove {
        key: ReplicaKey,
    },
    /// The voter itself says where it is, and what it speaks.
    Update {
        voter: Voter,
    },
    /// `kraft.version` is to have this level; `validate_only`: could it?
    Upgrade {
        level: i16,
        validate_only: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// None for the code's own.
    pub message: Option<String>,
}

/// The change that is under way.
#[derive(Debug)]
pub(super) struct Pending {
    /// Who waits for it, if still.
    ticket: Option<u64>,
    /// Who is to be added, until it has said what it speaks.
    joining: Option<(ReplicaKey, Vec<VoterEndpoint>, bool)>,
    pub(super) expires: Duration,
    appended: bool,
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Result<VoterSet, Refusal> {
    Err(Refusal { code, message: Some(message.into()) })
}

fn later(message: &str) -> Result<VoterSet, Refusal> {
    refuse(ErrorCode::RequestTimedOut, format!("Request timed out waiting for {message}"))
}

/// As Kafka's messages show it.
fn show(key: ReplicaKey) -> String {
    let directory = match key.directory_id.is_zero() {
        true => "<undefined>".to_owned(),
        false => key.directory_id.to_string(),
    };
    format!("ReplicaKey(id={}, directoryId={directory})", key.id)
}

fn show_all(voters: &VoterSet) -> String {
    let shown: Vec<String> = voters.iter().map(|voter| show(voter.key)).collect();
    format!("[{}]", shown.join(", "))
}

impl Consensus {
    pub(super) fn set_voters(&mut self, at: VotersAt) {
        self.voters = at.voters;
        self.voters_offset = at.offset;
        self.voters_before = at.before;
        self.kraft_version = at.kraft_version;
    }

    /// Whether it asks for elections: as a voter; and also as one that was removed, until it knows that to be committed, as those
    /// whose logs say nothing of it may be unable to elect anybody without it. It does not count its own vote, then.
    pub(super) fn stands(&self) -> bool {
        let is_leaving = self.voters_before.is_voter(self.local())
            && self.high_watermark.is_none_or(|offset| Some(offset) <= self.voters_offset);
        self.is_voter() || is_leaving
    }

    pub(super) fn change_asked(
        &mut self,
        now: Now,
        ticket: u64,
        change: VoterChange,
        effects: &mut Vec<Effect>,
    ) {
        self.expire_change(now, effects);
        let checked = match self.check_change(&change) {
            Ok(()) => self.changed_voters(&change),
            Err(refusal) => Err(refusal),
        };
        let expires = now.mono + self.config.request_timeout;
        let mut pending = Pending { ticket: Some(ticket), joining: None, expires, appended: false };
        match (checked, change) {
            (Err(refusal), _) => {
                effects.push(Effect::AnswerChange { ticket, refusal: Some(refusal) });
            }
            (Ok(_), VoterChange::Add { key, endpoints, ack_when_committed }) => {
                effects.push(Effect::AskVersions { of: key, endpoints: endpoints.clone() });
                pending.joining = Some((key, endpoints, ack_when_committed));
                self.change = Some(pending);
            }
            (Ok(voters), VoterChange::Remove { .. }) => {
                pending.appended = true;
                self.change = Some(pending);
                self.append_voters(&voters, effects);
            }
            (Ok(_), VoterChange::Upgrade { level, validate_only }) => {
                self.upgrade_asked(ticket, level, validate_only, effects);
            }
            (Ok(voters), VoterChange::Update { voter }) => {
                if self.kraft_version > 0 {
                    self.append_voters(&voters, effects);
                } else if let Role::Leader(leader) = &mut self.role {
                    leader.named = voters;
                }
                self.heard_of(now, voter.key);
                effects.push(Effect::AnswerChange { ticket, refusal: None });
            }
        }
    }

    /// Whether voters can be changed now at all.
    fn check_change(&self, change: &VoterChange) -> Result<(), Refusal> {
        if !self.is_leader() {
            return Err(Refusal { code: ErrorCode::NotLeaderOrFollower, message: None });
        }
        let refused = match change {
            VoterChange::Upgrade { .. } => return Ok(()),
            _ if self.change.is_some() => later("leader to handle previous voter change request"),
            _ if self.led_high_watermark().is_none() => {
                later("leader to establish HWM and fence previous voter changes")
            }
            VoterChange::Update { .. } if self.kraft_version == 0 => return Ok(()),
            _ if self.kraft_version == 0 => {
                let what = match change {
                    VoterChange::Remove { .. } => "removing",
                    _ => "adding",
                };
                let feature = format!("the {KRAFT_VERSION} feature is {}", self.kraft_version);
                let message = format!("Cluster doesn't support {what} voter because {feature}");
                refuse(ErrorCode::UnsupportedVersion, message)
            }
            _ if self.voters_offset >= self.high_watermark => {
                let (at, committed) = (self.voters_offset, self.high_watermark.unwrap_or(-1));
                let at = at.map_or("Optional.empty".to_owned(), |at| format!("Optional[{at}]"));
                later(&format!(
                    "voters to commit the latest voter change at {at} with HWM {committed}"
                ))
            }
            _ => return Ok(()),
        };
        refused.map(|_| ())
    }

    /// The voters as they would be.
    fn changed_voters(&self, change: &VoterChange) -> Result<VoterSet, Refusal> {
        let voters = &self.voters;
        match change {
            VoterChange::Add { key, .. } if voters.get(key.id).is_some() => {
                let (key, all) = (show(*key), show_all(voters));
                let part = format!("is already part of the set of voters {all}.");
                refuse(ErrorCode::DuplicateVoter, format!("The voter id for {key} {part}"))
            }
            VoterChange::Add { .. } | VoterChange::Upgrade { .. } => Ok(voters.clone()),
            VoterChange::Remove { key } => voters.without(*key).map_or_else(
                || {
                    let from = format!("from the set of voters {}", show_all(voters));
                    let message = format!("Cannot remove voter {} {from}", show(*key));
                    refuse(ErrorCode::VoterNotFound, message)
                },
                Ok,
            ),
            VoterChange::Update { voter } => {
                let updated = match &self.role {
                    _ if !voter.kraft_versions.contains(self.kraft_version) => {
                        return Err(Refusal { code: ErrorCode::InvalidRequest, message: None });
                    }
                    Role::Leader(leader) if self.kraft_version == 0 => leader.named.renamed(voter),
                    _ => voters.updated(voter),
                };
                updated.ok_or(Refusal { code: ErrorCode::VoterNotFound, message: None })
            }
        }
    }

    fn append_voters(&self, voters: &VoterSet, effects: &mut Vec<Effect>) {
        let records = vec![ControlRecord::Voters(voters.to_record())];
        effects.push(Effect::AppendControl { epoch: self.state.epoch, records });
    }

    /// One that is to vote has said what it speaks, or cannot be asked.
    pub(super) fn versions_told(
        &mut self,
        now: Now,
        by: i32,
        supported: Result<Option<LevelRange>, ErrorCode>,
        effects: &mut Vec<Effect>,
    ) {
        let Role::Leader(leader) = &self.role else { return };
        let Some(pending) = self.change.as_mut().filter(|pending| !pending.appended) else {
            return;
        };
        let Some((key, endpoints, ack_when_committed)) = pending.joining.clone() else { return };
        if key.id != by {
            return;
        }
        let known = leader.replicas().find(|(replica, _)| *replica == key);
        let caught_up = known.is_some_and(|(_, progress)| {
            progress.last_caught_up_ms > 0
                && progress.last_fetch_ms > now.wall_ms.saturating_sub(CAUGHT_UP_MS)
        });
        let range = supported.unwrap_or_default().unwrap_or(LevelRange::DISABLED);
        let refusal = match supported {
            Err(error) => {
                let what = "Aborted add voter operation for since API_VERSIONS returned an error";
                refuse(ErrorCode::RequestTimedOut, format!("{what} {}", error.name()))
            }
            Ok(_) if !range.contains(self.kraft_version) => {
                let (LevelRange { min, max }, level) = (range, self.kraft_version);
                let range = format!("range (min: {min}, max: {max} doesn't support");
                let since =
                    format!("since the {KRAFT_VERSION} {range} the finalized version {level}");
                let message = format!("Aborted add voter operation for {} {since}", show(key));
                refuse(ErrorCode::InvalidRequest, message)
            }
            Ok(_) if !caught_up => {
                let message = format!("Aborted add voter operation for {}", show(key));
                let message = format!("{message} since it is lagging behind");
                refuse(ErrorCode::RequestTimedOut, message)
            }
            Ok(_) => {
                let voter = Voter { key, endpoints, kraft_versions: range };
                Ok(self.voters.with(voter))
            }
        };
        match refusal {
            Err(refusal) => self.end_change(Some(refusal), effects),
            Ok(voters) => {
                pending.appended = true;
                if !ack_when_committed && let Some(ticket) = pending.ticket.take() {
                    effects.push(Effect::AnswerChange { ticket, refusal: None });
                }
                self.append_voters(&voters, effects);
            }
        }
    }

    pub(super) fn end_change(&mut self, refusal: Option<Refusal>, effects: &mut Vec<Effect>) {
        let ended = self.change.take().and_then(|pending| pending.ticket);
        effects.extend(ended.map(|ticket| Effect::AnswerChange { ticket, refusal }));
    }

    /// Who waits for a change longer than a request may take is told so; the change may happen all the same.
    pub(super) fn expire_change(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.change.as_ref().is_some_and(|pending| now.mono >= pending.expires) {
            let late = Refusal { code: ErrorCode::RequestTimedOut, message: None };
            self.end_change(Some(late), effects);
        }
    }

    /// More is committed: perhaps the change that was under way, perhaps one that removed this leader.
    pub(super) fn change_committed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.voters_offset >= self.high_watermark {
            return;
        }
        if self.change.as_ref().is_some_and(|pending| pending.appended) {
            self.end_change(None, effects);
        }
        if !self.is_voter() && self.is_leader() {
            let deadline = self.election_deadline(now);
            self.resign(Some(deadline), effects);
        }
    }

    /// The log names other voters, or this node with other endpoints.
    pub(super) fn voters_changed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let stands = self.stands();
        let election = self.election_deadline(now);
        let is_alone = self.others().is_empty();
        if let Role::Leader(leader) = &mut self.role {
            leader.forget_unnamed(&self.voters);
        }
        match &mut self.role {
            Role::Leader(leader) if is_alone => leader.watch_nobody(),
            Role::Leader(leader) => leader.watch(now, self.config.fetch_timeout),
            Role::Follower { deadline, .. } => {
                let usual = deadline.unwrap_or(now.mono + self.config.fetch_timeout);
                *deadline = stands.then_some(usual);
            }
            Role::Unattached { deadline } => {
                *deadline = stands.then_some(deadline.unwrap_or(election));
            }
            Role::Prospective { .. } | Role::Candidate { .. } if !stands => {
                self.role = Role::Unattached { deadline: None };
            }
            _ => {}
        }
        self.update_high_watermark(now, effects);
    }
}
