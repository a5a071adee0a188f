//! Answers that are owed, in the order of their requests.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use log::FileSlice;
use runtime::{BoxFuture, World};
use wire::Part;

use crate::requests::Moments;

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
    owed: VecDeque<Owed>,
}

struct Owed {
    moments: Moments,
    pending: Pending,
}

impl Responses {
    pub(crate) fn push(&mut self, moments: Moments, pending: Pending) {
        self.owed.push_back(Owed { moments, pending });
    }

    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Waits for the first; then takes all that are ready behind it. Never ends while nothing is owed.
    ///
    /// Only the first needs to be looked at: what the others wait for goes on without them.
    pub(crate) async fn ready(&mut self, world: &World) -> Vec<(Moments, Answered)> {
        poll_fn(|cx| {
            let mut ready = Vec::new();
            while let Some(Owed { moments, pending }) = self.owed.front_mut() {
                let Poll::Ready(answered) = moments.id.poll(pending.as_mut(), cx) else {
                    moments.waits.get_or_insert_with(|| world.mono());
                    break;
                };
                ready.push((*moments, answered));
                self.owed.pop_front();
            }
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
        })
        .await
    }
}
