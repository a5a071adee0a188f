//! What a shard is asked and what it answers.

use std::fmt;
use std::sync::Arc;

use model::{ErrorCode, Uuid};
use wire::delete_groups_response::DeletableGroupResult;
use wire::describe_causes_response::CausesGroup;
use wire::describe_groups_response::DescribedGroup;
use wire::list_groups_response::ListedGroup;
use wire::offset_fetch_request::OffsetFetchRequestGroup;
use wire::offset_fetch_response::OffsetFetchResponseGroup;

use super::classic::State;
use super::shard::GroupType;

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientContext {
    pub client_id: String,
    /// As Kafka writes an address: with a slash in front, `/127.0.0.1`.
    pub client_host: String,
}

/// A topic that is gone, with its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: String,
    pub id: Uuid,
}

/// Which groups are listed. What a client names is no part of it beyond what there is: it goes to each coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// None: in whatever state.
    states: Option<Vec<State>>,
    /// None: of whatever type.
    types: Option<Vec<GroupType>>,
}

impl ListFilter {
    /// As ListGroups names them, in whatever case; where it names none, all are meant. What does not exist is passed over.
    pub fn named(states: &[String], types: &[String]) -> ListFilter {
        let is_named = |state: &State| {
            // What Java takes for space.
            let names = states.iter().map(|name| name.trim_matches(|c| c <= ' '));
            names.into_iter().any(|name| name.eq_ignore_ascii_case(state.name()))
        };
        let is_type =
            |kind: &GroupType| types.iter().any(|name| name.eq_ignore_ascii_case(kind.name()));
        ListFilter {
            states: (!states.is_empty()).then(|| State::ALL.into_iter().filter(is_named).collect()),
            types: (!types.is_empty())
                .then(|| GroupType::ALL.into_iter().filter(is_type).collect()),
        }
    }

    pub(super) fn takes(&self, state: State, kind: GroupType) -> bool {
        self.states.as_ref().is_none_or(|states| states.contains(&state))
            && self.types.as_ref().is_none_or(|types| types.contains(&kind))
    }
}

/// Topics come with name and, where the cluster knows it, id: whoever asks resolves them, and takes out those that do
/// not exist or must not be seen. Ids of groups are of this shard.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRequest {
    Join(Box<JoinGroup>),
    Sync {
        request: wire::SyncGroupRequest,
        version: i16,
        kept: Kept,
    },
    Heartbeat {
        request: wire::HeartbeatRequest,
    },
    Leave {
        request: wire::LeaveGroupRequest,
        version: i16,
    },
    Describe {
        group_ids: Vec<String>,
        version: i16,
    },
    /// Why it is as it is.
    Causes {
        group_id: String,
    },
    List(ListFilter),
    /// What that comes to in memory, nearly.
    ListSize(ListFilter),
    Delete {
        group_ids: Vec<String>,
    },
    OffsetCommit {
        request: wire::OffsetCommitRequest,
        version: i16,
    },
    OffsetFetch {
        group: OffsetFetchRequestGroup,
        require_stable: bool,
        version: i16,
    },
    OffsetDelete {
        request: wire::OffsetDeleteRequest,
    },
    /// Offsets go with their topics.
    TopicsDeleted {
        topics: Vec<DeletedTopic>,
    },
}

impl GroupRequest {
    /// As much of it as [`GroupRequest::refuse`] needs, where the rest is large and the answer may be long in coming.
    pub fn emptied(&self) -> GroupRequest {
        match self {
            GroupRequest::Join(join) => GroupRequest::Join(Box::new(JoinGroup {
                client: ClientContext::default(),
                request: wire::JoinGroupRequest::default(),
                version: join.version,
                member_uuid: join.member_uuid,
                kept: Kept::default(),
            })),
            GroupRequest::Sync { version, .. } => GroupRequest::Sync {
                request: wire::SyncGroupRequest::default(),
                version: *version,
                kept: Kept::default(),
            },
            other => other.clone(),
        }
    }
}

/// What accounts for memory that a member takes, as long as it does. What it is, and how much there is, only who gave it knows.
#[derive(Clone, Default)]
pub struct Kept(
    #[expect(dead_code, reason = "that it is dropped is all that counts")]
    Option<Arc<dyn Send + Sync>>,
);

impl Kept {
    pub fn new(claim: Arc<dyn Send + Sync>) -> Kept {
        Kept(Some(claim))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// It is no part of what a group is.
impl PartialEq for Kept {
    fn eq(&self, _: &Kept) -> bool {
        true
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct JoinGroup {
    pub client: ClientContext,
    pub request: wire::JoinGroupRequest,
    pub version: i16,
    /// Becomes part of the member id, where one is made.
    pub member_uuid: Uuid,
    /// For as many bytes as [`JoinGroup::memory`].
    pub kept: Kept,
}

/// Each of the request's own kind.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupReply {
    Join(wire::JoinGroupResponse),
    Sync(wire::SyncGroupResponse),
    Heartbeat(wire::HeartbeatResponse),
    Leave(wire::LeaveGroupResponse),
    Describe(Vec<DescribedGroup>),
    Causes(Box<CausesGroup>),
    List {
        error: ErrorCode,
        groups: Vec<ListedGroup>,
    },
    /// In bytes.
    ListSize(usize),
    Delete(Vec<DeletableGroupResult>),
    OffsetCommit(wire::OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponseGroup),
    OffsetDelete(wire::OffsetDeleteResponse),
    /// Not done: there was more than fits one batch, so ask once more.
    TopicsDeleted {
        done: bool,
    },
}

/// A timer of a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupTimer {
    /// The member's session, or for a pending one the time to come back with its id.
    Member { group_id: String, member_id: String },
    /// The time in which members must join a rebalance.
    Join { group_id: String },
    /// The time in which joined members must sync.
    Sync { group_id: String },
    /// Offsets and groups that are past their retention.
    Expiration,
}
