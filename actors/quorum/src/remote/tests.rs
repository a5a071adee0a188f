use std::net::Ipv4Addr;

use bytes::Bytes;
use disk::{SimDisk, SimDiskOptions};
use runtime::{Handles, ListenOptions, Listener, NetStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::api_versions_response::ApiVersion;
use wire::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, ApiKey, ApiVersionsResponse,
    DefaultPrincipalData, DescribeQuorumRequest, DescribeQuorumResponse, EnvelopeRequest,
    EnvelopeResponse, Message, Reader, RequestHeader, Response, UnregisterBrokerRequest,
    UnregisterBrokerResponse, decode_request_header, encode_response, without_length,
};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// A controller, as a broker meets it over the network: the test says what it answers.
struct Asked {
    stream: NetStream,
    header: RequestHeader,
}

impl Asked {
    async fn next(&mut self) -> (ApiKey, Reader) {
        let mut frame = vec![0; self.stream.read_u32().await.unwrap() as usize];
        self.stream.read_exact(&mut frame).await.unwrap();
        let mut reader = Reader::new(Bytes::from(frame));
        let (key, header) = decode_request_header(&mut reader).unwrap();
        self.header = header;
        (key, reader)
    }

    async fn enveloped(&mut self) -> EnvelopeRequest {
        let (key, mut reader) = self.next().await;
        assert_eq!(key, ApiKey::Envelope);
        EnvelopeRequest::decode(&mut reader, self.header.request_api_version).unwrap()
    }

    async fn answer<R: Response>(&mut self, response: R) {
        let RequestHeader { request_api_version, correlation_id, .. } = self.header;
        let parts = encode_response(&response, request_api_version, correlation_id).unwrap();
        let body = without_length(parts).unwrap();
        self.stream.write_u32(u32::try_from(body.len()).unwrap()).await.unwrap();
        self.stream.write_all(&body).await.unwrap();
    }

    async fn refuse(&mut self, code: ErrorCode) {
        self.enveloped().await;
        let error_code = code.code();
        self.answer(EnvelopeResponse { error_code, ..Default::default() }).await;
    }
}

async fn met(listener: Listener) -> Asked {
    let stream = listener.accept().await.unwrap().0;
    let mut asked = Asked { stream, header: RequestHeader::default() };
    let (key, _) = asked.next().await;
    assert_eq!(key, ApiKey::ApiVersions);
    let version = |key: ApiKey| {
        let versions = key.stable_versions().unwrap();
        let (min_version, max_version) = (versions.min, versions.max);
        ApiVersion { api_key: key.code(), min_version, max_version, ..Default::default() }
    };
    let keys = [
        ApiKey::ApiVersions,
        ApiKey::Envelope,
        ApiKey::UnregisterBroker,
        ApiKey::DescribeQuorum,
        ApiKey::AllocateProducerIds,
    ];
    let api_keys = keys.map(version).into();
    asked.answer(ApiVersionsResponse { api_keys, ..Default::default() }).await;
    asked
}

fn origin() -> Origin {
    Origin {
        client_id: Some("theirs".to_owned()),
        correlation_id: 77,
        version: None,
        principal: DefaultPrincipalData {
            r#type: "User".to_owned(),
            name: "ANONYMOUS".to_owned(),
            ..Default::default()
        },
        address: Ipv4Addr::new(127, 0, 0, 9).to_ipv6_mapped().into(),
    }
}

/// The request within an envelope, looked at as a controller of Kafka's looks at it, and the version it is in.
fn opened<R: wire::Request>(envelope: EnvelopeRequest) -> (R, i16) {
    // User:ANONYMOUS, as Kafka's brokers write it.
    let principal = b"\0\0\x05User\x0aANONYMOUS\0\0";
    assert_eq!(envelope.request_principal.as_deref(), Some(&principal[..]));
    assert_eq!(&envelope.client_host_address[..], [127, 0, 0, 9]);
    let mut reader = Reader::new(envelope.request_data);
    let (key, header) = decode_request_header(&mut reader).unwrap();
    assert_eq!((key, header.correlation_id), (R::KEY, 77));
    assert_eq!(header.client_id.as_deref(), Some("theirs"));
    let version = header.request_api_version;
    (R::decode(&mut reader, version).unwrap(), version)
}

fn within<R: Response>(response: &R, version: i16) -> EnvelopeResponse {
    let response_data = without_length(encode_response(response, version, 77).unwrap());
    EnvelopeResponse { response_data, ..Default::default() }
}

#[tokio::test]
async fn what_clients_ask_is_sent_on_in_their_name_and_what_the_broker_asks_is_not() {
    let disk = SimDisk::new(SimDiskOptions::default()).mount();
    let world = World::real(Handles::current(), disk);
    let listener = world.net().listen("127.0.0.1", 0, ListenOptions::default()).await.unwrap();
    let address = HostPort::new("127.0.0.1", listener.local_addr().unwrap().port());
    let (remote, origin) = (Remote::new(world), origin());
    let unregister = ControllerRequest::UnregisterBroker(UnregisterBrokerRequest {
        broker_id: 7,
        ..Default::default()
    });
    let served = async {
        let mut asked = met(listener).await;
        let (request, version) = opened::<UnregisterBrokerRequest>(asked.enveloped().await);
        assert_eq!(request.broker_id, 7);
        let response = UnregisterBrokerResponse { error_code: 102, ..Default::default() };
        asked.answer(within(&response, version)).await;
        let (_, version) = opened::<DescribeQuorumRequest>(asked.enveloped().await);
        assert_eq!(version, 1, "the client's own");
        let response = DescribeQuorumResponse { error_code: 31, ..Default::default() };
        asked.answer(within(&response, version)).await;
        asked.refuse(ErrorCode::NotController).await;
        asked.refuse(ErrorCode::ClusterAuthorizationFailed).await;
        assert_eq!(asked.next().await.0, ApiKey::AllocateProducerIds);
        asked.answer(AllocateProducerIdsResponse::default()).await;
    };
    let asking = async {
        let ask = |request, origin| remote.ask(&address, request, origin, LIMIT);
        let answer = ask(&unregister, Some(&origin)).await.unwrap();
        let ControllerReply::UnregisterBroker(response) = answer.reply else { panic!() };
        assert_eq!(response.error_code, 102);
        let request = DescribeQuorumRequest::default();
        let first = Origin { version: Some(1), ..origin.clone() };
        let described = remote.send_on(&address, &request, &first, LIMIT).await.unwrap();
        assert_eq!(described.error_code, 31);
        for refused in [Unavailable::NotController, Unavailable::NotTaken] {
            assert_eq!(ask(&unregister, Some(&origin)).await.unwrap_err(), refused);
        }
        let own = ControllerRequest::AllocateProducerIds(AllocateProducerIdsRequest::default());
        ask(&own, None).await.unwrap();
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(served, asking) }).await.unwrap();
}
