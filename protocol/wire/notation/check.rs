//! What a schema must fulfil beyond its grammar, so that the generator may rely on it.

use super::{Field, Schema, Type};

/// Far from Kafka's.
const FIRST_PRIVATE: i16 = 20_000;

pub fn check(schema: &Schema) -> Result<(), String> {
    let all = schema.all_structs();
    for (index, one) in all.iter().enumerate() {
        if all[..index].iter().any(|other| other.name == one.name) {
            return Err(format!("struct {} is defined twice", one.name));
        }
        check_fields(schema, one.fields).map_err(|e| format!("{}.{e}", one.name))?;
        if reaches(schema, one.fields, one.name, all.len()) {
            return Err(format!("struct {} holds itself", one.name));
        }
    }
    if schema.api_key.is_some_and(|key| (key >= FIRST_PRIVATE) != schema.private) {
        return Err(format!("keys from {FIRST_PRIVATE} on, and no others, are private"));
    }
    if schema.kind == super::Kind::Metadata && schema.area.is_none() {
        return Err("belongs to no area".to_owned());
    }
    Ok(())
}

fn check_fields(schema: &Schema, fields: &[Field]) -> Result<(), String> {
    for (index, field) in fields.iter().enumerate() {
        let problem = check_field(schema, field).err().or_else(|| {
            fields[..index]
                .iter()
                .any(|other| other.name == field.name)
                .then(|| "is there twice".to_owned())
        });
        if let Some(problem) = problem {
            return Err(format!("{}: {problem}", field.name));
        }
    }
    let mut tags: Vec<u32> = fields.iter().filter_map(|field| field.tag).collect();
    tags.sort_unstable();
    if tags.iter().enumerate().any(|(index, tag)| *tag as usize != index) {
        return Err(format!("tags {tags:?} are not 0, 1, 2 ..."));
    }
    Ok(())
}

fn check_field(schema: &Schema, field: &Field) -> Result<(), String> {
    let fail = |problem: &str| Err(problem.to_owned());
    if let Some(name) = field.ty.struct_name()
        && schema.find_struct(name).is_none()
    {
        return Err(format!("type {name} is not known"));
    }
    if matches!(&field.ty, Type::Array(element) if matches!(**element, Type::Array(_))) {
        return fail("is an array of arrays");
    }
    let can_be_null = matches!(
        field.ty,
        Type::String | Type::Bytes | Type::Records | Type::Struct(_) | Type::Array(_)
    );
    if !field.nullable.is_empty() && !can_be_null {
        return fail("cannot be null");
    }
    if field.default.as_deref() == Some("null")
        && field.nullable.intersect(field.versions) != field.versions
    {
        return fail("defaults to null but is not nullable in all versions");
    }
    if !field.tagged.is_empty() {
        let flexible = field.tagged.intersect(schema.valid).intersect(schema.flexible);
        if flexible != field.tagged.intersect(schema.valid)
            || field.tagged.intersect(field.versions) != field.tagged
        {
            return fail("is tagged in versions that have no tags, or not the field");
        }
        if field.ty == Type::Records || holds_records(schema, field) {
            return fail("records cannot be tagged");
        }
    }
    Ok(())
}

fn holds_records(schema: &Schema, field: &Field) -> bool {
    let inner = field.ty.struct_name().and_then(|name| schema.find_struct(name));
    inner.is_some_and(|s| {
        s.fields.iter().any(|field| field.ty == Type::Records || holds_records(schema, field))
    })
}

fn reaches(schema: &Schema, fields: &[Field], name: &str, depth: usize) -> bool {
    depth > 0
        && fields.iter().filter_map(|field| field.ty.struct_name()).any(|inner| {
            inner == name
                || schema
                    .find_struct(inner)
                    .is_some_and(|s| reaches(schema, s.fields, name, depth - 1))
        })
}
