//! docs/CONFIG.md says what the tables say.
#![allow(clippy::disallowed_methods, reason = "a test may read and write the repository")]

#[test]
fn docs_config_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");
    let document = ottla_model::settings::document();
    if std::env::var_os("OTTLA_BLESS").is_some() {
        std::fs::write(path, &document).expect("docs/CONFIG.md can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == document, "docs/CONFIG.md is out of date: OTTLA_BLESS=1 rewrites it");
}
