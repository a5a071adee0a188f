//! The same requests to two brokers, all APIs that the first serves in all their versions, and their answers compared:
//! OTTLA_BOOTSTRAP is judged, KAFKA_BOOTSTRAP, a real Apache Kafka, knows. Both are fresh, of one node, with no delay before
//! a group's first rebalance. What may differ between any two clusters is masked; lists are compared in sorted order.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this test is the world outside of two nodes"
)]

mod admin;
mod batches;
mod control;
mod groups;
mod logs;
mod members;
mod metadata;
mod session;
mod tree;
mod twice;

use session::Session;
use std::env;
use std::time::Instant;
use tree::Tree;
use wire::ApiKey;

/// One request, or a few that belong together, in one version.
struct Case {
    name: String,
    /// It only reads: what it finds may take a moment to reach the broker, so it may be asked again.
    reads: bool,
    run: Box<dyn Fn(&mut Session) -> Tree>,
}

/// The name that this run puts before all its topics and groups.
fn own(name: &str) -> String {
    format!("oracle-{}-{name}", std::process::id())
}

fn cases() -> Vec<Case> {
    let mut cases = metadata::cases();
    cases.extend(logs::cases());
    cases.extend(batches::cases());
    cases.extend(admin::cases());
    cases.extend(control::cases());
    cases.extend(groups::cases());
    cases.extend(members::cases());
    cases.extend(twice::cases());
    cases
}

fn differences(case: &Case, judged: &mut Session, knows: &mut Session) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let (ours, theirs) = ((case.run)(judged), (case.run)(knows));
        let differences = tree::compare(&ours, &theirs);
        let settled = begin.elapsed() > session::PATIENCE;
        if differences.is_empty() || !case.reads || settled {
            return differences;
        }
    }
}

/// The versions of what is served that no case asks.
fn never_asked(served: &[ApiKey]) -> Vec<String> {
    let names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    let mut never = Vec::new();
    for key in served {
        let Some(range) = key.stable_versions() else { continue };
        let asks = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        let of = |version: i16| format!("{} v{version} ", key.name());
        let missing = (range.min..=range.max).map(of).filter(|prefix| !asks(prefix));
        never.extend(missing.map(|prefix| format!("{prefix}is never asked")));
    }
    never
}

#[test]
fn answers_are_those_of_apache_kafka() {
    let (Ok(judged), Ok(knows)) = (env::var("OTTLA_BOOTSTRAP"), env::var("KAFKA_BOOTSTRAP")) else {
        eprintln!("SKIPPED: OTTLA_BOOTSTRAP and KAFKA_BOOTSTRAP name the brokers to compare");
        return;
    };
    let (mut judged, mut knows) = (Session::open(&judged), Session::open(&knows));
    let served = judged.served();
    (judged.compared, knows.compared) = (served.clone(), served.clone());
    let (mut asked, mut wrong) = (0, never_asked(&served));
    for case in cases() {
        let api = case.name.split(' ').next().unwrap_or_default();
        if served.iter().all(|key| key.name() != api) {
            wrong.push(format!("{}: {api} is not advertised", case.name));
            continue;
        }
        asked += 1;
        let found = differences(&case, &mut judged, &mut knows);
        wrong.extend(found.iter().map(|text| format!("{}: {text}", case.name)));
    }
    eprintln!("MEASURED: {asked} requests, answered alike but for {} places", wrong.len());
    assert!(asked > 0);
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
