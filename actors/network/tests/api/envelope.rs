//! What a broker sends on to a controller of another node, and what that does with it.

use std::time::Duration;

use bytes::Bytes;
use model::ErrorCode;
use model::node_config::{HostPort, controller_socket_timeout};
use ottla_network::BrokerParts;
use quorum::{ControllerHandle, QuorumHandle, QuorumResponse, RaftMsg, RaftStatus};
use runtime::{
    Actor, Address, Bulkhead, Cx, Failure, ListenOptions, NetStream, Outcome, Task, watch,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wire::api_versions_response::ApiVersion;
use wire::{
    AddRaftVoterRequest, AddRaftVoterResponse, ApiKey, ApiVersionsRequest, ApiVersionsResponse,
    DescribeQuorumRequest, ElectLeadersRequest, EnvelopeResponse, ListenerKind, Reader, Request,
    Response, UnregisterBrokerRequest,
};

use crate::client::Client;
use crate::control::{envelope, enveloped};
use crate::rig::{NODE, Rig, alone};

const LEADER: i32 = NODE + 1;

/// Of a node that has come to lead: it does at once what it is asked, and tells of it.
struct LeadingRaft(mpsc::UnboundedSender<()>);

impl Actor for LeadingRaft {
    const KIND: &'static str = "raft";
    type Msg = RaftMsg;
    type Args = mpsc::UnboundedSender<()>;

    async fn start(_cx: &mut Cx<Self>, done: Self::Args) -> Result<Self, Failure> {
        Ok(LeadingRaft(done))
    }

    async fn handle(&mut self, _cx: &mut Cx<Self>, message: RaftMsg) -> Outcome {
        if let RaftMsg::Serve { asked } = message {
            self.0.send(()).unwrap();
            asked.reply.send(QuorumResponse::AddVoter(AddRaftVoterResponse::default()));
        }
        Ok(())
    }
}

/// Whoever sent it on asks again, and would have it done twice.
#[tokio::test]
async fn a_change_of_voters_that_is_answered_with_not_controller_is_not_made() {
    let rig = Rig::start().await;
    let (done, mut changes) = mpsc::unbounded_channel();
    let (raft, _root) = alone::<LeadingRaft>(&rig.world, "raft", done).await;
    let before = RaftStatus { leader_id: Some(LEADER), ..Default::default() };
    let quorum = QuorumHandle::new(raft, watch(before).1);
    let role = ListenerKind::Controller;
    let parts = BrokerParts { role, quorum, ..rig.broker.parts().clone() };
    let (mut client, _, _listener) = rig.beside(parts).await;
    let request = AddRaftVoterRequest::default();
    let answer = client.call(&envelope(enveloped(&request, 0)), 0).await;
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::NotController);
    assert!(changes.try_recv().is_err(), "a change that is said not to be made");
    // Raft itself says so to who comes by himself.
    client.call(&request, 0).await;
    assert!(changes.try_recv().is_ok());
}

/// The active controller on a node that is older, as a broker meets it.
struct Older {
    stream: NetStream,
    id: i32,
}

