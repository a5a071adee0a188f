//! What a version does not have is as the notation says that it is by default, and so is what nothing was said of.

use bytes::Bytes;

use crate::notation::{Field, Schema, Type};
use crate::sample::{Random, sized, uvarint, width};
use crate::{blank, live_messages};

const SAMPLES: u64 = 5;

#[test]
fn what_a_version_lacks_is_its_default_in_another() {
    for (schema, recode) in live_messages() {
        for from in schema.valid.min..=schema.valid.max {
            for to in schema.valid.min..=schema.valid.max {
                for seed in 0..SAMPLES {
                    let mut random = Random(seed);
                    let [read, written] = Twins::of(&schema, from, to).message(&mut random);
                    let again = recode(Bytes::from(read), from, to);
                    let what = format!("{} v{from} as v{to}, seed {seed}", schema.name);
                    assert_eq!(again, Ok(Ok(Bytes::from(written))), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_message_of_which_nothing_is_said_is_the_default() {
    for (schema, _) in live_messages() {
        for version in schema.valid.min..=schema.valid.max {
            let Some(bytes) = blank(&schema.name, version) else {
                // No bytes stand for records that are not there, where they must be.
                assert!(schema.fields.iter().any(|field| field.ty == Type::Records));
                continue;
            };
            let written = Twins::of(&schema, version, version).default_structure(1, &schema.fields);
            assert_eq!(bytes, written, "{} v{version}", schema.name);
        }
    }
}

/// One message in the bytes of two versions.
struct Twins<'a> {
    schema: &'a Schema,
    versions: [i16; 2],
}

type Pair = [Vec<u8>; 2];

impl<'a> Twins<'a> {
    fn of(schema: &'a Schema, from: i16, to: i16) -> Twins<'a> {
        Twins { schema, versions: [from, to] }
    }

    fn message(&self, random: &mut Random) -> Pair {
        self.structure(&self.schema.fields, random)
    }

    fn is_flexible(&self, side: usize, field: Option<&Field>) -> bool {
        let version = self.versions[side];
        let own = field.and_then(|field| field.flexible);
        self.schema.flexible.contains(version) && own.is_none_or(|own| own.contains(version))
    }

    fn is_tagged(&self, side: usize, field: &Field) -> bool {
        field.tagged.contains(self.versions[side])
    }

    fn has(&self, side: usize, field: &Field) -> bool {
        field.versions.contains(self.versions[side])
    }

    fn structure(&self, fields: &[Field], random: &mut Random) -> Pair {
        let mut placed = Pair::default();
        let mut tags = [Vec::new(), Vec::new()];
        for field in fields {
            // What the other version has no place for must be its default, or it cannot be said there.
            let is_said = self.has(0, field) && self.has(1, field);
            let value = if is_said { self.field(field, random) } else { self.defaults(field) };
            for (side, value) in
                value.into_iter().enumerate().filter(|(side, _)| self.has(*side, field))
            {
                if !self.is_tagged(side, field) {
                    placed[side].extend(value);
                } else if value != self.default_of(side, field) {
                    tags[side].push((u64::from(field.tag.unwrap_or_default()), value));
                }
            }
        }
        for side in 0..2 {
            if self.is_flexible(side, None) {
                placed[side].extend(tagged(std::mem::take(&mut tags[side])));
            }
        }
        placed
    }

    fn field(&self, field: &Field, random: &mut Random) -> Pair {
        let nullable = self.versions.iter().all(|version| field.nullable.contains(*version));
        if nullable && random.below(4) == 0 {
            return [0, 1].map(|side| self.null(side, field));
        }
        let value = self.value(&field.ty, field, random);
        match field.ty {
            Type::Struct(_) => self.marked(field, value),
            _ => value,
        }
    }

    /// A struct that may be null says before itself that it is not.
    fn marked(&self, field: &Field, [first, second]: Pair) -> Pair {
        let mark = |side: usize, value: Vec<u8>| match field.nullable.contains(self.versions[side])
        {
            true => [vec![1], value].concat(),
            false => value,
        };
        [mark(0, first), mark(1, second)]
    }

    fn value(&self, ty: &Type, field: &Field, random: &mut Random) -> Pair {
        let sides = [0, 1].map(|side| self.is_flexible(side, Some(field)));
        match ty {
            Type::Bool => [vec![1], vec![1]],
            Type::String | Type::Bytes | Type::Records => {
                let text = vec![b'a'; random.below(5)];
                sides.map(|flexible| sized(text.len(), *ty != Type::String, flexible, text.clone()))
            }
            Type::Struct(name) => {
                let inner = self.schema.find_struct(name).expect("a known struct");
                self.structure(inner.fields, random)
            }
            Type::Array(element) => {
                let count = random.below(3);
                let mut elements = Pair::default();
                for _ in 0..count {
                    let [first, second] = self.value(element, field, random);
                    elements[0].extend(first);
                    elements[1].extend(second);
                }
                let mut sides = sides.into_iter();
                elements.map(|all| sized(count, true, sides.next().unwrap_or_default(), all))
            }
            fixed => {
                let bytes: Vec<u8> = (0..width(fixed)).map(|_| random.next() as u8).collect();
                [bytes.clone(), bytes]
            }
        }
    }

    fn defaults(&self, field: &Field) -> Pair {
        [0, 1].map(|side| self.default_of(side, field))
    }

    fn null(&self, side: usize, field: &Field) -> Vec<u8> {
        match field.ty {
            Type::Struct(_) if self.is_tagged(side, field) => vec![0],
            Type::Struct(_) => vec![0xff],
            _ if self.is_flexible(side, Some(field)) => vec![0],
            Type::String => vec![0xff; 2],
            _ => vec![0xff; 4],
        }
    }

    fn default_of(&self, side: usize, field: &Field) -> Vec<u8> {
        let text = field.default.as_deref();
        let flexible = self.is_flexible(side, Some(field));
        match &field.ty {
            _ if text == Some("null") && field.nullable.contains(self.versions[side]) => {
                self.null(side, field)
            }
            Type::Bool => vec![u8::from(text == Some("true"))],
            Type::String => sized(0, false, flexible, Vec::new()),
            Type::Bytes | Type::Records | Type::Array(_) => sized(0, true, flexible, Vec::new()),
            Type::Struct(name) => {
                let inner = self.schema.find_struct(name).expect("a known struct");
                let value = self.default_structure(side, inner.fields);
                self.marked(field, [value.clone(), value])[side].clone()
            }
            fixed => number(text.unwrap_or("0"), width(fixed)),
        }
    }

    fn default_structure(&self, side: usize, fields: &[Field]) -> Vec<u8> {
        let placed = fields.iter().filter(|f| self.has(side, f) && !self.is_tagged(side, f));
        let mut value: Vec<u8> = placed.flat_map(|field| self.default_of(side, field)).collect();
        if self.is_flexible(side, None) {
            value.push(0);
        }
        value
    }
}

fn tagged(mut tags: Vec<(u64, Vec<u8>)>) -> Vec<u8> {
    tags.sort();
    let mut out = uvarint(tags.len() as u64);
    for (tag, value) in tags {
        out.extend([uvarint(tag), uvarint(value.len() as u64), value].concat());
    }
    out
}

fn number(text: &str, width: usize) -> Vec<u8> {
    let value = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).expect("a number"),
        None => text.parse().unwrap_or_default(),
    };
    let bytes = value.to_be_bytes();
    // A UUID is wider than any number, and zero.
    [vec![0; width.saturating_sub(8)], bytes[8_usize.saturating_sub(width)..].to_vec()].concat()
}
