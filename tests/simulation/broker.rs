//! The node under test, as its world boots it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla::Node;
use ottla::runtime::sim::Life;

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
