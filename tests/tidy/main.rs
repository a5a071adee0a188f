//! What keeps the house in order: the arrows between crates and the rules that no other tool checks.
#![allow(clippy::disallowed_methods, reason = "this test reads the repository, not a node's world")]

mod arrows;
mod dependencies;
mod fuzz;
mod honoured;
mod invariants;
mod manifest;
mod metrics;
mod rules;
mod settings;
mod source;
mod vendored;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// Fails with all findings at once: a newcomer mends them in one go.
fn assert_none(what: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{what}:\n  {}\n", findings.join("\n  "));
}
