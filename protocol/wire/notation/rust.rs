//! Schemas -> Rust. Only what differs from type to type is written out; the rest is in src/codec.rs.

use std::fmt::Write;

use super::notation::{Field, Kind, Schema, StructOf, Type, Versions};

/// A module for a schema: its struct, and the structs in it.
pub fn module(schema: &Schema) -> String {
    let mut out = String::new();
    let all = schema.all_structs();
    for one in &all {
        let _ = writeln!(out, "{}", structure(schema, one));
        if super::json::is_shown(schema) {
            out.push_str(&super::json::implementation(one));
        }
    }
    let range =
        |versions: Versions| format!("VersionRange::new({}, {})", versions.min, versions.max);
    let flexible = if schema.flexible.is_empty() {
        "None".to_owned()
    } else {
        format!("Some({})", range(schema.flexible))
    };
    let _ = write!(
        out,
        "impl Message for {name} {{\n const NAME: &'static str = \"{name}\";\n \
         const VERSIONS: VersionRange = {};\n const FLEXIBLE: Option<VersionRange> = {flexible};\n}}\n",
        range(schema.valid),
        name = schema.name,
    );
    format!("pub mod {} {{\nuse crate::prelude::*;\n{out}}}\n", snake(&schema.name))
}

fn structure(schema: &Schema, one: &StructOf<'_>) -> String {
    let mut fields = String::new();
    for field in one.fields {
        if !field.about.is_empty() {
            let _ = writeln!(fields, "/// {}", field.about);
        }
        let _ = writeln!(fields, "pub {}: {},", ident(field), rust_type(field));
    }
    let about = if one.name == schema.name && !schema.about.is_empty() {
        format!("/// {}\n", schema.about)
    } else {
        String::new()
    };
    let plain = one.fields.iter().all(has_natural_default);
    let derived = if plain { ", Default" } else { "" };
    let default = if plain { String::new() } else { default_impl(one) };
    format!(
        "{about}#[derive(Debug, Clone, PartialEq{derived})]\npub struct {name} {{\n{fields}\
         pub unknown_tagged_fields: Vec<RawTaggedField>,\n}}\n{default}\
         impl Wire for {name} {{\nconst MIN_SIZE: usize = {};\n{}{}}}\n",
        min_size(schema, one),
        read(schema, one),
        write(schema, one),
        name = one.name,
    )
}

fn default_impl(one: &StructOf<'_>) -> String {
    let fields: String =
        one.fields.iter().map(|f| format!("{}: {},\n", ident(f), default(f))).collect();
    format!(
        "impl Default for {} {{\nfn default() -> Self {{\nSelf {{\n{fields}unknown_tagged_fields: Vec::new(),\n}}\n}}\n}}\n",
        one.name
    )
}

fn read(schema: &Schema, one: &StructOf<'_>) -> String {
    let mut body = String::new();
    let mut tagged = String::new();
    for field in one.fields {
        let name = ident(field);
        let mandatory = mandatory(field, one.versions);
        let default = default(field);
        let _ = match condition(mandatory, one.versions).as_deref() {
            None => writeln!(body, "let {name} = {};", read_field(schema, one, field)),
            Some("false") if field.tag.is_none() => writeln!(body, "let {name} = {default};"),
            Some("false") => writeln!(body, "let mut {name} = {default};"),
            Some(present) => {
                let mutable = if field.tag.is_some() { "mut " } else { "" };
                let value = read_field(schema, one, field);
                writeln!(
                    body,
                    "let {mutable}{name} = if {present} {{ {value} }} else {{ {default} }};"
                )
            }
        };
        if let Some(tag) = field.tag {
            let value = if is_nullable_struct(field) {
                "read_tagged_struct(r, v)?".to_owned()
            } else {
                read_field(schema, one, field)
            };
            let valid = condition(field.tagged, one.versions.intersect(schema.flexible));
            let guard = valid.as_ref().map(|valid| format!(" if {valid}")).unwrap_or_default();
            let _ = writeln!(tagged, "{tag}{guard} => {name} = {value},");
            if valid.is_some() {
                let _ = writeln!(
                    tagged,
                    "{tag} => return Err(DecodeError::InvalidTag {{ tag, version: v }}),"
                );
            }
        }
    }
    let names: String = one.fields.iter().map(|field| format!("{}, ", ident(field))).collect();
    if tagged.is_empty() {
        body.push_str("let unknown_tagged_fields = r.unknown_tags(f)?;\n");
    } else {
        let _ = write!(
            body,
            "let mut unknown_tagged_fields = Vec::new();\nif f {{\nfor _ in 0..r.tag_count()? {{\n\
             let (tag, size) = r.tag()?;\nmatch tag {{\n{tagged}\
             _ => r.keep_tag((tag, size), &mut unknown_tagged_fields)?,\n}}\n}}\n}}\n"
        );
    }
    format!(
        "fn read(r: &mut Reader, v: i16, f: bool) -> Result<Self, DecodeError> {{\n{body}\
         Ok(Self {{ {names}unknown_tagged_fields }})\n}}\n"
    )
}

