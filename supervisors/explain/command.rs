//! The command: whom it asks, and what it says.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use runtime::{BulkheadSizes, Bulkheads, World};
use serde_json::Value;

use super::text::json;
use super::{ExplainError, Explanation, Subject, draw, explain, quorum};
use crate::cli::Explain;
use crate::console::fetch_reach;

const THREADS_END: Duration = Duration::from_secs(2);

/// Says why it is as it is.
///
/// # Errors
/// Nobody answers who knows, or there is no such thing.
pub fn run(asked: &Explain) -> Result<(), ExplainError> {
    let subject = asked.subject()?;
    let nodes = match &asked.bootstrap {
        Some(_) => Vec::new(),
        None => fetch_reach(&asked.console)?,
    };
    let addresses = asked.bootstrap.iter().map(ToString::to_string);
    let addresses: Vec<String> = addresses.chain(nodes.iter().flat_map(addresses_of)).collect();
    let bulkheads = Bulkheads::new(BulkheadSizes::for_cores(1)).map_err(ExplainError::Threads)?;
    let world = World::real(bulkheads.handles(), Arc::new(disk::RealDisk::new()));
    let explained = bulkheads.block_on(explain(&world, &addresses, &subject));
    let now_ms = world.now().wall_ms;
    bulkheads.shutdown(THREADS_END);
    let explained = match (explained, leaderless(&nodes)) {
        // A node serves no clients before there is a leader.
        (Err(ExplainError::Unreachable(_)), Some(told)) if subject == Subject::Quorum => told,
        (Err(ExplainError::Unreachable(why)), Some(told)) => {
            return Err(ExplainError::Unreachable(format!("{why}; {}", told.verdict)));
        }
        (explained, _) => explained?,
    };
    let said = match asked.json {
        true => json(&explained),
        false => draw(&explained, now_ms),
    };
    // Who has seen enough closes the pipe.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}

fn addresses_of(node: &Value) -> Vec<String> {
    let brokers = node["brokers"].as_array().into_iter().flatten();
    brokers.filter_map(|at| at.as_str().map(str::to_owned)).collect()
}

/// What nodes say of themselves that know of no leader.
fn leaderless(nodes: &[Value]) -> Option<Explanation> {
    let lost = nodes.iter().filter(|node| node["leader_id"].is_null());
    let told = lost.map(|node| {
        let id = node["node"].as_i64().and_then(|id| i32::try_from(id).ok()).unwrap_or(-1);
        quorum::finds_none(id, node["unfound"].as_str().unwrap_or_default())
    });
    let told: Vec<String> = told.collect();
    let first = nodes.first().filter(|_| !told.is_empty())?;
    let voters = first["voters"].as_i64().and_then(|voters| i32::try_from(voters).ok());
    let cluster = first["cluster_id"].as_str().unwrap_or_default();
    Some(quorum::leaderless(cluster, told, voters.unwrap_or(0)).bounded())
}
