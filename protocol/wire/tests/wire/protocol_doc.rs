//! docs/PROTOCOL.md says what the notation says.

use std::fmt::Write;

use crate::notation::{Kind, Schema, Versions};
use crate::{load_notation, repository};

const HEAD: &str = "# The protocol

Generated from the notation in `protocol/wire/schema`, which also has every field; do not edit. After a change of the notation:
`OTTLA_BLESS=1 cargo test -p ottla-wire protocol_doc`.

*Flexible* versions have compact lengths and tagged fields. A version in parentheses may still change: it is served only where
`unstable.api.versions.enable` is set.

";

fn document(schemas: &[Schema]) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "## RPCs\n\n| key | name | versions | flexible | answered by |\n|---|---|---|---|---|\n",
    );
    let requests = || schemas.iter().filter(|schema| schema.kind == Kind::Request);
    for schema in requests().filter(|schema| !schema.private) {
        let stable = Versions { max: schema.valid.max - 1, ..schema.valid };
        let versions = match (schema.valid.is_empty(), schema.unstable) {
            (true, _) => "none any more".to_owned(),
            (false, false) => schema.valid.to_string(),
            (false, true) if stable.is_empty() => format!("({})", schema.valid.max),
            (false, true) => format!("{stable} ({})", schema.valid.max),
        };
        row(&mut out, schema, "Request", &versions, &schema.listeners.join(", "));
    }
    out.push_str(
        "\n## Ottla's own RPCs, of which nobody is told\n\n| key | name | versions | flexible | answered by |\n|---|---|---|---|---|\n",
    );
    for schema in requests().filter(|schema| schema.private) {
        row(&mut out, schema, "Request", &schema.valid.to_string(), &schema.listeners.join(", "));
    }
    for (kind, title) in [
        (Kind::Metadata, "Metadata records"),
        (Kind::CoordinatorKey, "Keys of the coordinators' records"),
        (Kind::CoordinatorValue, "Values of the coordinators' records"),
        (Kind::Header, "Headers"),
        (Kind::Data, "Other data"),
    ] {
        let _ = write!(
            out,
            "\n## {title}\n\n| type | name | versions | flexible | of |\n|---|---|---|---|---|\n"
        );
        for schema in schemas.iter().filter(|schema| schema.kind == kind) {
            let area = schema.area.as_deref().unwrap_or("");
            row(&mut out, schema, "", &schema.valid.to_string(), area);
        }
    }
    out.push_str("\n## Notes\n\n");
    for schema in schemas {
        note(&mut out, &schema.name, &schema.about);
        for one in schema.all_structs() {
            for field in one.fields {
                note(&mut out, &format!("{}.{}", one.name, field.name), &field.about);
            }
        }
    }
    out
}

fn note(out: &mut String, of: &str, about: &str) {
    if !about.is_empty() {
        let _ = writeln!(out, "- **{of}**: {about}");
    }
}

fn row(out: &mut String, schema: &Schema, suffix: &str, versions: &str, last: &str) {
    let key = schema.api_key.map(|key| key.to_string()).unwrap_or_default();
    let name = schema.name.strip_suffix(suffix).unwrap_or(&schema.name);
    let _ = writeln!(out, "| {key} | {name} | {versions} | {} | {last} |", schema.flexible);
}

#[test]
fn protocol_doc_is_what_the_notation_says() {
    let path = repository().join("docs/PROTOCOL.md");
    let expected = document(&load_notation());
    if std::env::var("OTTLA_BLESS").is_ok_and(|bless| bless == "1") {
        std::fs::create_dir_all(repository().join("docs")).expect("docs/ is made");
        std::fs::write(&path, &expected).expect("the document is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/PROTOCOL.md is stale: run this test with OTTLA_BLESS=1");
}
