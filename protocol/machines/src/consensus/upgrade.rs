//! kraft.version from 0 to 1 (KIP-853): a leader of fixed voters writes down who they are, by what each has told it. From there on
//! they may change.

use model::ErrorCode;

use super::{Consensus, ControlRecord, Effect, Refusal, Role, VoterSet};
use crate::metadata::KRAFT_VERSION;

/// As Kafka's messages show a level.
fn show(level: i16) -> String {
    format!("KRAFT_VERSION_{level}")
}

fn refuse<T>(reason: &str) -> Result<T, Refusal> {
    let message = Some(format!("Invalid upgrade of {KRAFT_VERSION} {reason}"));
    Err(Refusal { code: ErrorCode::InvalidUpdateVersion, message })
}

impl Consensus {
    pub(super) fn upgrade_asked(
        &mut self,
        ticket: u64,
        level: i16,
        validate_only: bool,
        effects: &mut Vec<Effect>,
    ) {
        let checked = self.upgraded(level);
        if let Ok(Some(voters)) = &checked
            && !validate_only
        {
            let records = vec![
                ControlRecord::kraft_version(level),
                ControlRecord::Voters(voters.to_record()),
            ];
            effects.push(Effect::AppendControl { epoch: self.state.epoch, records });
        }
        effects.push(Effect::AnswerChange { ticket, refusal: checked.err() });
    }

    /// The voters to write down; none where the level is what it is to be.
    fn upgraded(&self, level: i16) -> Result<Option<VoterSet>, Refusal> {
        let Role::Leader(leader) = &self.role else {
            return Err(Refusal { code: ErrorCode::NotLeaderOrFollower, message: None });
        };
        let current = self.kraft_version;
        if level == current {
            return Ok(None);
        }
        let (from, to) = (show(current), show(level));
        if level < current {
            let why = "because the new version is a downgrade";
            return refuse(&format!("from version {from} to {to} {why}"));
        }
        if current > 0 {
            return refuse(&format!("from version {from} to {to}"));
        }
        // Of one that has said nothing neither the versions nor the directory are known.
        let known =
            |id: i32| leader.named.get(id).filter(|voter| !voter.key.directory_id.is_zero());
        let speaks = |id: i32| known(id).is_some_and(|voter| voter.kraft_versions.contains(level));
        if self.voters.iter().all(|voter| speaks(voter.key.id)) {
            Ok(Some(leader.named.clone()))
        } else {
            refuse(&format!("to {to} because not all of the voters support it"))
        }
    }
}
