//! Generates the crate's message types from the notation in schema/.

use std::path::Path;

#[path = "notation/families.rs"]
mod families;
#[path = "notation/json.rs"]
mod json;
#[path = "notation/mod.rs"]
mod notation;
#[path = "notation/rust.rs"]
mod rust;

fn main() {
    println!("cargo::rerun-if-changed=schema");
    println!("cargo::rerun-if-changed=notation");
    if let Err(problem) = generate() {
        println!("cargo::error={problem}");
    }
}

fn generate() -> Result<(), String> {
    let schemas = notation::load(Path::new("schema"))?;
    // Of an RPC that is gone only the key is left, so that it is not given again.
    let live: Vec<_> = schemas.iter().filter(|schema| !schema.valid.is_empty()).collect();
    let mut code = families::exports(&live);
    code.push_str(&families::api_keys(&live));
    code.push_str(&families::families(&live));
    for schema in &live {
        code.push_str(&rust::module(schema));
    }
    // A build script runs outside of any node.
    #[allow(clippy::disallowed_methods)]
    let out = std::env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?;
    #[allow(clippy::disallowed_methods)]
    let write = |name: &str, text: &str| {
        std::fs::write(Path::new(&out).join(name), text).map_err(|e| format!("{out}/{name}: {e}"))
    };
    write("messages.rs", &code)?;
    write("every_message.rs", &families::every_message(&live))
}
