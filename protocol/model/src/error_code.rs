//! Kafka's error codes, as the wire carries them.

use std::fmt;

macro_rules! error_codes {
    ($($(#[$attr:meta])* $variant:ident = $code:literal, $name:literal, $retriable:ident, $message:literal;)*) => {
        /// What a response says went wrong. Names and codes are Kafka's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(
                $(#[$attr])*
                #[doc = $message]
                $variant = $code,
            )*
        }

        impl ErrorCode {
            /// Every code, in numeric order.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant),*];

            /// Kafka's name, such as `NOT_LEADER_OR_FOLLOWER`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// What it means, in one sentence.
            pub fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)*
                }
            }

            /// Whether a client may send the same request again and hope for better.
            pub fn retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => error_codes!(@$retriable),)*
                }
            }
        }
    };
    (@retriable) => { true };
    (@final) => { false };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", final, "The server met an unexpected error while processing the request.";
    #[default]
    None = 0, "NONE", final, "No error.";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", final, "The requested offset lies outside the offsets this log holds.";
    CorruptMessage = 2, "CORRUPT_MESSAGE", retriable, "The record batch is damaged: wrong checksum, wrong size, a missing key in a compacted topic, or unreadable.";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", retriable, "This server does not host this topic-partition.";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", final, "The requested fetch size is invalid.";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", retriable, "The partition has no leader yet: an election is under way.";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", retriable, "This broker is not the leader of the partition, or not a replica of it.";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", retriable, "The request timed out.";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", final, "The broker is not available.";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", retriable, "The replica is not available for this topic-partition.";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", final, "The record batch is larger than the largest one this server accepts.";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", final, "The controller has moved to another node.";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", final, "The metadata of the committed offset is too large.";
    NetworkException = 13, "NETWORK_EXCEPTION", retriable, "The server disconnected before it answered.";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", retriable, "The coordinator is still loading and cannot serve requests yet.";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", retriable, "The coordinator is not available.";
    NotCoordinator = 16, "NOT_COORDINATOR", retriable, "This is not the right coordinator.";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", final, "The request names an invalid topic, or does what this topic does not allow.";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", final, "The record batch is larger than a log segment may be.";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", retriable, "Refused: fewer replicas are in sync than min.insync.replicas demands.";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", retriable, "Written, but to fewer in-sync replicas than min.insync.replicas demands.";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", final, "The acks of the produce request must be -1, 0 or 1.";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", final, "The generation id of the group is not valid.";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", final, "The member's protocols do not fit those of the group, or are empty.";
    InvalidGroupId = 24, "INVALID_GROUP_ID", final, "The group id is invalid.";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", final, "The coordinator does not know this member.";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", final, "The session timeout lies outside group.min.session.timeout.ms and group.max.session.timeout.ms.";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", final, "The group is rebalancing: join it again.";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", final, "The committed offset data is too large to be stored.";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", final, "Not authorized for this topic.";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", final, "Not authorized for this group.";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", final, "Not authorized for this operation on the cluster.";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", final, "The record's timestamp is outside the allowed range.";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", final, "The broker does not support this SASL mechanism.";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", final, "The request does not fit the state of the SASL exchange.";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", final, "This version of the API is not supported.";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", final, "A topic of this name already exists.";
    InvalidPartitions = 37, "INVALID_PARTITIONS", final, "The number of partitions is not allowed.";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", final, "The replication factor is below 1 or above the number of available brokers.";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", final, "The replica assignment is invalid.";
    InvalidConfig = 40, "INVALID_CONFIG", final, "The configuration is invalid.";
    NotController = 41, "NOT_CONTROLLER", retriable, "This is not the active controller of the cluster.";
    InvalidRequest = 42, "INVALID_REQUEST", final, "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", final, "The record format of the log does not support this request.";
    PolicyViolation = 44, "POLICY_VIOLATION", final, "The request violates a policy of the cluster.";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", final, "The producer's sequence number does not follow the last one.";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", final, "The producer's sequence number was seen before.";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", final, "The producer wrote with an old epoch.";
    InvalidTxnState = 48, "INVALID_TXN_STATE", final, "The state of the transaction does not allow this operation.";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", final, "The producer id is not the one assigned to its transactional id.";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", final, "The transaction timeout is larger than transaction.max.timeout.ms.";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", retriable, "Another operation on the same transaction is still under way.";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", final, "The transaction coordinator that sent the marker is no longer the current one.";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", final, "Not authorized for this transactional id.";
    SecurityDisabled = 54, "SECURITY_DISABLED", final, "Security features are disabled.";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", final, "The operation was not attempted, as another one of the same request failed.";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", retriable, "The disk failed while the log was accessed.";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", final, "The log directory is not one of this broker's.";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", final, "SASL authentication failed.";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", final, "The broker holds no state for this producer id.";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", final, "The partition is being reassigned.";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", final, "Delegation tokens are not enabled.";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", final, "The delegation token is not known to this server.";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", final, "The principal is neither owner nor renewer of the delegation token.";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", final, "Delegation token requests are not allowed on this kind of connection.";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", final, "Not authorized for this delegation token.";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", final, "The delegation token has expired.";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", final, "This type of principal is not supported.";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", final, "The group still has members.";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", final, "The group does not exist.";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", retriable, "The fetch session does not exist.";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", retriable, "The epoch of the fetch session is not the expected one.";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", retriable, "The leader has no listener of the name this request came in on.";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", final, "Deleting topics is disabled.";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", retriable, "The leader epoch of the request is older than the broker's.";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", retriable, "The leader epoch of the request is newer than the broker's.";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", final, "The client does not support the compression type of this partition.";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", final, "The broker epoch is not the current one.";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", retriable, "The high watermark of the new leader has not caught up, so offsets could go backwards.";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", final, "The member must join again with the member id it was just given.";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", retriable, "The preferred leader is not available.";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", final, "The group has as many members as it may have.";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", final, "Another member with the same group.instance.id has taken over.";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", retriable, "No replica that may become leader is available.";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", retriable, "The partition needs no leader election.";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", final, "The partition is not being reassigned.";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", final, "The group is subscribed to the topic, so its offsets cannot be deleted.";
    InvalidRecord = 87, "INVALID_RECORD", final, "The record was refused by the broker's validation.";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", retriable, "Some offsets are still part of an open transaction.";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", retriable, "The quota is exceeded.";
    ProducerFenced = 90, "PRODUCER_FENCED", final, "A newer producer with the same transactional id has taken over.";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", final, "The request refers to a resource that does not exist.";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", final, "The request refers to the same resource twice.";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", final, "The credential does not meet what is required of it.";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", final, "The sender or the receiver is not one of the expected voters.";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", final, "The version of the update is not valid.";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", final, "The features could not be updated.";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", final, "The principal of a forwarded request cannot be read.";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", final, "The snapshot does not exist.";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", final, "The position lies outside the snapshot.";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", retriable, "This server does not host this topic ID.";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", final, "This broker id is already in use.";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", final, "This broker id is not registered.";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", retriable, "The topic id of the request is not the one of the log.";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", final, "The cluster id of the request is not this cluster's.";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", final, "The transactional id does not exist.";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", retriable, "The fetch session mixes topic ids and topic names.";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", final, "The new ISR contains a replica that may not be in it.";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", final, "The partition was altered, and its leader has changed.";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", final, "The requested offset has moved to tiered storage.";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", final, "The member epoch is fenced: give up all partitions and join again.";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", final, "Another member still uses this instance id, and must leave first.";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", final, "The group does not support this assignor, or its version range.";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", final, "The member epoch is stale: heartbeat for the new one, then try again.";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", final, "The request was sent to the wrong type of endpoint.";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", final, "This type of endpoint is not supported.";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", final, "This controller id is not known.";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", final, "The telemetry subscription id is not valid, or no longer.";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", final, "The pushed telemetry is larger than telemetry.max.bytes.";
    InvalidRegistration = 119, "INVALID_REGISTRATION", final, "The controller refused the broker registration as invalid.";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", final, "The transaction failed and can be aborted: the transactional id stays usable.";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", final, "The state of the record does not allow this acknowledgement.";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", retriable, "The share session does not exist.";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", retriable, "The epoch of the share session is not the expected one.";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", final, "The state epoch does not match the coordinator's.";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", final, "The voter key is not the receiving replica's.";
    DuplicateVoter = 126, "DUPLICATE_VOTER", final, "The voter is already in the set of voters.";
    VoterNotFound = 127, "VOTER_NOT_FOUND", final, "The voter is not in the set of voters.";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", final, "The regular expression is not valid.";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", final, "The client's metadata is stale: it should bootstrap again.";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", final, "The topology is invalid.";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", final, "The topology epoch is invalid.";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", final, "The topology epoch is outdated.";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", retriable, "There are as many share sessions as there may be.";
    GroupDeletionFailed = 134, "GROUP_DELETION_FAILED", final, "The group could not be deleted: its own message says why.";
    StreamsTopologyDescriptionUpdateFailed = 135, "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", final, "The description of the topology could not be updated: the message says why.";
    ControllerIdNotRegistered = 136, "CONTROLLER_ID_NOT_REGISTERED", final, "This controller id is not registered.";
}

