use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::cx::Cx;
use crate::panics::Panicked;
use crate::policy::ChildEvent;

/// What an actor understands. Implemented by [`messages!`](crate::messages).
pub trait Message: Send + 'static {
    /// The names of all messages, for the counters.
    const NAMES: &'static [&'static str];

    /// Whether these are counted and timed. Always; what that costs is measured beside an actor that has none of it.
    #[doc(hidden)]
    const COUNTED: bool = true;

    /// Which of [`NAMES`](Self::NAMES) this one is.
    fn index(&self) -> usize;
}

/// Names the variants of a message enum: `messages!(OrdersMsg { Append, Flush });`. All of them, or it does not compile.
#[macro_export]
macro_rules! messages {
    ($type:ty { $($name:ident),+ $(,)? }) => {
        impl $crate::Message for $type {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            fn index(&self) -> usize {
                #[allow(clippy::enum_variant_names)]
                enum Position { $($name),+ }
                (match self { $(Self::$name { .. } => Position::$name),+ }) as usize
            }
        }
    };
}

pub type Outcome = Result<(), Failure>;

/// An actor: the struct is its state. It handles one message at a time, and a failure or panic ends it; then its parent
/// applies the policy it was spawned with.
pub trait Actor: Sized + Send + 'static {
    /// One word for all actors of this type, in metrics.
    const KIND: &'static str;
    type Msg: Message;
    /// What it starts from, also after a failure.
    type Args: Clone + Send + Sync + 'static;

    /// Makes the state. Messages sent meanwhile wait.
    fn start(
        cx: &mut Cx<Self>,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Handles one message. It does not wait for the network, another actor or a timer: what they answer is a message.
    fn handle(&mut self, cx: &mut Cx<Self>, msg: Self::Msg)
    -> impl Future<Output = Outcome> + Send;

    /// A child restarts, went offline, or stopped.
    fn child_changed(
        &mut self,
        _cx: &mut Cx<Self>,
        _event: ChildEvent,
    ) -> impl Future<Output = Outcome> + Send {
        async { Ok(()) }
    }

    /// The last thing it does, its children having stopped. Not called after a failure or a kill.
    fn stop(&mut self, _cx: &mut Cx<Self>) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Its state in one line, for those who debug.
    fn state_line(&self) -> String {
        String::new()
    }
}

/// Why an actor ended that should not have. Made from any error by `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    /// Where it panicked; also where that of a child brought it down.
    pub panicked: Option<Arc<Panicked>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// A handler or `start` returned it.
    Error,
    Panic,
    /// It did not end within its shutdown time, or its runtime was dropped.
    Killed,
    /// It ended without failure although it is permanent.
    Ended,
    /// It found no room on a disk, or no descriptor or memory: nothing is wrong with it. It is restarted until it finds
    /// them, and that does not count.
    Lacking,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure::of_kind(FailureKind::Error, message)
    }

    pub(crate) fn of_kind(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), panicked: None }
    }

    /// With all its causes.
    pub(crate) fn of_error(error: &(dyn Error + 'static)) -> Failure {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        let lacks = disk::DiskError::led_to_passing(error);
        Failure::of_kind(if lacks { FailureKind::Lacking } else { FailureKind::Error }, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, &self.panicked) {
            (FailureKind::Panic, Some(panicked)) => {
                write!(f, "panicked at {}: {}", panicked.location, self.message)
            }
            (FailureKind::Panic, None) => write!(f, "panicked: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::of_error(&error)
    }
}
