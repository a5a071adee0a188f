//! Answers that are owed, in the order of their requests.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use log::FileSlice;
use runtime::BoxFuture;
use wire::Part;

/// One response as it goes out. An [`Part::External`] is the file slice at the index that its token names.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) parts: Vec<Part>,
    pub(crate) files: Vec<FileSlice>,
    /// What its bytes keep alive in memory beside themselves.
    pub(crate) pins: usize,
}

/// What a request comes to.
pub(crate) enum Answered {
    Response(Outgoing),
    /// acks=0: the client expects nothing.
    Nothing,
    /// Kafka answers some requests by closing the connection.
    Close(String),
}

pub(crate) type Pending = BoxFuture<'static, Answered>;

#[derive(Default)]
pub(crate) struct Responses {
    pending: VecDeque<Pending>,
}

impl Responses {
    pub(crate) fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Waits for the first; then takes all that are ready behind it. Never ends while nothing is owed.
    ///
    /// Only the first needs to be looked at: what the others wait for goes on without them.
    pub(crate) async fn ready(&mut self) -> Vec<Answered> {
        poll_fn(|cx| {
            let mut ready = Vec::new();
            while let Some(first) = self.pending.front_mut() {
                let Poll::Ready(answered) = first.as_mut().poll(cx) else { break };
                ready.push(answered);
                self.pending.pop_front();
            }
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
        })
        .await
    }
}
