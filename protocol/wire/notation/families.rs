//! Schemas -> what spans several of them: the API keys, and the records of one log as one enum.

use std::fmt::Write;

use super::notation::{Kind, Schema};
use super::rust::snake;

/// The re-exports of all types at the crate's root.
pub fn exports(schemas: &[&Schema]) -> String {
    schemas
        .iter()
        .map(|schema| format!("pub use {}::{};\n", snake(&schema.name), schema.name))
        .collect()
}

/// `ApiKey`, and which request belongs to which response.
pub fn api_keys(schemas: &[&Schema]) -> String {
    let of_kind = |kind: Kind| schemas.iter().filter(move |schema| schema.kind == kind);
    let mut lines = String::new();
    for request in of_kind(Kind::Request) {
        let Some(response) =
            of_kind(Kind::Response).find(|schema| schema.api_key == request.api_key)
        else {
            continue;
        };
        let flexible = |schema: &Schema| {
            if schema.flexible.is_empty() { i16::MAX } else { schema.flexible.min }
        };
        let listeners: Vec<String> = request
            .listeners
            .iter()
            .map(|name| format!("{}{}", name[..1].to_uppercase(), &name[1..]))
            .collect();
        let _ = writeln!(
            lines,
            "{} = {}: {}, {}; {}..={}; {}; {}; [{}]; {}, {};",
            request.name.trim_end_matches("Request"),
            request.api_key.unwrap_or_default(),
            request.name,
            response.name,
            request.valid.min,
            request.valid.max,
            request.unstable,
            request.private,
            listeners.join(", "),
            flexible(request),
            flexible(response),
        );
    }
    format!("api_keys! {{\n{lines}}}\n")
}

/// An enum for each family of records.
pub fn families(schemas: &[&Schema]) -> String {
    let mut families: Vec<(Kind, String)> = Vec::new();
    for schema in schemas {
        if let Some(family) = family(schema)
            && !families.contains(&family)
        {
            families.push(family);
        }
    }
    families.iter().map(|one| enumeration(schemas, one)).collect()
}

fn family(schema: &Schema) -> Option<(Kind, String)> {
    let area = schema.area.as_ref()?;
    match schema.kind {
        Kind::Metadata => Some((Kind::Metadata, area.clone())),
        Kind::CoordinatorKey => Some((Kind::CoordinatorKey, format!("{area}Key"))),
        Kind::CoordinatorValue => Some((Kind::CoordinatorValue, format!("{area}Value"))),
        _ => None,
    }
}

fn enumeration(schemas: &[&Schema], one: &(Kind, String)) -> String {
    let (rule, suffix) = match one.0 {
        Kind::Metadata => ("framed", "Record"),
        Kind::CoordinatorKey => ("key", "Key"),
        _ => ("value", "Value"),
    };
    let mut variants = String::new();
    for schema in schemas.iter().filter(|schema| family(schema).as_ref() == Some(one)) {
        let _ = writeln!(
            variants,
            "{} => {}({}),",
            schema.api_key.unwrap_or_default(),
            schema.name.trim_end_matches(suffix),
            schema.name
        );
    }
    format!("record_family! {{ {rule} {} {{\n{variants}}} }}\n", one.1)
}

/// For tests: a macro that is called with the names of all messages.
pub fn every_message(schemas: &[&Schema]) -> String {
    let names: Vec<&str> = schemas.iter().map(|schema| schema.name.as_str()).collect();
    format!(
        "macro_rules! every_message {{ ($then:ident) => {{ $then!({}) }}; }}\n",
        names.join(", ")
    )
}
