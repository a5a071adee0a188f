//! Faults that are set through the console: of nodes that allow it, from this machine alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use runtime::{Registry, SetFault};

use super::Shown;
use super::guard::Arrived;

type Answer = Result<String, (StatusCode, String)>;

fn refused(status: StatusCode, why: impl ToString) -> Answer {
    Err((status, format!("{}\n", why.to_string())))
}

/// Answers which actor it befalls.
pub(super) async fn set(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(arrived): ConnectInfo<Arrived>,
    Json(SetFault { actor, fault }): Json<SetFault>,
) -> Answer {
    if !arrived.is_here() {
        return refused(
            StatusCode::FORBIDDEN,
            "faults are set over the loopback of the node's own machine alone: ask localhost",
        );
    }
    let all = || shown.worlds.iter().map(|(_, world)| world.registry());
    let (at, path) = match Registry::find(all(), &actor) {
        Ok(found) => found,
        Err(error) => return refused(StatusCode::NOT_FOUND, error),
    };
    let allowed = shown.allow_faults.get(at).copied().unwrap_or_default();
    let Some((node, world)) = shown.worlds.get(at).filter(|_| allowed) else {
        let node = shown.worlds.get(at).map_or("", |(node, _)| node);
        let why = format!(
            "node {node} allows no faults: it was started without ottla.faults.enable=true"
        );
        return refused(StatusCode::FORBIDDEN, why);
    };
    match world.registry().fault(&path, fault) {
        Ok(()) => Ok(format!("{path} of node {node}\n")),
        Err(error) => refused(StatusCode::CONFLICT, error),
    }
}
