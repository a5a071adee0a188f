//! Nodes that come back elsewhere: at other ports of their machine, as those do that were configured anew.

use ottla::sim::{Cluster, SimFault};

use super::Shape;
use super::story::Story;

/// Between the two ports that a listener has in turn.
const STEP: u16 = 1000;

/// Half of those that a fault takes down. The first node stays where it is, as it is asked by whoever knows nobody else; and of those that
/// vote only the last one wanders, once there are others enough: a majority must find each other where the log says that they are, whoever
/// of it has the longest log.
pub(super) fn with(fault: &SimFault, shape: Shape, cluster: &mut Cluster, story: &Story) {
    let (SimFault::Kill { node, down } | SimFault::PowerLoss { node, down }) = fault else {
        return;
    };
    let may =
        if shape.dynamic { node.0 + 1 == shape.nodes && voters(cluster) > 2 } else { node.0 > 0 };
    if !may || down.as_millis() % 2 == 0 {
        return;
    }
    let Some((id, _)) = cluster.members().into_iter().find(|(_, index)| index == node) else {
        return;
    };
    let host = format!("n{id}");
    cluster.configure(id, |config| {
        let controllers = &config.controller_listener_names;
        let all =
            [&mut config.listeners, &mut config.advertised, &mut config.advertised_controller];
        for endpoint in all.into_iter().flatten() {
            let is_controllers = controllers.contains(&endpoint.name);
            // All know where fixed voters are.
            if !is_controllers || shape.dynamic {
                let port = &mut endpoint.address.port;
                *port = if *port < 9000 + STEP { *port + STEP } else { *port - STEP };
            }
            if !is_controllers {
                story.moved(host.clone(), endpoint.address.port);
            }
        }
    });
}

/// As those know who know the fewest.
fn voters(cluster: &Cluster) -> usize {
    let views = cluster.members().into_iter().filter_map(|(id, _)| cluster.view(id));
    views.map(|view| view.quorum().voters).min().unwrap_or_default()
}
