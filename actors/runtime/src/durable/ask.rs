//! A command on its way to the owner of its key.

use std::time::Duration;

use bytes::Bytes;
use model::{ErrorCode, Uuid};

use crate::credits::Held;
use crate::world::BoxFuture;

pub const MAX_KEY_BYTES: usize = 1024;
pub const MAX_COMMAND_BYTES: usize = 1 << 20;

/// Names a command: asked again under the same id it is not decided again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId {
    pub asker: Uuid,
    pub sequence: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub topic: String,
    /// The key's. Negative where the topic is not known yet.
    pub partition: i32,
    pub key: String,
    pub id: AskId,
    /// In which the command is encoded, and the reply is to be.
    pub version: u32,
    pub command: Bytes,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}", name = .code.name())]
pub struct AskRefused {
    /// Where it is retriable, asking again is right. `RequestTimedOut` alone means that the command may have been decided, or may still be.
    pub code: ErrorCode,
    pub message: String,
}

impl AskRefused {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> AskRefused {
        AskRefused { code, message: message.into() }
    }
}

/// The shards of one node.
pub trait Owners: Send + Sync {
    /// The encoded reply, where there is one. `held` is kept until the command is decided.
    fn ask(
        &self,
        ask: Ask,
        limit: Duration,
        held: Option<Held>,
    ) -> BoxFuture<'static, Result<Option<Bytes>, AskRefused>>;
}
