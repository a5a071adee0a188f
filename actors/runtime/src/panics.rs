//! Panics of actors and jobs: caught, kept with their place, and not printed a second time.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use crate::actor::{Failure, FailureKind};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static RUNNING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static WATCHED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// What panicked on this thread since the last call, wherever it was caught; the first call begins to look. The simulator's.
pub(crate) fn watched() -> Vec<String> {
    WATCHED.with_borrow_mut(|seen| seen.replace(Vec::new())).unwrap_or_default()
}

/// Once per process: panics outside of [`catch`] are reported as before.
pub(crate) fn install_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            WATCHED.with_borrow_mut(|seen| {
                if let Some(seen) = seen {
                    let place = info.location().map(ToString::to_string).unwrap_or_default();
                    seen.push(format!("{place}: {}", text(info.payload())));
                }
            });
            if CATCHING.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                before(info);
            }
        }));
    });
}

#[inline]
pub(crate) fn catch<T>(body: impl FnOnce() -> T + UnwindSafe) -> Result<T, Failure> {
    let outer = CATCHING.replace(true);
    let result = catch_unwind(body);
    CATCHING.set(outer);
    result.map_err(|payload| Failure {
        kind: FailureKind::Panic,
        message: text(&*payload),
        location: PLACE.take(),
    })
}

/// Drives a future; a panic in it is an error here. With a name, [`running`] answers it meanwhile.
pub(crate) async fn catch_async<F: Future>(
    name: Option<&Arc<str>>,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Failure> {
    poll_fn(|cx| {
        if let Some(name) = name {
            RUNNING.set(Some(name.clone()));
        }
        let polled = catch_poll(future.as_mut(), cx);
        if name.is_some() {
            RUNNING.set(None);
        }
        polled
    })
    .await
}

/// One poll; a panic in it is the end of the future.
#[inline]
pub(crate) fn catch_poll<F: Future>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Failure>> {
    match catch(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(failure) => Poll::Ready(Err(failure)),
    }
}

/// The actor that runs on this thread right now, where the simulator asked for names.
pub(crate) fn running() -> Option<Arc<str>> {
    RUNNING.with_borrow(Clone::clone)
}

fn text(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
