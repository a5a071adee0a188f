//! Envelope, API key 58.
//!
//! Versions: 0. How Kafka's brokers send on what clients asked them, with the client's principal and address: the request within
//! is answered as if it had come by itself, and its answer goes back within the envelope's.
//! Source: `EnvelopeUtils.handleEnvelopeRequest`, `RequestChannel.Request.buildResponseSend`, `ApiKeys` (what may be sent on).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use model::ErrorCode;
use wire::{DefaultPrincipalData, EnvelopeRequest, EnvelopeResponse, Message, Reader};

use super::{Api, ConnectionInfo, Request, RequestContext};
use crate::Broker;
use crate::connection::Answered;

pub(crate) struct Envelope;

impl Api for Envelope {
    type Request = EnvelopeRequest;

    async fn handle(
        broker: Arc<Broker>,
        cx: RequestContext,
        request: EnvelopeRequest,
    ) -> EnvelopeResponse {
        match open(&broker, &cx, &request) {
            Ok((within, not_controller)) => answer(&broker, within, &not_controller).await,
            Err(error) => refuse(error),
        }
    }
}

fn refuse(error: ErrorCode) -> EnvelopeResponse {
    EnvelopeResponse { error_code: error.code(), ..Default::default() }
}

/// The request within, and what becomes true when only the active controller can answer it, and this is not.
fn open(
    broker: &Broker,
    cx: &RequestContext,
    envelope: &EnvelopeRequest,
) -> Result<(Request, Arc<AtomicBool>), ErrorCode> {
    check_principal(envelope.request_principal.as_deref())
        .ok_or(ErrorCode::PrincipalDeserializationFailure)?;
    let client = address(&envelope.client_host_address).ok_or(ErrorCode::InvalidRequest)?;
    let mut header = Reader::new(envelope.request_data.clone());
    let (key, _) =
        wire::decode_request_header(&mut header).map_err(|_| ErrorCode::UnsupportedVersion)?;
    if !key.is_forwardable() {
        return Err(ErrorCode::InvalidRequest);
    }
    let listener = cx.connection.listener.clone();
    let now = broker.world.mono();
    let connection = Arc::new(ConnectionInfo::new(listener, SocketAddr::new(client, 0), now));
    let data = envelope.request_data.clone();
    let mut within = Request::decode(data, cx.credit.clone(), &connection)
        .map_err(|_| ErrorCode::UnsupportedVersion)?;
    let not_controller = Arc::new(AtomicBool::new(false));
    within.cx.envelope = Some(not_controller.clone());
    Ok((within, not_controller))
}

/// Principals as Kafka's own builder writes them: a version, then type, name, and whether a token proved it.
fn check_principal(bytes: Option<&[u8]>) -> Option<()> {
    let (version, rest) = bytes?.split_first_chunk::<2>()?;
    let version = i16::from_be_bytes(*version);
    let known = DefaultPrincipalData::VERSIONS;
    let mut rest = Reader::new(Bytes::copy_from_slice(rest));
    let principal =
        known.contains(version).then(|| DefaultPrincipalData::decode(&mut rest, version));
    principal?.is_ok().then_some(())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

async fn answer(
    broker: &Arc<Broker>,
    within: Request,
    not_controller: &AtomicBool,
) -> EnvelopeResponse {
    let pending = Box::pin(super::dispatch(broker, within)).await;
    match pending.await {
        _ if not_controller.load(Ordering::Relaxed) => refuse(ErrorCode::NotController),
        // None where it has records, which lie in files.
        Answered::Response(response) => match wire::without_length(response.parts) {
            Some(data) => EnvelopeResponse { response_data: Some(data), ..Default::default() },
            None => refuse(ErrorCode::UnknownServerError),
        },
        Answered::Nothing => refuse(ErrorCode::UnknownServerError),
        Answered::Close(why) => {
            tracing::debug!(%why, "a request in an envelope cannot be answered");
            refuse(ErrorCode::UnsupportedVersion)
        }
    }
}
