//! The crate `fuzz/` is built where its tools are: here it is held against what it is made of.

use std::collections::BTreeSet;
use std::fs;

use crate::{assert_none, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The bodies that `storage/log/tests/fuzz` has.
fn bodies() -> Vec<String> {
    let text = read("storage/log/tests/fuzz/bodies.rs");
    let names = text.split("Fuzzed { name: \"").skip(1).filter_map(|rest| rest.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn each_body_is_a_target_for_cargo_fuzz() {
    let (bodies, manifest, readme) = (bodies(), read("fuzz/Cargo.toml"), read("fuzz/README.md"));
    assert!(bodies.len() > 3);
    let mut findings = Vec::new();
    for name in &bodies {
        let target = format!(
            "#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|data: &[u8]| ottla_fuzz::run(\"{name}\", data));\n"
        );
        let path = format!("fuzz/fuzz_targets/{name}.rs");
        if fs::read_to_string(root().join(&path)).ok() != Some(target) {
            findings.push(format!("{path} is not there, or does something else"));
        }
        let bin = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        if !manifest.contains(&bin) {
            findings.push(format!("fuzz/Cargo.toml has no [[bin]] {name}"));
        }
        if !readme.contains(&format!("`{name}`")) {
            findings.push(format!("fuzz/README.md does not name {name}"));
        }
    }
    let targets = fs::read_dir(root().join("fuzz/fuzz_targets")).expect("targets").count();
    if targets != bodies.len() {
        findings.push(format!("{targets} targets for {} bodies", bodies.len()));
    }
    assert_none("fuzz/ is not what storage/log/tests/fuzz is", findings);
}

#[test]
fn what_the_targets_are_made_of_is_there_to_be_built() {
    let manifest = read("fuzz/Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let named: BTreeSet<String> = dependencies
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0.trim().replace('-', "_")))
        .collect();
    let own = ["std", "super", "crate", "self"];
    let library = read("fuzz/src/lib.rs");
    let paths =
        library.split("#[path = \"../../").skip(1).filter_map(|rest| rest.split('"').next());
    let mut findings = Vec::new();
    for path in paths.chain(["fuzz/src/lib.rs"]) {
        for line in read(path).lines().filter_map(|line| line.strip_prefix("use ")) {
            let name = line.split("::").next().unwrap_or_default();
            let local = library.contains(&format!("mod {name};"));
            if !own.contains(&name) && !local && !named.contains(name) {
                findings.push(format!("{path} uses {name}, which fuzz/Cargo.toml does not"));
            }
        }
    }
    assert_none("dependencies of fuzz/", findings);
}