fn read_field(schema: &Schema, one: &StructOf<'_>, field: &Field) -> String {
    let flexible = flexible(schema, field);
    let present = field.versions.intersect(one.versions);
    if !is_option(field) {
        return format!("Wire::read(r, v, {flexible})?");
    }
    if field.ty == Type::Records && field.nullable.is_empty() {
        return format!("Some(Wire::read(r, v, {flexible})?)");
    }
    match condition(field.nullable, present) {
        None => format!("Wire::read_nullable(r, v, {flexible})?"),
        Some(nullable) => format!("read_if_nullable({nullable}, r, v, {flexible})?"),
    }
}

fn write(schema: &Schema, one: &StructOf<'_>) -> String {
    let mut body = String::new();
    for field in one.fields {
        let mandatory = mandatory(field, one.versions);
        let value = write_field(schema, one, field);
        let lost = Versions::intersect(field.versions, one.versions);
        let absent = condition(lost, one.versions).filter(|_| !field.ignorable);
        let absent = absent
            .map(|_| format!("absent({}, \"{}.{}\", v)?;", is_set(field), one.name, field.name));
        let _ = match (condition(mandatory, one.versions).as_deref(), absent) {
            (None, _) => writeln!(body, "{value}?;"),
            (Some("false"), None) => Ok(()),
            (Some("false"), Some(absent)) => match condition(lost, one.versions).as_deref() {
                Some("false") | None => writeln!(body, "{absent}"),
                Some(tagged) => writeln!(body, "if !({tagged}) {{ {absent} }}"),
            },
            (Some(present), None) => writeln!(body, "if {present} {{ {value}?; }}"),
            (Some(present), Some(absent)) if lost == mandatory => {
                writeln!(body, "if {present} {{ {value}?; }} else {{ {absent} }}")
            }
            (Some(present), Some(absent)) => {
                let tagged = condition(lost, one.versions).unwrap_or_default();
                writeln!(body, "if {present} {{ {value}?; }} else if !({tagged}) {{ {absent} }}")
            }
        };
    }
    let mut tagged: Vec<&Field> = one.fields.iter().filter(|field| field.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);
    if tagged.is_empty() {
        body.push_str("write_unknown_tags(&self.unknown_tagged_fields, w, v, f)\n");
    } else {
        let fields: String = tagged.iter().map(|field| write_tagged(schema, one, field)).collect();
        let _ = write!(
            body,
            "if !f {{ return write_unknown_tags(&self.unknown_tagged_fields, w, v, f); }}\n\
             let mut t = Tags::begin(w, &self.unknown_tagged_fields);\n{fields}t.end(w)\n"
        );
    }
    format!(
        "fn write(&self, w: &mut Writer, v: i16, f: bool) -> Result<(), EncodeError> {{\n{body}}}\n"
    )
}

fn write_tagged(schema: &Schema, one: &StructOf<'_>, field: &Field) -> String {
    let valid = condition(field.tagged, one.versions.intersect(schema.flexible));
    let present = valid.map(|valid| format!("{valid} && ")).unwrap_or_default();
    let value = if is_nullable_struct(field) {
        format!("write_tagged_struct(&self.{}, w, v)", ident(field))
    } else {
        write_field(schema, one, field)
    };
    let tag = field.tag.unwrap_or_default();
    format!(
        "if {present}{} {{ let at = t.open(w, {tag})?; {value}?; t.close(w, at); }}\n",
        is_set(field)
    )
}

fn write_field(schema: &Schema, one: &StructOf<'_>, field: &Field) -> String {
    let (name, flexible) = (ident(field), flexible(schema, field));
    if !is_option(field) {
        return format!("self.{name}.write(w, v, {flexible})");
    }
    let value = match is_error_message(schema, field) {
        true => format!("*cut_short(&self.{name})"),
        false => format!("self.{name}"),
    };
    match condition(field.nullable, field.versions.intersect(one.versions)) {
        None => format!("Wire::write_nullable(({value}).as_ref(), w, v, {flexible})"),
        Some(nullable) => {
            let full = format!("{}.{}", one.name, field.name);
            format!("write_if_nullable({nullable}, &{value}, w, v, {flexible}, \"{full}\")")
        }
    }
}

/// For people: what of it is too long is worth less than the answer around it.
fn is_error_message(schema: &Schema, field: &Field) -> bool {
    schema.kind == Kind::Response
        && field.ty == Type::String
        && field.name.ends_with("ErrorMessage")
}

/// The versions in which the field is written in its place, not as a tagged one.
fn mandatory(field: &Field, versions: Versions) -> Versions {
    let present = field.versions.intersect(versions);
    let tagged = field.tagged.intersect(present);
    if tagged.is_empty() {
        present
    } else {
        // Tagged versions are open at their end, so what is left lies before them.
        present.intersect(Versions { min: 0, max: tagged.min - 1 })
    }
}

