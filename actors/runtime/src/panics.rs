//! Panics of actors and jobs: caught, kept with their place, and not printed a second time.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, RwLock, TryLockError};
use std::task::{Context, Poll};

use crate::actor::{Failure, FailureKind};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static RUNNING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    static PLACE: RefCell<Option<Arc<Panicked>>> = const { RefCell::new(None) };
    static WATCHED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// A longer one is cut off.
const MOST_TRACE: usize = 4096;

/// Held while names are looked up: std takes no backtrace meanwhile, and whoever asked for one would wait as long.
static LOOKING_UP: RwLock<()> = RwLock::new(());
const NOT_TAKEN: &str = "not taken: that of another panic was looked up just then\n";

/// Where a panic was, and by which way it came there.
pub struct Panicked {
    pub location: String,
    /// Its names are looked up when somebody asks: that takes long, and much memory meanwhile.
    raw: Mutex<Option<Box<Backtrace>>>,
    text: OnceLock<Arc<str>>,
}

impl Panicked {
    fn now(location: String) -> Panicked {
        let free = match LOOKING_UP.try_read() {
            Ok(free) => Some(free),
            Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let raw = free.map(|_| Box::new(Backtrace::force_capture()));
        Panicked { location, raw: Mutex::new(raw), text: OnceLock::new() }
    }

    /// The calls that led to the panic, the innermost first, from inside of the actor. For a thread that may be held up: the first
    /// one of a process takes up to seconds.
    pub fn backtrace(&self) -> Arc<str> {
        let look_up = || {
            let raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner).take();
            let _alone = LOOKING_UP.write();
            raw.map_or_else(|| NOT_TAKEN.into(), |raw| own_part(&raw.to_string()).into())
        };
        self.text.get_or_init(look_up).clone()
    }

    /// The same, where somebody has asked before and was answered: waits for nobody.
    pub(crate) fn known_backtrace(&self) -> Option<Arc<str>> {
        self.text.get().cloned()
    }
}

impl PartialEq for Panicked {
    fn eq(&self, other: &Panicked) -> bool {
        self.location == other.location
    }
}

impl Eq for Panicked {}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)
    }
}

/// Without what the panic itself called, and what called the actor.
fn own_part(trace: &str) -> String {
    let lines: Vec<&str> = trace.lines().collect();
    let panics = |line: &str| {
        ["core::panicking::", "std::panicking::", "rust_begin_unwind", "__rustc::"]
            .iter()
            .any(|name| line.contains(name))
    };
    let is_frame = |line: &&str| !line.trim_start().starts_with("at ");
    let catches = |line: &str| {
        ["panics::catch_", "catch_unwind", "do_call", "__rust_try"]
            .iter()
            .any(|name| line.contains(name))
    };
    let lines = &lines[..lines.iter().position(|line| catches(line)).unwrap_or(lines.len())];
    let inner = lines.iter().rposition(|line| panics(line));
    let own = &lines[inner.map_or(0, |at| at + 1)..];
    let own = &own[own.iter().position(is_frame).unwrap_or(0)..];
    let mut text = String::new();
    for line in own {
        if text.len() + line.len() >= MOST_TRACE {
            text.push_str("...\n");
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
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
                PLACE.set(info.location().map(|place| Arc::new(Panicked::now(place.to_string()))));
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
        panicked: PLACE.take(),
    })
}

/// Runs what is a user's; a panic in it is an error here. What it worked on may be half done.
pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, Failure> {
    catch(AssertUnwindSafe(body))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_wait_for_one_that_is_looked_up() {
        install_hook();
        let looked_up = LOOKING_UP.write();
        let failure = catch(|| -> () { panic!("meanwhile") }).unwrap_err();
        drop(looked_up);
        let panicked = failure.panicked.unwrap();
        assert_eq!((panicked.known_backtrace(), &*panicked.backtrace()), (None, NOT_TAKEN));
        assert_eq!(panicked.known_backtrace().as_deref(), Some(NOT_TAKEN));
    }
}
