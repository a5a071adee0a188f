//! The console: what goes on in the nodes of a process, over HTTP and in the terminal.

mod api;
mod connections;
mod draw;
mod faults;
mod fetch;
mod follow;
mod guard;
pub mod metrics;
mod pages;
mod traces;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use runtime::{ActorTree, World, prometheus};
use tokio::sync::Semaphore;

use crate::node::Node;

use connections::Few;
pub use draw::draw;
pub use fetch::{FetchError, fetch_tree, set_fault};
pub use follow::{Until, follow};
use guard::Arrived;

/// The console's address, bound: pages for people, `/metrics` for Prometheus, `/tree` as JSON.
pub struct Console {
    #[expect(
        clippy::disallowed_types,
        reason = "the console is for people; simulations have none"
    )]
    listener: tokio::net::TcpListener,
    /// What it was told to listen on.
    host: Arc<str>,
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
        let nodes = nodes.iter().map(|n| (n.config().node_id.to_string(), n.world().clone()));
        let shown = Shown { worlds: nodes.collect(), allow_faults, looking: Semaphore::new(1) };
        // It goes to the runtime that serves.
        let listener = self.listener.into_std();
        let router = Router::new()
            .route("/metrics", get(expose))
            .route("/tree", get(tree))
            .route("/fault", post(faults::set))
            .route("/trace", post(traces::trace))
            .with_state(Arc::new(shown))
            .merge(pages::router())
            .merge(api::router(seen.clone()))
            .layer(from_fn_with_state(self.host, guard::refuse_foreign))
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
    /// Of each.
    allow_faults: Vec<bool>,
    /// One look at a time, however many ask: each goes through all actors.
    looking: Semaphore,
}

async fn expose(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let _look = shown.looking.acquire().await;
    let text = prometheus(shown.worlds.iter().map(|(id, world)| (id.as_str(), world.registry())));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn tree(State(shown): State<Arc<Shown>>) -> Json<Vec<ActorTree>> {
    // Nobody closes it.
    let _look = shown.looking.acquire().await;
    let mut forest = Vec::new();
    for (_, world) in &shown.worlds {
        forest.extend(world.registry().look(world).await);
    }
    Json(forest)
}
