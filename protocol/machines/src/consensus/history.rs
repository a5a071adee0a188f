//! Which voters the metadata log names, and where: what stands there counts at once, committed or not, until it is cut off again.

use std::collections::BTreeMap;

use super::{ControlRecord, VoterSet};

/// By the offset of the record that says it.
#[derive(Debug, Clone, Default)]
pub struct VoterHistory {
    fixed: VoterSet,
    voters: BTreeMap<i64, VoterSet>,
    kraft_versions: BTreeMap<i64, i16>,
}

/// Who votes, as of some offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VotersAt {
    pub voters: VoterSet,
    /// Where they are written: the record's offset, or the last one that the snapshot contains which names them (-1 for the one that a
    /// cluster begins with). None where they are fixed by the settings.
    pub offset: Option<i64>,
    pub kraft_version: i16,
    /// Who voted before; nobody where that is not known any more.
    pub before: VoterSet,
}

impl VoterHistory {
    /// `fixed` are those of controller.quorum.voters: they count where nothing is written.
    pub fn new(fixed: VoterSet) -> VoterHistory {
        VoterHistory { fixed, ..VoterHistory::default() }
    }

    /// False where the record says nothing of the voters.
    pub fn add(&mut self, offset: i64, record: &ControlRecord) -> bool {
        match record {
            ControlRecord::Voters(voters) => {
                self.voters.insert(offset, VoterSet::from_record(voters));
            }
            ControlRecord::KRaftVersion(version) => {
                self.kraft_versions.insert(offset, version.kraft_version);
            }
            _ => return false,
        }
        true
    }

    /// A snapshot says all that was before its end: what is known from before that is forgotten.
    pub fn begin_with(&mut self, end_offset: i64, voters: Option<VoterSet>, kraft_version: i16) {
        *self = VoterHistory::new(std::mem::take(&mut self.fixed));
        self.voters.extend(voters.map(|voters| (end_offset - 1, voters)));
        if kraft_version > 0 {
            self.kraft_versions.insert(end_offset - 1, kraft_version);
        }
    }

    /// The log ends here.
    pub fn truncate(&mut self, end_offset: i64) {
        self.voters.split_off(&end_offset);
        self.kraft_versions.split_off(&end_offset);
    }

    /// Nobody will ask for what counted before `offset` any more.
    pub fn forget_before(&mut self, offset: i64) {
        fn trim<T>(map: &mut BTreeMap<i64, T>, offset: i64) {
            if let Some((first, _)) = map.range(..offset).next_back() {
                let first = *first;
                map.retain(|at, _| *at >= first);
            }
        }
        trim(&mut self.voters, offset);
        trim(&mut self.kraft_versions, offset);
    }

    pub fn newest(&self) -> VotersAt {
        self.before(i64::MAX)
    }

    /// What counts for a log that ends here.
    pub fn before(&self, end_offset: i64) -> VotersAt {
        let mut all = self.voters.range(..end_offset);
        let written = all.next_back();
        VotersAt {
            voters: written.map_or(&self.fixed, |(_, voters)| voters).clone(),
            offset: written.map(|(offset, _)| *offset),
            kraft_version: self
                .kraft_versions
                .range(..end_offset)
                .next_back()
                .map_or(0, |(_, version)| *version),
            before: all.next_back().map(|(_, voters)| voters.clone()).unwrap_or_default(),
        }
    }
}
