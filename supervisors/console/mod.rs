//! The console: what goes on in the nodes of a process, over HTTP and in the terminal.

mod api;
mod asking;
mod connections;
mod draw;
mod faults;
mod fetch;
mod follow;
mod guard;
mod kafka;
pub mod metrics;
mod pages;
mod query;
mod reach;
mod screen;
mod top;
mod traces;
mod tree;

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use runtime::{Exposition, Format, Sums, World};
use tokio::sync::Semaphore;

use crate::config::machine_name;
use crate::node::Node;

use connections::Few;
pub use draw::draw;
pub use fetch::{FetchError, fetch_reach, fetch_tree, set_fault};
pub use follow::{Until, follow};
use guard::Arrived;
use kafka::{Detail, Watched};
use reach::Reach;
pub use screen::{NoScreen, live_tree};
pub use top::{TopAsked, top, top_once};

/// As a terminal may have it: names and texts that come from a node may hold what it would obey.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown.into()
}

/// The console's address, bound: pages for people, `/metrics` for Prometheus, `/tree` as JSON.
pub struct Console {
    #[expect(
        clippy::disallowed_types,
        reason = "the console is for people; simulations have none"
    )]
    listener: tokio::net::TcpListener,
    /// What it was told to listen on.
    host: String,
}

impl Console {
    /// # Errors
    /// The address is in use, or not of this machine.
    #[expect(clippy::disallowed_types, reason = "the console is for people; simulations have none")]
    pub async fn bind(host: &str, port: u16) -> io::Result<Console> {
        // None stands for all addresses of the machine, of both families.
        let at = if host.is_empty() { "::" } else { host };
        let listener = tokio::net::TcpListener::bind((at, port)).await?;
        Ok(Console { listener, host: host.into() })
    }

    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves these nodes until it is dropped.
    ///
    /// # Errors
    /// The socket is gone.
    pub fn serve(self, nodes: &[&Node]) -> impl Future<Output = io::Result<()>> + use<> {
        let seen = api::All::of(nodes);
        let allow_faults =
            nodes.iter().map(|n| n.config().values.boolean("ottla.faults.enable")).collect();
        let watched = nodes.iter().map(|node| Watched::of(node)).collect();
        let advertised = nodes.iter().flat_map(|n| &n.config().advertised);
        let own = advertised.map(|endpoint| endpoint.address.host.clone());
        let own: Arc<[String]> = own.chain([self.host, machine_name()]).collect();
        let reach = nodes.iter().map(|node| Reach::of(node)).collect();
        let nodes = nodes.iter().map(|n| (n.config().node_id.to_string(), n.world().clone()));
        let worlds = nodes.collect();
        let shown = Shown { worlds, watched, allow_faults, reach, looking: Semaphore::new(1) };
        // It goes to the runtime that serves.
        let listener = self.listener.into_std();
        let router = Router::new()
            .route("/metrics", get(expose))
            .route("/tree", get(tree::tree))
            .route("/top", get(tree::top))
            .route("/reach", get(reach::reach))
            .route("/fault", post(faults::set))
            .route("/trace", post(traces::trace))
            .with_state(Arc::new(shown))
            .merge(pages::router())
            .merge(api::router(seen.clone()))
            .layer(from_fn_with_state(own, guard::refuse_foreign))
            .into_make_service_with_connect_info::<Arrived>();
        async move {
            let serving = axum::serve(Few::of(listening(listener?)?), router);
            tokio::select! {
                biased;
                served = serving.into_future() => served,
                () = seen.watch() => Ok(()),
            }
        }
    }
}

#[expect(clippy::disallowed_types, reason = "the console is for people; simulations have none")]
fn listening(socket: std::net::TcpListener) -> io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(socket)
}

struct Shown {
    /// Each node's world, by the node's id.
    worlds: Vec<(String, World)>,
    /// What Kafka's metrics are of, of each.
    watched: Vec<Watched>,
    /// Of each.
    allow_faults: Vec<bool>,
    reach: Vec<Reach>,
    /// One look at a time, however many ask: each goes through all actors.
    looking: Semaphore,
}

/// Why something is not shown.
type Refused = (StatusCode, String);

fn unclear(why: String) -> Refused {
    (StatusCode::BAD_REQUEST, format!("{why}\n"))
}

async fn expose(
    State(shown): State<Arc<Shown>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refused> {
    let detail = Detail::of(query.as_deref().unwrap_or_default()).map_err(unclear)?;
    let _look = shown.looking.acquire().await;
    let accept: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let mut text = Exposition::new(format);
    let sums: Vec<Sums> =
        shown.worlds.iter().map(|(id, world)| Sums::of(id, world.registry())).collect();
    let of_each: Vec<_> = shown.watched.iter().zip(&sums).collect();
    kafka::expose(&of_each, &detail, &mut text);
    runtime::expose(&sums, &mut text);
    Ok(([(CONTENT_TYPE, format.content_type())], text.finish()))
}
