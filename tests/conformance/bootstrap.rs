//! Directories that Kafka's tool formatted before 4.4: what the metadata log is to begin with stands in `bootstrap.checkpoint`.

use crate::batch;
use crate::format::{CLUSTER, Place, finalized, format, refused};
use crate::requests::{create_topic, fetch, produce};
use std::collections::BTreeMap;
use std::fs;

/// As Kafka 4.3.1's tool wrote it, with `--release-version 4.0`.
const KAFKAS: &[u8] = include_bytes!("kafka/bootstrap.checkpoint");
const FILE: &str = "bootstrap.checkpoint";

/// A directory of a node with fixed voters.
fn formatted(bootstrap: Option<&[u8]>) -> Place {
    let place = Place::new("controller.quorum.voters=1@127.0.0.1:PORT");
    fs::create_dir(place.data()).expect("a directory");
    let meta = format!(
        "#\nversion=1\ncluster.id={CLUSTER}\nnode.id=1\ndirectory.id=SYdEcxJ8RzKEUZoRwzSpKw\n"
    );
    fs::write(place.data().join("meta.properties"), meta).expect("a file");
    if let Some(bytes) = bootstrap {
        fs::write(place.data().join(FILE), bytes).expect("a file");
    }
    place
}

fn levels(known: &[(&str, i16)]) -> BTreeMap<String, i16> {
    known.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()
}

#[test]
fn a_directory_from_before_4_4_is_started_on_with_its_levels() {
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        return;
    }
    let node = formatted(Some(KAFKAS)).start();
    let mut connection = node.connect();
    let expected =
        levels(&[("group.version", 1), ("metadata.version", 25), ("transaction.version", 2)]);
    assert_eq!(finalized(&mut connection), expected);
    create_topic(&mut connection, "kept", 1);
    let records = batch::of(&[b"kept"]).bytes();
    assert_eq!(produce(&mut connection, "kept", 0, &records).error, 0);
    drop(connection);
    let mut node = node;
    node.kill_and_restart();
    let mut connection = node.connect();
    assert_eq!(finalized(&mut connection), expected);
    let (error, read) = fetch(&mut connection, "kept", 0);
    assert!(error == 0 && read.windows(4).any(|bytes| bytes == b"kept"), "it is still there");
}

/// As with Kafka, which knows of no level but metadata.version's where nothing says one.
#[test]
fn the_first_snapshot_says_more_than_the_file_and_without_both_there_is_a_default() {
    if std::env::var_os("OTTLA_BOOTSTRAP").is_some() {
        return;
    }
    let both = Place::new("controller.quorum.voters=1@127.0.0.1:PORT");
    both.format(&["--feature", "metadata.version=30"]).expect("formatted");
    fs::write(both.data().join(FILE), KAFKAS).expect("a file");
    let found = finalized(&mut both.start().connect());
    assert_eq!(found.get("metadata.version"), Some(&30), "{found:?}");
    let found = finalized(&mut formatted(None).start().connect());
    assert_eq!(found, levels(&[("metadata.version", 33)]));
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_nothing_is_written() {
    let mut flipped = KAFKAS.to_vec();
    flipped[200] ^= 1;
    let cut = &KAFKAS[..KAFKAS.len() - 1];
    let headless = &KAFKAS[..KAFKAS.len() - 75];
    for (bytes, why) in [
        (&flipped[..], "corrupt (stored crc"),
        (cut, "footer"),
        (headless, "footer"),
        (&[], "footer"),
        (&[0xff; 400], "record batch"),
        (&vec![0; 9 << 20], "8388608 at most"),
    ] {
        let place = formatted(Some(bytes));
        let args = ["start", "--properties", &place.properties(), "--console", "off"];
        let dir = place.data();
        refused(format(&args), &[&dir.to_string_lossy(), FILE, why]);
        assert!(!dir.join("__cluster_metadata-0").exists());
    }
}