impl Older {
    async fn next(&mut self) -> Option<ApiKey> {
        let mut frame = vec![0; self.stream.read_u32().await.ok()? as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        let (key, header) = wire::decode_request_header(&mut Reader::new(frame.into())).unwrap();
        self.id = header.correlation_id;
        Some(key)
    }

    async fn answer<R: Response>(&mut self, response: R, version: i16) {
        let parts = wire::encode_response(&response, version, self.id).unwrap();
        let body: Bytes = wire::without_length(parts).unwrap();
        self.stream.write_u32(u32::try_from(body.len()).unwrap()).await.unwrap();
        self.stream.write_all(&body).await.unwrap();
    }

    /// Answers what is sent on with these, and then hangs up.
    async fn serve(mut self, answers: Vec<ErrorCode>) {
        self.tell_versions().await;
        for code in answers {
            assert_eq!(self.next().await, Some(ApiKey::Envelope));
            self.answer(EnvelopeResponse { error_code: code.code(), ..Default::default() }, 0)
                .await;
        }
    }

    async fn tell_versions(&mut self) {
        let version = |(key, max_version): (ApiKey, i16)| ApiVersion {
            api_key: key.code(),
            max_version,
            ..Default::default()
        };
        let keys = [
            (ApiKey::ApiVersions, 3),
            (ApiKey::Envelope, 0),
            (ApiKey::ElectLeaders, 1),
            (ApiKey::DescribeQuorum, 1),
        ];
        assert_eq!(self.next().await, Some(ApiKey::ApiVersions));
        let error_code = ErrorCode::UnsupportedVersion.code();
        let api_keys: Vec<_> = keys.map(version).into();
        let refused =
            ApiVersionsResponse { error_code, api_keys: api_keys.clone(), ..Default::default() };
        self.answer(refused, 0).await;
        assert_eq!(self.next().await, Some(ApiKey::ApiVersions));
        self.answer(ApiVersionsResponse { api_keys, ..Default::default() }, 3).await;
    }
}

/// A broker whose way leads to such a controller, which gives these answers on the one connection that it takes.
async fn under_an_older(rig: &Rig, answers: Vec<ErrorCode>) -> (BrokerParts, Task) {
    let options = ListenOptions::default();
    let listener = rig.world.net().listen("127.0.0.1", 0, options).await.unwrap();
    let leader = HostPort::new("127.0.0.1", listener.local_addr().unwrap().port());
    let task = rig.world.spawn(Bulkhead::Network, async move {
        let stream = listener.accept().await.unwrap().0;
        Older { stream, id: 0 }.serve(answers).await;
    });
    (led_from(rig, leader), task)
}

/// A broker that finds the active controller there.
fn led_from(rig: &Rig, leader: HostPort) -> BrokerParts {
    let status =
        RaftStatus { leader_id: Some(LEADER), leader_address: Some(leader), ..Default::default() };
    let stalled = controller_socket_timeout(&rig.broker.parts().settings.get());
    let controller = ControllerHandle::routed(&rig.world, Address::vacant(), NODE, watch(status).1);
    let controller = controller.for_clients(stalled);
    BrokerParts { controller, ..rig.broker.parts().clone() }
}

/// The newest version of what is sent on, and of what is not.
async fn advertised(client: &mut Client) -> [Option<i16>; 4] {
    let request = ApiVersionsRequest::default();
    let answer = client.call(&request, 0).await;
    let newest = |key: ApiKey| {
        let found = answer.api_keys.iter().find(|api| api.api_key == key.code());
        found.map(|api| api.max_version)
    };
    [ApiKey::ElectLeaders, ApiKey::DescribeQuorum, ApiKey::UnregisterBroker, ApiKey::Metadata]
        .map(newest)
}

async fn is_closed_on<R: Request>(client: &mut Client, request: &R, version: i16) -> bool {
    client.send(request, version).await;
    client.frame().await.is_none()
}

#[tokio::test]
async fn what_a_controller_does_not_take_is_not_advertised_and_who_asks_it_is_to_connect_anew() {
    let rig = Rig::start().await;
    let answers = vec![ErrorCode::UnsupportedVersion, ErrorCode::ClusterAuthorizationFailed];
    let (parts, _controller) = under_an_older(&rig, answers).await;
    let (mut client, address, _listener) = rig.beside(parts).await;
    let ours = [Some(2), Some(2), Some(0), Some(13)];
    let common = [Some(1), Some(1), None, Some(13)];
    let election = ElectLeadersRequest { timeout_ms: 30_000, ..Default::default() };
    assert_eq!(advertised(&mut client).await, ours, "nobody asked it yet");
    assert!(is_closed_on(&mut client, &election, 2).await);
    let mut client = rig.client_of(address).await;
    assert_eq!(advertised(&mut client).await, common);
    assert!(is_closed_on(&mut client, &UnregisterBrokerRequest::default(), 0).await);
    let mut client = rig.client_of(address).await;
    assert!(is_closed_on(&mut client, &DescribeQuorumRequest::default(), 2).await);
    // It says itself that it does not take it.
    let mut client = rig.client_of(address).await;
    assert!(is_closed_on(&mut client, &election, 1).await);
    let mut client = rig.client_of(address).await;
    let refused = client.call(&election, 1).await;
    assert_eq!(refused.error_code, ErrorCode::UnknownServerError.code());
    // It hung up: nothing is known of it any more.
    while advertised(&mut client).await != ours {}
}

#[tokio::test]
async fn a_controller_that_does_not_answer_is_asked_over_another_connection_after_a_while() {
    let rig = Rig::with_settings(&[("controller.socket.timeout.ms", "300")]).await;
    let listener = rig.world.net().listen("127.0.0.1", 0, ListenOptions::default()).await.unwrap();
    let leader = HostPort::new("127.0.0.1", listener.local_addr().unwrap().port());
    let (mut client, _, _listener) = rig.beside(led_from(&rig, leader)).await;
    let world = rig.world.clone();
    let silent = async {
        let mut asked = Vec::new();
        for _ in 0..2 {
            let stream = listener.accept().await.unwrap().0;
            let mut controller = Older { stream, id: 0 };
            controller.tell_versions().await;
            assert_eq!(controller.next().await, Some(ApiKey::Envelope));
            asked.push(controller);
        }
    };
    // By default after 30 seconds, whatever a client's own time is.
    let silent = world.timeout(Duration::from_secs(20), silent);
    let asks = async {
        let election = ElectLeadersRequest { timeout_ms: 1000, ..Default::default() };
        for _ in 0..2 {
            let refused = client.call(&election, 1).await;
            assert_eq!(refused.error_code, ErrorCode::RequestTimedOut.code());
        }
    };
    let (silent, ()) = tokio::join!(silent, asks);
    silent.expect("the first is given up");
}
