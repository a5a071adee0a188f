//! Why a broker is fenced, on its way out, or not there.

use wire::DescribeCausesRequest;
use wire::describe_causes_response::BrokerHistory;

use super::cluster::{Causes, Cluster, Place};
use super::finding::grouped;
use super::heard::Heard;
use super::replica::uncleanable;
use super::text::time;
use super::{ExplainError, Explanation, Finding, Silent, brokers};

type Asked = Result<Causes, Silent>;

/// What is wrong, and what would put it right.
type Trouble = (Vec<String>, String);

impl Cluster {
    /// Why nothing of a broker can be counted on, and what would alter that; none where it is registered, lives and is not fenced.
    pub(super) fn broker_trouble(
        &self,
        id: i32,
        told: Option<&Asked>,
        entry: &Causes,
    ) -> Option<Trouble> {
        let history = history(entry, id);
        let since = |of: fn(&BrokerHistory) -> i64| {
            let since = history.and_then(|known| entry.since(of(known)));
            since.map_or_else(String::new, |since| format!(" since {}", since.told(self.now_ms)))
        };
        let Some(place) = self.brokers.get(&id) else {
            let why = format!("broker {id} is not registered{}", since(|b| b.unregistered_ms));
            return Some((vec![why], format!("start broker {id}, or move its replicas to others")));
        };
        let fenced = since(|broker| broker.fenced_ms);
        if let Some(Err(Silent::Unreached { why, heard })) = told {
            return Some(unreached(id, place, &fenced, (why.as_str(), *heard)));
        }
        if place.fenced {
            let told = told.and_then(|told| told.as_ref().ok());
            return Some(fenced_alive(id, place, &fenced, told));
        }
        history.filter(|known| known.stopping_ms >= 0)?;
        let since = since(|broker| broker.stopping_ms);
        let why = format!("broker {id} is in controlled shutdown{since}: it asked to stop");
        Some((vec![why], format!("let it stop, and start broker {id} again")))
    }
}

/// From here; others may hear of it.
fn unreached(
    id: i32,
    place: &Place,
    fenced: &str,
    (reason, heard): (&str, Option<Heard>),
) -> Trouble {
    let at = place.at();
    if let Some(heard) = heard.filter(|heard| heard.is_recent() && !place.fenced) {
        let told = heard.told();
        let why = vec![
            format!("broker {id} cannot be reached from here at {at}: {reason}"),
            format!("the cluster counts on it: it is not fenced, and {told}"),
        ];
        let unblocks = format!(
            "look at the way from here to {at}, which is what broker {id} tells its clients (advertised.listeners)"
        );
        return (why, unblocks);
    }
    let state = match place.fenced {
        true => format!("broker {id} is fenced{fenced}: its heartbeats did not come any more"),
        false => format!(
            "broker {id} counts as alive until its session ends (broker.session.timeout.ms)"
        ),
    };
    let mut why = vec![state, format!("it does not answer at {at}: {reason}")];
    why.extend(heard.map(Heard::told));
    (why, format!("start broker {id}, or bring it back within reach"))
}

fn fenced_alive(id: i32, place: &Place, fenced: &str, told: Option<&Causes>) -> Trouble {
    let Some(causes) = told else {
        let why = format!("broker {id} is fenced{fenced}, and does not say why");
        return (vec![why], format!("look at the log of broker {id}"));
    };
    let at = place.at();
    let mut why = vec![format!("broker {id} is fenced{fenced}, although it answers at {at}")];
    why.extend(causes.actors("quorum"));
    let (leader, finds_it) = (causes.0.leader_id, causes.finds_leader());
    why.push(match finds_it {
        false => format!("it finds no leader of the quorum: {}", causes.0.unfound),
        true => format!("it knows node {leader} as the active controller"),
    });
    let unblocks = match finds_it {
        false => format!("let broker {id} reach the controllers"),
        true => format!(
            "wait until broker {id} has caught up with the metadata, or look at quorum/lifecycle in its ottla tree"
        ),
    };
    (why, unblocks)
}

fn history(entry: &Causes, id: i32) -> Option<&BrokerHistory> {
    entry.0.brokers.iter().find(|broker| broker.broker_id == id)
}

