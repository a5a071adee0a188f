//! What can go wrong between a request and its answer.

use std::time::Duration;

use model::ErrorCode;
use wire::ApiKey;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: String },
    /// Nothing listens there.
    #[error("cannot connect to {address}: {reason}")]
    Refused { address: String, reason: String },
    /// The broker may have received the request.
    #[error("the connection to {address} ended: {reason}")]
    Closed { address: String, reason: String },
    /// The broker may have received the request.
    #[error("{address} did not answer {api} within {limit:?}")]
    TimedOut { address: String, api: ApiKey, limit: Duration },
    #[error("{address} and this client have no version of {api} in common")]
    Unsupported { address: String, api: ApiKey },
    #[error("the request {api} cannot be written: {reason}")]
    Encode { api: ApiKey, reason: String },
    #[error("the answer of {address} to {api} cannot be read: {reason}")]
    Decode { address: String, api: ApiKey, reason: String },
    /// Nothing was done.
    #[error("{address} did not take {api}, which was sent on: {}", .code.name())]
    NotSentOn { address: String, api: ApiKey, code: ErrorCode },
    #[error("broker {0} is not known")]
    UnknownBroker(i32),
    #[error("no broker can be reached; the last one tried: {0}")]
    NoBroker(String),
}

impl RequestError {
    /// Whether the same request may succeed later.
    pub fn retriable(&self) -> bool {
        match self {
            RequestError::Connect { .. }
            | RequestError::Refused { .. }
            | RequestError::Closed { .. }
            | RequestError::TimedOut { .. }
            | RequestError::UnknownBroker(_)
            | RequestError::NoBroker(_) => true,
            RequestError::Unsupported { .. }
            | RequestError::Encode { .. }
            | RequestError::Decode { .. }
            | RequestError::NotSentOn { .. } => false,
        }
    }

    /// Whether the broker may have acted on it all the same.
    pub fn maybe_done(&self) -> bool {
        matches!(
            self,
            RequestError::Closed { .. }
                | RequestError::TimedOut { .. }
                | RequestError::Decode { .. }
        )
    }
}

/// A broker's answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}", name = .code.name())]
pub struct Refused {
    pub code: ErrorCode,
    /// The broker's own words, or else what the code means.
    pub message: String,
}

impl Refused {
    pub(crate) fn of(code: ErrorCode) -> Refused {
        Refused { code, message: code.message().to_owned() }
    }

    pub(crate) fn check(code: i16, message: Option<String>) -> Result<(), Refused> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => {
                let message = message.unwrap_or_else(|| code.message().to_owned());
                Err(Refused { code, message })
            }
        }
    }
}
