//! Interceptor: shows records to a user's code, which is not trusted to return.
//!
//! Supervisor: `extensions`; where it cannot be started it is given up for a while. Bound: what lies before it is two batches at most, by
//! the turns of its [`Stop`](super::Stop). A panic of the user's costs the batch that it was shown, and what is begun with is made anew.

use std::time::Duration;

use runtime::{Actor, Counter, Cx, Failure, Outcome, caught};

use super::{InterceptMsg, Intercepted, Interceptor, Seen, Unseen, Verdict, Way};

/// In bytes.
const LONGEST_REASON: usize = 1024;
/// A panic within this of one that was logged is counted only.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

pub(super) struct Interceptings<I: Interceptor> {
    interceptor: I,
    args: I::Args,
    seen: Counter,
    dropped: Counter,
    rejected: Counter,
    panics: Counter,
    /// What was rejected last, or where it panicked, and why.
    last: String,
    /// When a panic was logged, and how many there were by then.
    logged: Option<(Duration, u64)>,
}

impl<I: Interceptor> Actor for Interceptings<I> {
    const KIND: &'static str = "interceptor";
    type Msg = InterceptMsg;
    type Args = I::Args;

    async fn start(cx: &mut Cx<Self>, args: I::Args) -> Result<Self, Failure> {
        Ok(Interceptings {
            interceptor: I::start(args.clone())?,
            args,
            seen: cx.counter("records_seen"),
            dropped: cx.counter("records_dropped"),
            rejected: cx.counter("batches_rejected"),
            panics: cx.counter("panics"),
            last: String::new(),
            logged: None,
        })
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: InterceptMsg) -> Outcome {
        let InterceptMsg::Records { way, records, turn, reply } = msg;
        // Who asked has given up: it took too long.
        if reply.is_closed() {
            return Ok(());
        }
        let seen = caught(|| self.see(&way, records));
        // Who asked has it, too: with what is answered nothing is left here.
        drop(turn);
        match seen {
            Ok(seen) => reply.send(seen),
            Err(panic) => {
                self.panicked(cx.world().mono(), &way, &panic);
                // Before anybody asks it again.
                self.interceptor = I::start(self.args.clone())?;
                reply.send(Err(Unseen::Failed));
            }
        }
        Ok(())
    }

    fn state_line(&self) -> String {
        self.last.clone()
    }
}

impl<I: Interceptor> Interceptings<I> {
    fn see(&mut self, way: &Way, records: Vec<Intercepted>) -> Seen {
        let mut seen = Vec::with_capacity(records.len());
        for (index, mut record) in records.into_iter().enumerate() {
            self.seen.add(1);
            match self.interceptor.record(way, &mut record) {
                Verdict::Pass => seen.push(Some(record)),
                Verdict::Drop => {
                    self.dropped.add(1);
                    seen.push(None);
                }
                Verdict::Reject(mut reason) => {
                    self.rejected.add(1);
                    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
                    let Way { topic, partition, .. } = way;
                    self.last =
                        format!("last rejected, {:?} {topic}-{partition}: {reason}", way.on);
                    return Err(Unseen::Rejected { index, reason });
                }
            }
        }
        Ok(seen)
    }

    fn panicked(&mut self, now: Duration, way: &Way, panic: &Failure) {
        self.panics.add(1);
        let (panics, Way { on, topic, partition, .. }) = (self.panics.get(), way);
        let mut cause = panic.to_string();
        cause.truncate(cause.floor_char_boundary(LONGEST_REASON));
        let (at, before) = self.logged.unwrap_or_default();
        if self.logged.is_none() || now >= at + BETWEEN_LINES {
            let since = panics - before;
            tracing::warn!(?on, %topic, partition, cause, since, "an interceptor panicked");
            self.logged = Some((now, panics));
        }
        self.last = format!("last failed, {on:?} {topic}-{partition}: {cause}");
    }
}