pub(super) async fn explain(cluster: &Cluster, id: i32) -> Result<Explanation, ExplainError> {
    let with_history = DescribeCausesRequest { history: true, ..Default::default() };
    let entry = cluster.causes(&with_history).await?;
    let known = history(&entry, id);
    let Some(place) = cluster.brokers.get(&id) else {
        return unregistered(cluster, &entry, id);
    };
    let told = cluster.causes_of([id], &DescribeCausesRequest::default()).await;
    let told = told.get(&id);
    let mut facts =
        vec![format!("registered at {}:{}{}", place.host, place.port, registered(known))];
    facts.extend(entry.caveats());
    let mut findings = Vec::new();
    if let Some((why, unblocks)) = cluster.broker_trouble(id, told, &entry) {
        let silent = told.and_then(|told| told.as_ref().err());
        let (what, ms) = state(id, place.fenced, known, silent);
        findings.push(Finding {
            what,
            since: ms.and_then(|ms| entry.since(ms)),
            by: place.fenced.then(|| "the controller".to_owned()),
            why,
            unblocks: vec![unblocks],
            ..Default::default()
        });
    }
    match told {
        Some(Ok(causes)) => findings.extend(own(id, causes)),
        Some(Err(Silent::Unreached { .. })) | None => {}
        Some(Err(Silent::Kafkas)) => facts.push(Silent::Kafkas.to_string()),
        Some(Err(silent)) => {
            facts.push(format!("it answers, and does not tell more of itself: {silent}"));
        }
    }
    let well = format!("broker {id} is registered, not fenced, and answers");
    Ok(Explanation::of(format!("broker {id}"), facts, findings, &well))
}

fn registered(known: Option<&BrokerHistory>) -> String {
    known
        .filter(|known| known.registered_ms >= 0)
        .map_or(String::new(), |known| format!(", last at {} or before", time(known.registered_ms)))
}

/// In a few words, and since when.
fn state(
    id: i32,
    fenced: bool,
    known: Option<&BrokerHistory>,
    silent: Option<&Silent>,
) -> (String, Option<i64>) {
    let ms = |of: fn(&BrokerHistory) -> i64| known.map(of).filter(|ms| *ms >= 0);
    let answers = !matches!(silent, Some(Silent::Unreached { .. }));
    match (fenced, answers) {
        (false, false) if silent.is_some_and(Silent::lives) => {
            (format!("broker {id} cannot be reached from here, and lives"), None)
        }
        (true, false) => {
            (format!("broker {id} is fenced, and does not answer"), ms(|b| b.fenced_ms))
        }
        (true, true) => {
            (format!("broker {id} is fenced, although it answers"), ms(|b| b.fenced_ms))
        }
        (false, false) => (format!("broker {id} does not answer"), None),
        (false, true) => (format!("broker {id} is in controlled shutdown"), ms(|b| b.stopping_ms)),
    }
}

/// What is wrong within it.
fn own(id: i32, causes: &Causes) -> Vec<Finding> {
    let dirs = causes.0.log_dirs.iter().filter_map(|dir| {
        Some(Finding {
            what: format!("log directory {} of broker {id} is offline", dir.path),
            why: vec![dir.failure.clone()?],
            unblocks: vec![format!("repair the directory and restart broker {id}")],
            ..Default::default()
        })
    });
    let mut findings: Vec<Finding> = dirs.collect();
    let logs = causes.0.uncleanable.iter().map(|log| uncleanable(id, causes, log));
    findings.extend(grouped(logs));
    let actors = causes.0.actors.iter().map(|actor| format!("{} {}", actor.path, actor.what));
    let actors: Vec<String> = actors.collect();
    if !actors.is_empty() {
        findings.push(Finding {
            what: format!("{} of broker {id}'s actors do not work as they should", actors.len()),
            why: actors,
            unblocks: vec![
                "ottla tree shows them; ottla fault resume ends a fault that was set".to_owned(),
            ],
            ..Default::default()
        });
    }
    findings
}

fn unregistered(cluster: &Cluster, entry: &Causes, id: i32) -> Result<Explanation, ExplainError> {
    let Some(known) = history(entry, id).filter(|known| known.unregistered_ms >= 0) else {
        let ids: Vec<i32> = cluster.brokers.keys().copied().collect();
        let (name, nearest) = (id.to_string(), Some(brokers(&ids)));
        return Err(ExplainError::Unknown { what: "broker", name, nearest });
    };
    let finding = Finding {
        what: format!("broker {id} is not registered"),
        since: entry.since(known.unregistered_ms),
        by: Some("who asked for it (UnregisterBroker)".to_owned()),
        unblocks: vec![format!("start broker {id}: it registers anew")],
        ..Default::default()
    };
    Ok(Explanation::of(format!("broker {id}"), entry.caveats(), vec![finding], ""))
}
