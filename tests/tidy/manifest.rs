//! The workspace as its manifests tell it.

use std::collections::BTreeMap;
use std::fs;
use toml::{Table, Value};

pub struct Crate {
    /// Folder, from the root; the root package is "supervisors", as its source is.
    pub dir: String,
    pub dependencies: Vec<Dependency>,
}

pub struct Dependency {
    pub name: String,
    pub for_tests: bool,
}

pub fn workspace() -> Vec<Crate> {
    let manifest = read(".");
    let members = manifest["workspace"]["members"].as_array().expect("workspace.members");
    let packages = package_names(&manifest);
    let mut crates: Vec<Crate> =
        members.iter().map(|m| load(m.as_str().expect("a path"), &packages)).collect();
    crates.push(Crate { dir: "supervisors".into(), ..load(".", &packages) });
    crates
}

fn read(dir: &str) -> Table {
    let path = crate::root().join(dir).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Package name to the dependency key under which the workspace knows it.
fn package_names(root: &Table) -> BTreeMap<String, String> {
    let dependencies = root["workspace"]["dependencies"].as_table().expect("a table");
    let named = |(key, value): (&String, &Value)| {
        let package = value.get("package")?.as_str()?;
        Some((package.to_owned(), key.clone()))
    };
    dependencies.iter().filter_map(named).collect()
}

fn load(dir: &str, packages: &BTreeMap<String, String>) -> Crate {
    let manifest = read(dir);
    let mut tables = vec![&manifest];
    if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
        tables.extend(targets.values().filter_map(Value::as_table));
    }
    let mut dependencies = Vec::new();
    for table in tables {
        for (section, for_tests) in
            [("dependencies", false), ("build-dependencies", true), ("dev-dependencies", true)]
        {
            for (key, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
                let name = packages.get(package).cloned().unwrap_or_else(|| package.to_owned());
                dependencies.push(Dependency { name, for_tests });
            }
        }
    }
    Crate { dir: dir.to_owned(), dependencies }
}
