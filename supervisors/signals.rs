//! Signals that ask the program to end.

use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::run::RunError;

/// Those that ask to stop. Watched from the start: a node may be recovering for long.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal was closed.
    hangup: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals, RunError> {
        let watch = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Signals {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Those that came so far are as if they had not.
    pub(crate) async fn forget(&mut self) {
        while tokio::select! {
            biased;
            () = self.stop() => true,
            () = std::future::ready(()) => false,
        } {}
    }
}

/// Closed once a signal asks for the end.
pub(crate) fn stopped() -> Result<Receiver<()>, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::Threads)?;
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let (stop, stopped) = channel();
    let wait = move || {
        runtime.block_on(signals.stop());
        drop::<Sender<()>>(stop);
    };
    let waits = std::thread::Builder::new().name("ottla-signals".to_owned()).spawn(wait);
    waits.map_err(RunError::Threads)?;
    Ok(stopped)
}
