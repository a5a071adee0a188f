//! Which crate may depend on which: `model <- wire <- machines`, `model <- disk <- log`, `wire <- log`; both meet
//! only in actors/; `runtime <- client, partitions <- coordinators, quorum <- network`; everything `<- supervisors`.

use crate::manifest::{Crate, workspace};

/// Folder, and the workspace's crates it may use. Within the middle row, coordinators and quorum may lead to partitions,
/// whose logs they keep their records in, and partitions and quorum to the client, by which they reach other nodes; nothing else
/// beside them.
const ARROWS: [(&str, &str); 14] = [
    ("protocol/model", ""),
    ("protocol/wire", "model"),
    ("protocol/machines", "model wire"),
    ("storage/disk", "model"),
    ("storage/log", "model wire disk"),
    ("actors/runtime", "model wire machines disk log"),
    ("actors/client", "model wire machines disk log runtime"),
    ("actors/partitions", "model wire machines disk log runtime client"),
    ("actors/coordinators", "model wire machines disk log runtime partitions"),
    ("actors/quorum", "model wire machines disk log runtime client partitions"),
    ("actors/network", "model wire machines disk log runtime partitions coordinators quorum"),
    (
        "supervisors",
        "model wire machines disk log runtime client partitions coordinators quorum network",
    ),
    ("tests/bench", "wire"),
    ("tests/rdkafka", ""),
];

/// protocol/ is pure: from outside it takes data structures, checksums and codecs, nothing that runs, waits or does IO.
const PURE: [&str; 9] =
    ["bytes", "crc32c", "flate2", "foldhash", "lz4_flex", "rpds", "snap", "thiserror", "zstd"];

/// What brings an executor, a clock, chance or a socket: kept out of protocol/ and storage/, in tests too.
const ALIVE: [&str; 12] = [
    "tokio",
    "ractor",
    "axum",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "rand",
    "getrandom",
    "dashmap",
    "rdkafka",
    "hyper",
];

fn allowed(dir: &str) -> Option<Vec<&'static str>> {
    ARROWS.iter().find(|(d, _)| *d == dir).map(|(_, to)| to.split(' ').collect())
}

/// By the name that the workspace knows it by. The crate rdkafka goes by its own, wrapped or not, and is for tests.
fn is_ours(name: &str) -> bool {
    let last = |dir: &'static str| dir.rsplit('/').next().filter(|last| *last != "rdkafka");
    name == "ottla" || ARROWS.iter().any(|(dir, _)| last(dir) == Some(name))
}

fn wrong(found: &Crate) -> Vec<String> {
    let Some(arrows) = allowed(&found.dir) else {
        return vec![format!("{}: a crate that the table of arrows does not know", found.dir)];
    };
    let mut findings = Vec::new();
    for dependency in &found.dependencies {
        let name = dependency.name.as_str();
        let ours = is_ours(name);
        let pure = found.dir.starts_with("protocol/");
        let kept_out = pure || found.dir.starts_with("storage/");
        if ours && !arrows.contains(&name) {
            findings.push(format!("{} -> {name}: not an arrow of the house", found.dir));
        } else if kept_out && ALIVE.contains(&name) {
            findings.push(format!("{} -> {name}: nothing alive below actors/", found.dir));
        } else if pure && !ours && !dependency.for_tests && !PURE.contains(&name) {
            findings.push(format!("{} -> {name}: not on the list of pure crates", found.dir));
        } else if name.starts_with("ractor_cluster") {
            findings
                .push(format!("{} -> {name}: between nodes there is only Kafka's wire", found.dir));
        }
    }
    findings
}

#[test]
fn only_the_arrows_of_the_house() {
    crate::assert_none("arrows", workspace().iter().flat_map(wrong).collect());
}

#[test]
fn every_crate_of_the_table_is_there() {
    let dirs: Vec<String> = workspace().into_iter().map(|c| c.dir).collect();
    for (dir, _) in ARROWS {
        assert!(dirs.iter().any(|d| d == dir), "{dir} is in the table, not in the workspace");
    }
}

#[test]
fn a_wrong_arrow_is_found() {
    use crate::manifest::Dependency;
    let on = |dir: &str, name: &str, for_tests| {
        let dependency = Dependency { name: name.into(), for_tests };
        wrong(&Crate { dir: dir.into(), dependencies: vec![dependency] }).len()
    };
    assert_eq!(on("protocol/machines", "log", false), 1);
    assert_eq!(on("protocol/machines", "log", true), 1);
    assert_eq!(on("protocol/wire", "tokio", true), 1);
    assert_eq!(on("protocol/wire", "tracing", false), 1);
    assert_eq!(on("protocol/wire", "proptest", true), 0);
    assert_eq!(on("storage/log", "machines", false), 1);
    assert_eq!(on("actors/partitions", "quorum", false), 1);
    assert_eq!(on("actors/network", "ottla", true), 1);
    assert_eq!(on("storage/log", "bench", true), 1);
    assert_eq!(on("actors/network", "partitions", false), 0);
    assert_eq!(on("actors/novelty", "model", false), 1);
}
