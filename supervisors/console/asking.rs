//! Asking in a thread of its own: who waits for an answer hears of all else meanwhile, and of the end above all.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

/// Where questions go; what each is answered by goes to `tell`, one after the other.
pub(super) fn asking<Q: Send + 'static, E: Send + 'static>(
    tell: Sender<E>,
    answer: impl Fn(Q) -> E + Send + 'static,
) -> io::Result<Sender<Q>> {
    let (ask, asked) = channel();
    let all = move || {
        for question in asked {
            if tell.send(answer(question)).is_err() {
                return;
            }
        }
    };
    Builder::new().name("ottla-ask".to_owned()).spawn(all)?;
    Ok(ask)
}

/// Tells this once the program is asked to end.
pub(super) fn tell_end<E: Send + 'static>(
    stopped: Receiver<()>,
    tell: Sender<E>,
    end: E,
) -> io::Result<()> {
    let wait = move || {
        let _ = stopped.recv();
        let _ = tell.send(end);
    };
    Builder::new().name("ottla-stop".to_owned()).spawn(wait).map(drop)
}
