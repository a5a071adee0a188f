//! The console: what goes on in the nodes of a process, over HTTP and in the terminal.

mod draw;
mod fetch;

use std::io;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use runtime::{ActorTree, World};

pub use draw::draw;
pub use fetch::{FetchError, fetch_tree};

/// The console's address, bound: `/metrics` for Prometheus, `/tree` as JSON. It reads what the kit counts and disturbs nobody.
pub struct Console {
    #[expect(
        clippy::disallowed_types,
        reason = "the console is for people; simulations have none"
    )]
    listener: tokio::net::TcpListener,
}

impl Console {
    /// # Errors
    /// The address is in use, or not of this machine.
    #[expect(clippy::disallowed_types, reason = "the console is for people; simulations have none")]
    pub async fn bind(host: &str, port: u16) -> io::Result<Console> {
        Ok(Console { listener: tokio::net::TcpListener::bind((host, port)).await? })
    }

    /// # Errors
    /// The socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves the nodes of these worlds until it is dropped.
    ///
    /// # Errors
    /// The socket is gone.
    pub async fn serve(self, worlds: Vec<World>) -> io::Result<()> {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/tree", get(tree))
            .with_state(worlds);
        axum::serve(self.listener, router).await
    }
}

async fn metrics(State(worlds): State<Vec<World>>) -> impl IntoResponse {
    let text: String = worlds.iter().map(|world| world.registry().prometheus()).collect();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn tree(State(worlds): State<Vec<World>>) -> Json<Vec<ActorTree>> {
    let mut forest = Vec::new();
    for world in &worlds {
        forest.extend(world.registry().look(world).await);
    }
    Json(forest)
}
