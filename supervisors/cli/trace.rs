//! `ottla trace`: what an actor of a running node does.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use model::node_config::HostPort;

use super::DEFAULT_CONSOLE;
use super::fault::read_time;

#[derive(Debug, Clone, PartialEq, Args)]
pub struct Trace {
    /// Its path in `ottla tree`, or as much of the path's end as no other actor's has
    pub actor: String,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub lasts: Option<Duration>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// The console of the node
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, default_value = DEFAULT_CONSOLE)]
    pub console: HostPort,
}

fn time(text: &str) -> Result<Duration, &'static str> {
    read_time(text).ok_or("a time is expected, such as 20ms, 5s or 2m")
}
