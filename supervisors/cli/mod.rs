//! The command line, parsed and not yet acted upon.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Parser, Subcommand};
use model::node_config::HostPort;
use runtime::Scope;

use crate::config::Source;
use crate::node::FirstVoters;

mod dump_log;
mod explain;
mod fault;
#[cfg(test)]
mod tests;
mod top;
mod trace;

pub use dump_log::DumpLog;
pub use explain::Explain;
pub use fault::{Fault, What};
pub use top::Top;
pub use trace::Trace;

/// Apache Kafka 4.4 as a tree of supervised actors.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "ottla", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Start nodes: one with nothing configured, one by server.properties, or those of a cluster's file
    Start(Start),
    /// Prepare a node's directories, as kafka-storage format does
    Format(Format),
    /// Show the tree of a running node
    Tree(Tree),
    /// Show the actors of a running node that matter most: the busiest, those with the most messages waiting, ...
    Top(Top),
    /// Say why something of a cluster is as it is, since when, and what would unblock it
    Explain(Explain),
    /// Let something befall an actor of a running node, to see what it leads to
    Fault(Fault),
    /// Show the messages of an actor of a running node as it handles them, and how long it takes, until Ctrl-C
    Trace(Trace),
    /// Show what the files of a log hold, line for line as kafka-dump-log does
    DumpLog(DumpLog),
}

#[derive(Debug, Clone, PartialEq, Args)]
pub struct Start {
    /// Where data is kept [default: ./ottla-data]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "properties"])]
    pub data: Option<PathBuf>,
    /// Where clients connect; the controller listens on the next port [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    #[arg(conflicts_with_all = ["config", "properties"])]
    pub listen: Option<HostPort>,
    /// Any Kafka setting by its own name; overrides what a file, --data and --listen say
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// A cluster's TOML file; without --node all of its nodes run in this process
    #[arg(long, value_name = "FILE", conflicts_with = "properties")]
    pub config: Option<PathBuf>,
    /// The one node of the file to run
    #[arg(long, value_name = "ID", requires = "config")]
    // Beside what keeps the file away clap asks for it no more.
    #[arg(conflicts_with_all = ["properties", "data", "listen"])]
    pub node: Option<i32>,
    /// Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    pub properties: Option<PathBuf>,
    /// Where metrics and the tree are shown
    #[arg(long, value_name = "HOST:PORT|off", default_value = DEFAULT_CONSOLE)]
    pub console: Console,
}

const DEFAULT_CONSOLE: &str = "127.0.0.1:8080";

impl Start {
    pub fn source(&self) -> Source {
        if let Some(file) = &self.properties {
            return Source::Properties(file.clone());
        }
        if let Some(file) = &self.config {
            return Source::Cluster { file: file.clone(), node: self.node };
        }
        Source::Nothing {
            data: self.data.clone().unwrap_or_else(|| PathBuf::from("ottla-data")),
            listen: self.listen.clone().unwrap_or_else(|| HostPort::new("127.0.0.1", 9092)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["properties", "config"]))]
pub struct Format {
    /// Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    pub properties: Option<PathBuf>,
    /// A cluster's TOML file
    #[arg(long, value_name = "FILE", requires = "node")]
    pub config: Option<PathBuf>,
    /// The node of the file whose directories are formatted
    #[arg(long, value_name = "ID", requires = "config", conflicts_with = "properties")]
    pub node: Option<i32>,
    /// The cluster the directories will belong to; a cluster's file says it itself
    #[arg(long, value_name = "ID", required_unless_present = "config")]
    pub cluster_id: Option<String>,
    /// Make this controller the only voter, kept in the metadata log: this or one of the next two is needed where
    /// controller.quorum.voters is not set, and refused where it is (a cluster's file sets it)
    #[arg(long)]
    pub standalone: bool,
    /// The first voters, the same for each of them: ID@HOST:PORT:DIRECTORY-ID,...
    #[arg(long, value_name = "VOTERS", conflicts_with = "standalone")]
    pub initial_controllers: Option<String>,
    /// Leave the voters to others: this node finds them by controller.quorum.bootstrap.servers
    #[arg(long, conflicts_with_all = ["standalone", "initial_controllers"])]
    pub no_initial_controllers: bool,
    /// The level of a feature, other than its latest
    #[arg(long, value_name = "NAME=LEVEL", value_parser = feature)]
    pub feature: Vec<(String, i16)>,
    /// Leave directories alone that are formatted already
    #[arg(long)]
    pub ignore_formatted: bool,
}

impl Format {
    pub(crate) fn first_voters(&self) -> FirstVoters {
        match &self.initial_controllers {
            Some(given) => FirstVoters::Given(given.clone()),
            None if self.standalone => FirstVoters::Standalone,
            None if self.no_initial_controllers => FirstVoters::Others,
            None => FirstVoters::Unsaid,
        }
    }

    /// The file; clap has seen to it that there is exactly one.
    pub fn source(&self) -> Option<Source> {
        let properties = self.properties.clone().map(Source::Properties);
        let cluster = || Some(Source::Cluster { file: self.config.clone()?, node: self.node });
        properties.or_else(cluster)
    }
}

#[derive(Debug, Clone, PartialEq, Args)]
pub struct Tree {
    /// Draw it again each second, until q or Ctrl-C
    #[arg(long)]
    pub live: bool,
    #[command(flatten)]
    pub part: Part,
    /// No more than so many levels; what is below is counted
    #[arg(long, value_name = "N")]
    pub depth: Option<NonZeroUsize>,
    /// The console of the node
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse, default_value = DEFAULT_CONSOLE)]
    pub console: HostPort,
}

/// A part of the tree.
#[derive(Debug, Clone, PartialEq, Default, Args)]
pub struct Part {
    /// Only actors whose name or kind has this text, or whose status, such as offline; with a slash, whose path has it
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Only those below this actor: its path, or as much of the path's end as no other actor's has
    #[arg(long, value_name = "ACTOR")]
    pub under: Option<String>,
}

impl Part {
    pub(crate) fn scope(&self, depth: Option<NonZeroUsize>) -> Scope {
        let (under, filter) = (self.under.clone(), self.filter.clone());
        Scope { under, filter, depth: depth.map(NonZeroUsize::get) }
    }
}

/// Where metrics and the tree are shown, if at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    Off,
    At(HostPort),
}

impl FromStr for Console {
    type Err = String;

    fn from_str(text: &str) -> Result<Console, String> {
        if text == "off" {
            return Ok(Console::Off);
        }
        HostPort::parse(text).map(Console::At).map_err(|reason| format!("{reason}, or: off"))
    }
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.into())),
        _ => Err("KEY=VALUE is expected"),
    }
}

fn feature(text: &str) -> Result<(String, i16), &'static str> {
    let expected = "NAME=LEVEL is expected, with a level of 0 or more";
    let (name, level) = key_value(text).map_err(|_| expected)?;
    let level = level.trim().parse().ok().filter(|level| *level >= 0).ok_or(expected)?;
    Ok((name, level))
}
