//! Builds librdkafka, from the sources that rdkafka-sys brings, with a C compiler alone.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is for OpenSSL, curl, Cyrus SASL and Windows, and for C libraries without regular expressions.
const LEFT_OUT: [&str; 8] = [
    "rdhttp.c",
    "rdkafka_sasl_cyrus.c",
    "rdkafka_sasl_oauthbearer.c",
    "rdkafka_sasl_oauthbearer_oidc.c",
    "rdkafka_sasl_scram.c",
    "rdkafka_sasl_win32.c",
    "rdkafka_ssl.c",
    "regexp.c",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=config.h");
    // Elsewhere than .cargo/config.toml says, rdkafka-sys has built it by its own script.
    if env::var_os("DEP_RDKAFKA_BUILT_BY").is_none() {
        return Ok(());
    }
    let source = source_of_rdkafka_sys()?.join("librdkafka/src");
    println!("cargo::rerun-if-changed={}", source.display());

    let mut build = cc::Build::new();
    for dir in ["", "nanopb", "opentelemetry"] {
        build.files(c_files(&source.join(dir))?);
    }
    // In src/ for its neighbour, which librdkafka includes as ../config.h.
    build.include("src").include(&source);
    build.include(env::var("DEP_Z_INCLUDE")?).include(env::var("DEP_ZSTD_INCLUDE")?);
    build.opt_level(2).debug(false).warnings(false);
    // Linkers that look into each library once come to this one before rdkafka-sys has asked for anything.
    build.link_lib_modifier("+whole-archive");
    build.try_compile("rdkafka")?;
    Ok(())
}

/// Registry, mirror or vendored: cargo knows where it has it.
fn source_of_rdkafka_sys() -> Result<PathBuf, Box<dyn Error>> {
    let metadata = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .output()?;
    if !metadata.status.success() {
        return Err(String::from_utf8_lossy(&metadata.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "rdkafka-sys")
        .find_map(|package| package["manifest_path"].as_str());
    let dir = manifest.and_then(|path| Path::new(path).parent());
    Ok(dir.ok_or("cargo metadata names no rdkafka-sys")?.to_owned())
}

fn c_files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let left_out = LEFT_OUT.iter().any(|name| path.ends_with(name));
        if path.extension().is_some_and(|e| e == "c") && !left_out {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
