//! `ottla fault`: what people let befall an actor of a running node.

use std::time::Duration;

use clap::{Args, Subcommand};
use model::node_config::HostPort;
use runtime::LONGEST_FAULT;

use super::DEFAULT_CONSOLE;

#[derive(Debug, Clone, PartialEq, Args)]
pub struct Fault {
    #[command(subcommand)]
    pub what: What,
    /// The console of the node, which is to be started with --set ottla.faults.enable=true
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = HostPort::parse, default_value = DEFAULT_CONSOLE)]
    pub console: HostPort,
}

/// ACTOR is its path in `ottla tree`, or as much of the path's end as no other actor's has.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum What {
    /// End it as a crash does; its supervisor restarts it as it is to
    Kill { actor: String },
    /// Let it handle nothing for a while; what is sent to it waits
    Pause {
        actor: String,
        #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "5s")]
        lasts: Duration,
    },
    /// End what was set before
    Resume { actor: String },
    /// Let each message take so much longer, for a while
    Delay {
        actor: String,
        #[arg(long, value_name = "TIME", value_parser = time)]
        by: Duration,
        #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "10m")]
        lasts: Duration,
    },
    /// Let its next message fail
    Fail {
        actor: String,
        #[arg(long, value_name = "TEXT", default_value = "set by ottla fault")]
        message: String,
    },
}

impl What {
    /// Whom it befalls, and what.
    pub fn parts(&self) -> (String, runtime::Fault) {
        let ms = |time: &Duration| time.as_millis() as u64;
        match self {
            What::Kill { actor } => (actor.clone(), runtime::Fault::Kill),
            What::Pause { actor, lasts } => {
                (actor.clone(), runtime::Fault::Pause { for_ms: ms(lasts) })
            }
            What::Resume { actor } => (actor.clone(), runtime::Fault::Resume),
            What::Delay { actor, by, lasts } => {
                let fault = runtime::Fault::Delay { by_ms: ms(by), for_ms: ms(lasts) };
                (actor.clone(), fault)
            }
            What::Fail { actor, message } => {
                (actor.clone(), runtime::Fault::Fail { message: message.clone() })
            }
        }
    }
}

/// No longer than a fault lasts.
fn time(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!("a time is expected, such as 20ms, 5s or 2m, {} s at most", LONGEST_FAULT.as_secs())
    };
    read_time(text).filter(|time| *time <= LONGEST_FAULT).ok_or_else(expected)
}

/// Some time: none at all is no time.
pub(super) fn read_time(text: &str) -> Option<Duration> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().ok()?;
    let ms = match unit {
        "ms" => number,
        "s" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(ms)).filter(|time| !time.is_zero())
}
