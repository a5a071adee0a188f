//! `ottla top`: which actors of a running node matter most.

use std::num::NonZeroUsize;

use clap::Args;
use clap::builder::PossibleValuesParser;
use model::node_config::HostPort;
use runtime::Order;

use super::{DEFAULT_CONSOLE, Part};

#[derive(Debug, Clone, PartialEq, Args)]
pub struct Top {
    /// What makes an actor come first
    #[arg(long, value_name = "KEY", default_value = "busy", value_parser = PossibleValuesParser::new(Order::ALL.map(|(name, _)| name)))]
    pub sort: String,
    #[command(flatten)]
    pub part: Part,
    /// Print one page and end
    #[arg(long)]
    pub once: bool,
    /// So many actors on that page
    #[arg(long, value_name = "N", requires = "once", default_value = "20")]
    pub lines: NonZeroUsize,
    /// The console of the node
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, default_value = DEFAULT_CONSOLE)]
    pub console: HostPort,
}

impl Top {
    pub(crate) fn order(&self) -> Order {
        Order::named(&self.sort).unwrap_or_default()
    }
}
