//! Signals that ask the program to end.

use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::run::RunError;

/// Those that ask to stop. Watched from the start: a node may be recovering for long.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal was closed. None where whoever started the program (`nohup`, as Kafka's own `-daemon`) has it outlive that.
    hangup: Option<Signal>,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals, RunError> {
        let watch = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Signals {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: (!ignores_hangup()).then(|| watch(SignalKind::hangup())).transpose()?,
        })
    }

    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = came(&mut self.hangup) => {}
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

async fn came(watched: &mut Option<Signal>) {
    match watched {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// As Linux tells it. Elsewhere a closed terminal ends the program.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 << (SignalKind::hangup().as_raw_value() - 1) != 0)
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
