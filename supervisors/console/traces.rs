//! What actors do, for who traces them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use runtime::{AskTrace, NotTraced, Registry, Traced};

use super::Shown;

type Refused = (StatusCode, String);

fn refused(why: NotTraced) -> Refused {
    let status = match why {
        NotTraced::NoSuchActor(_) => StatusCode::NOT_FOUND,
        NotTraced::TooMany => StatusCode::CONFLICT,
    };
    (status, format!("{why}\n"))
}

/// Keeps the trace on for some seconds more.
pub(super) async fn trace(
    State(shown): State<Arc<Shown>>,
    Json(AskTrace { actor, since }): Json<AskTrace>,
) -> Result<Json<Traced>, Refused> {
    let all = || shown.worlds.iter().map(|(_, world)| world.registry());
    let (at, path) = Registry::find(all(), &actor).map_err(|why| refused(why.into()))?;
    let Some((_, world)) = shown.worlds.get(at) else {
        return Err((StatusCode::NOT_FOUND, String::new()));
    };
    world.registry().trace(&path, since).map(Json).map_err(refused)
}
