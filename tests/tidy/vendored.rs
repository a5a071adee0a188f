//! What is built of others' source that is in the repository.

use std::fs;

use toml::Table;

/// The published one would take 3 KB more for each partition, and nothing else would tell.
#[test]
fn the_ractor_of_the_repository_is_built() {
    let text = fs::read_to_string(crate::root().join("Cargo.lock")).expect("Cargo.lock");
    let lock: Table = text.parse().expect("Cargo.lock is TOML");
    let packages = lock["package"].as_array().expect("packages");
    let named =
        |name| packages.iter().filter(move |package| package["name"].as_str() == Some(name));
    let sources: Vec<_> = named("ractor").map(|package| package.get("source")).collect();
    assert_eq!(sources, [None], "of [patch.crates-io] in Cargo.toml, vendor/ractor is to be built");
}
