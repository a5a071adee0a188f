//! A node looks for handlers that do not end, and shows them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::Node;
use ottla::runtime::sim::{Life, SimOptions, Simulation};
use ottla::runtime::{Actor, ActorTree, Cx, Failure, Outcome, messages};

use crate::broker::{NAME, PORT};

/// Of virtual time.
const LIMIT: Duration = Duration::from_secs(3600);

struct Sleeper;

enum SleeperMsg {
    Sleep(Duration),
}

messages!(SleeperMsg { Sleep });

impl Actor for Sleeper {
    const KIND: &'static str = "sleeper";
    type Msg = SleeperMsg;
    type Args = ();

    async fn start(_cx: &mut Cx<Self>, (): ()) -> Result<Self, Failure> {
        Ok(Sleeper)
    }

    async fn handle(&mut self, cx: &mut Cx<Self>, msg: SleeperMsg) -> Outcome {
        let SleeperMsg::Sleep(time) = msg;
        cx.world().sleep(time).await;
        Ok(())
    }
}

/// The paths of all that is shown as stuck.
fn stuck(forest: &[ActorTree]) -> Vec<String> {
    let below = forest.iter().flat_map(|actor| stuck(&actor.children));
    let these = forest.iter().filter(|actor| actor.stuck).map(|actor| actor.name.clone());
    these.chain(below).collect()
}

async fn watched(life: Life, seen: Arc<Mutex<Vec<Vec<String>>>>) {
    let builder = Node::builder_in(life.world.clone());
    let node =
        builder.quick("/data", &format!("{NAME}:{PORT}"), &[]).start().await.expect("it serves");
    let sleeper = node.extend::<Sleeper>("sleeper", ()).await.expect("an extension");
    sleeper.send(SleeperMsg::Sleep(Duration::from_secs(20))).await.expect("it is there");
    // Ten seconds are too long, and it looks once a second.
    for seconds in [8, 5, 10] {
        life.world.sleep(Duration::from_secs(seconds)).await;
        seen.lock().expect("nobody panics").push(stuck(&life.world.registry().tree()));
    }
}

#[test]
fn a_handler_that_does_not_end_shows_in_the_tree_while_that_lasts() {
    let mut simulation = Simulation::new(SimOptions::seed(11));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    simulation.add_node(NAME, move |life| watched(life, told.clone()));
    simulation.run_until(LIMIT, || seen.lock().unwrap().len() == 3);
    let expected = [vec![], vec!["sleeper".to_owned()], vec![]];
    assert_eq!(*seen.lock().unwrap(), expected);
}
