//! The node under test, as its world boots it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::Node;
use ottla::runtime::World;
use ottla::runtime::sim::{Life, SimOptions, Simulation};

pub const NAME: &str = "broker";
pub const PORT: u16 = 9092;

/// Serves until the node ends by itself: `ended` is then set, for whoever starts processes anew.
pub async fn serve(life: Life, ended: Arc<AtomicBool>) {
    serve_with(life, ended, &[]).await;
}

/// With these settings.
pub async fn serve_with(life: Life, ended: Arc<AtomicBool>, set: &[(&str, &str)]) {
    let begun = life.world.mono();
    let builder = Node::builder_in(life.world.clone());
    match builder.quick("/data", &format!("{NAME}:{PORT}"), set).start().await {
        Ok(node) => {
            let took = life.world.mono().saturating_sub(begun).as_millis();
            life.trace.note(format_args!("serves after {took} ms"));
            let exit = node.ended().await;
            life.trace.note(format_args!("ended: {exit:?}"));
        }
        Err(error) => life.trace.note(format_args!("cannot start: {error}")),
    }
    ended.store(true, Ordering::Relaxed);
}

/// Of virtual time, for a client that has something to do.
const LIMIT: Duration = Duration::from_secs(3600);

/// Runs a client beside a node with these settings, to the client's end.
pub fn beside<F: Future<Output = ()> + Send + 'static>(
    set: &[(&'static str, &'static str)],
    client: impl Fn(World) -> F + Send + Sync + 'static,
) {
    let mut simulation = Simulation::new(SimOptions::seed(11));
    let set = set.to_vec();
    simulation.add_node(NAME, move |life| {
        let set = set.clone();
        async move { serve_with(life, Arc::default(), &set).await }
    });
    let (done, client) = (Arc::new(AtomicBool::new(false)), Arc::new(client));
    let ended = done.clone();
    simulation.add_node("client", move |life: Life| {
        let (ended, client) = (ended.clone(), client.clone());
        async move {
            client(life.world.clone()).await;
            ended.store(true, Ordering::Relaxed);
        }
    });
    assert!(simulation.run_until(LIMIT, || done.load(Ordering::Relaxed)), "the client waits");
}