/// The test of `v` against a range, where all versions that occur are `possible`: `None` if it always holds.
pub fn condition(versions: Versions, possible: Versions) -> Option<String> {
    let both = versions.intersect(possible);
    if both == possible && !both.is_empty() {
        None
    } else if both.is_empty() {
        Some("false".to_owned())
    } else if both.max == possible.max {
        Some(format!("v >= {}", both.min))
    } else if both.min == possible.min {
        Some(format!("v <= {}", both.max))
    } else {
        Some(format!("({}..={}).contains(&v)", both.min, both.max))
    }
}

fn flexible(schema: &Schema, field: &Field) -> &'static str {
    if field.flexible.is_none_or(|own| own == schema.flexible) { "f" } else { "false" }
}

fn is_nullable_struct(field: &Field) -> bool {
    matches!(field.ty, Type::Struct(_)) && !field.nullable.is_empty()
}

/// Records are optional also where they may not be null: there is no empty batch to stand for them.
fn is_option(field: &Field) -> bool {
    !field.nullable.is_empty() || field.ty == Type::Records
}

fn defaults_to_none(field: &Field) -> bool {
    field.default.as_deref() == Some("null") || field.ty == Type::Records
}

fn has_natural_default(field: &Field) -> bool {
    if is_option(field) {
        return defaults_to_none(field);
    }
    matches!(field.default.as_deref(), None | Some("0" | "false"))
}

fn default(field: &Field) -> String {
    if defaults_to_none(field) {
        return "None".to_owned();
    }
    let value = match (&field.ty, field.default.as_deref()) {
        (Type::Bool, default) => default.unwrap_or("false").to_owned(),
        (Type::Float64, default) => format!("{}_f64", default.unwrap_or("0")),
        (Type::Uuid, _) => "Uuid::ZERO".to_owned(),
        (Type::String, _) => "String::new()".to_owned(),
        (Type::Bytes, _) => "Bytes::new()".to_owned(),
        (Type::Array(_), _) => "Vec::new()".to_owned(),
        (Type::Struct(name), _) => format!("{name}::default()"),
        (_, default) => default.unwrap_or("0").to_owned(),
    };
    if is_option(field) { format!("Some({value})") } else { value }
}

/// An expression that tells whether the field differs from its default.
pub fn is_set(field: &Field) -> String {
    let name = ident(field);
    if defaults_to_none(field) {
        return format!("self.{name}.is_some()");
    }
    match (&field.ty, field.default.as_deref()) {
        (Type::Bool, Some("true")) => format!("!self.{name}"),
        (Type::Bool, _) => format!("self.{name}"),
        (Type::String | Type::Bytes | Type::Array(_), _) => format!("self.{name}.filled()"),
        _ => format!("self.{name} != {}", default(field)),
    }
}

fn rust_type(field: &Field) -> String {
    let plain = plain_type(&field.ty);
    if is_option(field) { format!("Option<{plain}>") } else { plain }
}

fn plain_type(ty: &Type) -> String {
    let name = match ty {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Uint32 => "u32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        Type::Uuid => "Uuid",
        Type::String => "String",
        Type::Bytes => "Bytes",
        Type::Records => "Records",
        Type::Struct(name) => name,
        Type::Array(element) => return format!("Vec<{}>", plain_type(element)),
    };
    name.to_owned()
}

/// The smallest size of the struct over all versions in which it occurs.
fn min_size(schema: &Schema, one: &StructOf<'_>) -> usize {
    let of_version = |version: i16| -> usize {
        let flexible = schema.flexible.contains(version);
        let present =
            one.fields.iter().filter(|field| mandatory(field, one.versions).contains(version));
        let tag_count = usize::from(flexible);
        tag_count + present.map(|field| field_min_size(schema, field, flexible)).sum::<usize>()
    };
    (one.versions.min..=one.versions.max).map(of_version).min().unwrap_or(0)
}

fn field_min_size(schema: &Schema, field: &Field, flexible: bool) -> usize {
    match &field.ty {
        Type::String if !flexible => 2,
        Type::Bytes | Type::Records | Type::Array(_) if !flexible => 4,
        Type::Bool | Type::Int8 | Type::String | Type::Bytes | Type::Records | Type::Array(_) => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 | Type::Uint32 => 4,
        Type::Int64 | Type::Float64 => 8,
        Type::Uuid => 16,
        Type::Struct(_) if !field.nullable.is_empty() => 1,
        Type::Struct(name) => schema.find_struct(name).map_or(0, |inner| min_size(schema, &inner)),
    }
}

pub fn ident(field: &Field) -> String {
    match snake(&field.name).as_str() {
        keyword @ ("type" | "match") => format!("r#{keyword}"),
        name => name.to_owned(),
    }
}

pub fn snake(name: &str) -> String {
    let mut out = String::new();
    for (index, c) in name.replace("KRaft", "Kraft").chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
