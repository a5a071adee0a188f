//! What the quorum's nodes ask of one another, and what everybody may ask of them.

use wire::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiVersionsRequest, ApiVersionsResponse,
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeClusterRequest,
    DescribeClusterResponse, DescribeQuorumRequest, DescribeQuorumResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, FetchRequest, FetchResponse, FetchSnapshotRequest,
    FetchSnapshotResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse, UpdateRaftVoterRequest,
    UpdateRaftVoterResponse, VoteRequest, VoteResponse,
};

macro_rules! rpcs {
    ($($name:ident: $request:ident => $response:ident),+ $(,)?) => {
        /// A request of the quorum's protocol (KIP-595, KIP-630, KIP-853).
        #[derive(Debug, Clone, PartialEq)]
        pub enum QuorumRequest {
            $($name($request)),+
        }

        /// The response of the request's kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum QuorumResponse {
            $($name($response)),+
        }

        $(
            impl From<$request> for QuorumRequest {
                fn from(request: $request) -> QuorumRequest {
                    QuorumRequest::$name(request)
                }
            }

            impl From<$response> for QuorumResponse {
                fn from(response: $response) -> QuorumResponse {
                    QuorumResponse::$name(response)
                }
            }

            impl TryFrom<QuorumResponse> for $response {
                type Error = OtherResponse;

                fn try_from(response: QuorumResponse) -> Result<$response, OtherResponse> {
                    match response {
                        QuorumResponse::$name(response) => Ok(response),
                        _ => Err(OtherResponse),
                    }
                }
            }
        )+

        impl QuorumRequest {
            /// Sends it over a connection, in the newest version that both sides speak.
            pub(crate) async fn send(
                &self,
                connection: &client::Connection,
                limit: std::time::Duration,
            ) -> Result<QuorumResponse, client::RequestError> {
                match self {
                    $(QuorumRequest::$name(request) => {
                        Ok(QuorumResponse::$name(connection.request(request, limit).await?))
                    })+
                }
            }
        }
    };
}

rpcs! {
    Vote: VoteRequest => VoteResponse,
    BeginEpoch: BeginQuorumEpochRequest => BeginQuorumEpochResponse,
    EndEpoch: EndQuorumEpochRequest => EndQuorumEpochResponse,
    Fetch: FetchRequest => FetchResponse,
    FetchSnapshot: FetchSnapshotRequest => FetchSnapshotResponse,
    Describe: DescribeQuorumRequest => DescribeQuorumResponse,
    AddVoter: AddRaftVoterRequest => AddRaftVoterResponse,
    RemoveVoter: RemoveRaftVoterRequest => RemoveRaftVoterResponse,
    UpdateVoter: UpdateRaftVoterRequest => UpdateRaftVoterResponse,
    Versions: ApiVersionsRequest => ApiVersionsResponse,
    Cluster: DescribeClusterRequest => DescribeClusterResponse,
}

/// The answer is to another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an answer to another request")]
pub struct OtherResponse;
