//! The tree as JSON, or as much of it as is asked for.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use runtime::{NoSuchActor, Order, Registry, Scope, TopPage};

use super::query::Query;
use super::{Refused, Shown, unclear};

/// So many are in a page of the first actors at most.
const MOST: usize = 1000;
const PAGE: usize = 50;

fn missing(why: NoSuchActor) -> Refused {
    (StatusCode::NOT_FOUND, format!("{why}\n"))
}

/// `depth=N`, `filter=TEXT`, `under=ACTOR`, the last by its path or the end of it.
fn scope(shown: &Shown, query: &Query) -> Result<Scope, Refused> {
    let all = || shown.worlds.iter().map(|(_, world)| world.registry());
    let under = query.get("under").map(|name| Registry::find(all(), name).map_err(missing));
    let filter = query.get("filter").filter(|text| !text.is_empty());
    Ok(Scope {
        under: under.transpose()?.map(|(_, path)| path),
        filter: filter.map(str::to_owned),
        depth: number(query, "depth")?,
    })
}

fn number(query: &Query, name: &str) -> Result<Option<usize>, Refused> {
    let read = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let wrong = |text: &str| unclear(format!("{name}={text}: a number from 1 on is expected"));
    query.get(name).map(|text| read(text).ok_or_else(|| wrong(text))).transpose()
}

pub(super) async fn tree(
    State(shown): State<Arc<Shown>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = query.as_deref().unwrap_or_default();
    let query = Query::parse(query, &["depth", "filter", "under"]).map_err(unclear)?;
    let scope = scope(&shown, &query)?;
    // Nobody closes it.
    let _look = shown.looking.acquire().await;
    let mut forest = Vec::new();
    for (_, world) in &shown.worlds {
        forest.extend(world.registry().look_at(world, &scope).await);
    }
    // Written while nobody else looks: it may take as much as what it is made of.
    Ok(Json(forest).into_response())
}

/// The first in an order: `sort=KEY`, `limit=N`, and `filter` and `under` as of the tree.
pub(super) async fn top(
    State(shown): State<Arc<Shown>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = query.as_deref().unwrap_or_default();
    let query = Query::parse(query, &["sort", "limit", "filter", "under"]).map_err(unclear)?;
    let scope = scope(&shown, &query)?;
    let order = match query.get("sort") {
        Some(name) => Order::named(name).ok_or_else(|| {
            let names = Order::ALL.map(|(name, _)| name).join(", ");
            unclear(format!("sort={name}: one of {names} is expected"))
        })?,
        None => Order::default(),
    };
    let most = number(&query, "limit")?.unwrap_or(PAGE).min(MOST);
    let _look = shown.looking.acquire().await;
    let mut page = TopPage::default();
    for (_, world) in &shown.worlds {
        page.join(world.registry().top(world, &scope, order, most).await, order, most);
    }
    Ok(Json(page).into_response())
}