impl ErrorCode {
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The error of this code; a code that Kafka 4.4 does not know is `UnknownServerError`.
    pub fn from_code(code: i16) -> ErrorCode {
        // ALL starts at -1 and has no gaps, which a test holds.
        usize::try_from(i32::from(code) + 1)
            .ok()
            .and_then(|index| ErrorCode::ALL.get(index))
            .copied()
            .unwrap_or(ErrorCode::UnknownServerError)
    }

    pub fn is_none(self) -> bool {
        self == ErrorCode::None
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_run_from_minus_one_to_136_without_gaps() {
        for (index, error) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(error.code(), index as i16 - 1);
            assert_eq!(ErrorCode::from_code(error.code()), *error);
        }
        assert_eq!(ErrorCode::ALL.len(), 138);
    }

    #[test]
    fn foreign_codes_are_the_unknown_server_error() {
        for code in [i16::MIN, -2, 137, i16::MAX] {
            assert_eq!(ErrorCode::from_code(code), ErrorCode::UnknownServerError);
        }
    }

    #[test]
    fn names_follow_the_variants() {
        for error in ErrorCode::ALL {
            let joined = error.name().replace('_', "").to_lowercase();
            assert_eq!(joined, format!("{error:?}").to_lowercase());
        }
    }

    #[test]
    fn what_may_be_retried() {
        assert!(ErrorCode::NotLeaderOrFollower.retriable());
        assert!(ErrorCode::CorruptMessage.retriable());
        assert!(!ErrorCode::StaleBrokerEpoch.retriable());
        assert!(!ErrorCode::None.retriable());
        assert_eq!(ErrorCode::ALL.iter().filter(|error| error.retriable()).count(), 32);
    }
}
