//! Schemas -> Rust: records as JSON, as Kafka's `JsonConverterGenerator` has them.

use std::fmt::Write;

use super::notation::{Field, Kind, Schema, StructOf};
use super::rust::{condition, ident, is_set};

/// Whether the schema's type can be shown: what the files of a node hold, and not what goes over the wire.
pub fn is_shown(schema: &Schema) -> bool {
    !matches!(schema.kind, Kind::Request | Kind::Response | Kind::Header)
}

pub fn implementation(one: &StructOf<'_>) -> String {
    let fields: String = one.fields.iter().map(|field| show(one, field)).collect();
    format!(
        "impl Json for {} {{\nfn json(&self, out: &mut String, v: i16) {{\nlet mut object = Object::begin(out, v);\n\
         {fields}object.end();\n}}\n}}\n",
        one.name
    )
}

fn show(one: &StructOf<'_>, field: &Field) -> String {
    let present = field.versions.intersect(one.versions);
    let mut conditions = Vec::new();
    conditions.extend(condition(present, one.versions));
    if field.tag.is_some() {
        let set = is_set(field);
        conditions.push(match condition(field.tagged, present) {
            Some(tagged) => format!("(!({tagged}) || {set})"),
            None => set,
        });
    }
    let mut name = field.name.clone();
    name[..1].make_ascii_lowercase();
    let mut out = String::new();
    let shown = format!("object.field(\"{name}\", &self.{});", ident(field));
    let _ = match conditions.is_empty() {
        true => writeln!(out, "{shown}"),
        false => writeln!(out, "if {} {{ {shown} }}", conditions.join(" && ")),
    };
    out
}
