//! Requests that are sent on for somebody else, in an Envelope (KIP-590).

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorCode;
use wire::{DefaultPrincipalData, EnvelopeRequest, Message, Request};

use super::Connection;
use crate::error::RequestError;

/// Who asked, and how.
#[derive(Debug, Clone)]
pub struct Origin {
    pub client_id: Option<String>,
    pub correlation_id: i32,
    /// The version of the request that came, in which it is sent on; none where something else came than what is sent.
    pub version: Option<i16>,
    pub principal: DefaultPrincipalData,
    pub address: IpAddr,
}

impl Connection {
    /// [`request`](Self::request) in the name of who asked, and in the same version.
    ///
    /// # Errors
    /// As there; and the other side may refuse to act for somebody else, or not be the active controller.
    pub async fn send_on<R: Request>(
        &self,
        origin: &Origin,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, RequestError> {
        let version = self.common::<R>(origin.version)?;
        let encode = |reason: String| RequestError::Encode { api: R::KEY, reason };
        let Origin { client_id, correlation_id, principal, address, .. } = origin;
        let parts = wire::encode_request(request, version, *correlation_id, client_id.as_deref());
        let data = wire::without_length(parts.map_err(|error| encode(error.to_string()))?);
        // As Kafka's own builder of principals writes them.
        let principal = wire::encode_prefixed(principal, DefaultPrincipalData::VERSIONS.max)
            .map_err(|error| encode(error.to_string()))?;
        let envelope = EnvelopeRequest {
            request_data: data.ok_or_else(|| encode("its records lie in a file".to_owned()))?,
            request_principal: Some(principal),
            client_host_address: match address.to_canonical() {
                IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
                IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
            },
            ..Default::default()
        };
        let answer = self.request(&envelope, limit).await?;
        match (ErrorCode::from_code(answer.error_code), answer.response_data) {
            (ErrorCode::None, Some(data)) => self.0.decode::<R>(data, version),
            (code, _) => {
                Err(RequestError::NotSentOn { address: self.0.address.clone(), api: R::KEY, code })
            }
        }
    }
}
