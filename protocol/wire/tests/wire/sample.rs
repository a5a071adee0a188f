//! Random bytes that are a message of a schema in a version, made from the notation alone.

use crate::notation::{Field, Schema, Type};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn length(&mut self) -> usize {
        match self.below(24) {
            0 => 128 + self.below(300),
            n => n % 7,
        }
    }
}

/// A message in the form that encoding it again must give.
pub fn message(schema: &Schema, version: i16, random: &mut Random) -> Vec<u8> {
    let mut sample = Sample {
        schema,
        version,
        flexible: schema.flexible.contains(version),
        random,
        unknown_tags: true,
    };
    sample.structure(&schema.fields)
}

/// The same without tags that the schema does not know.
pub fn message_as_known(schema: &Schema, version: i16, random: &mut Random) -> Vec<u8> {
    let flexible = schema.flexible.contains(version);
    Sample { schema, version, flexible, random, unknown_tags: false }.structure(&schema.fields)
}

struct Sample<'a> {
    schema: &'a Schema,
    version: i16,
    flexible: bool,
    random: &'a mut Random,
    unknown_tags: bool,
}

impl Sample<'_> {
    fn structure(&mut self, fields: &[Field]) -> Vec<u8> {
        let mut out = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|field| in_place(field, version)) {
            let value = self.field(field);
            out.extend(value);
        }
        if self.flexible {
            let tags = self.tags(fields);
            out.extend(uvarint(tags.len() as u64));
            for (tag, value) in tags {
                out.extend(uvarint(tag));
                out.extend(uvarint(value.len() as u64));
                out.extend(value);
            }
        }
        out
    }

    fn tags(&mut self, fields: &[Field]) -> Vec<(u64, Vec<u8>)> {
        let mut tags = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|field| field.tagged.contains(version)) {
            let value = self.field(field);
            if self.random.below(2) == 0 && value != self.default_of(field) {
                tags.push((u64::from(field.tag.unwrap_or_default()), value));
            }
        }
        tags.sort();
        let mut unknown = fields.iter().filter(|field| field.tag.is_some()).count() as u64;
        while self.unknown_tags && self.random.below(4) == 0 {
            unknown += self.random.next() % 1000;
            tags.push((unknown, self.octets()));
            unknown += 1;
        }
        tags
    }

    fn octets(&mut self) -> Vec<u8> {
        (0..self.random.length()).map(|_| self.random.next() as u8).collect()
    }

    fn is_flexible(&self, field: &Field) -> bool {
        self.flexible && field.flexible.is_none_or(|versions| versions.contains(self.version))
    }

    fn field(&mut self, field: &Field) -> Vec<u8> {
        if field.nullable.contains(self.version) {
            if self.random.below(4) == 0 {
                return self.null(field);
            }
            if matches!(field.ty, Type::Struct(_)) {
                return [vec![1], self.value(&field.ty, true)].concat();
            }
        }
        self.value(&field.ty, self.is_flexible(field))
    }

    fn null(&self, field: &Field) -> Vec<u8> {
        match field.ty {
            Type::Struct(_) if field.tagged.contains(self.version) => vec![0],
            Type::Struct(_) => vec![0xff],
            _ if self.is_flexible(field) => vec![0],
            Type::String => vec![0xff; 2],
            _ => vec![0xff; 4],
        }
    }

    fn value(&mut self, ty: &Type, flexible: bool) -> Vec<u8> {
        match ty {
            Type::Bool => vec![(self.random.next() & 1) as u8],
            Type::String => {
                let text: String = (0..self.random.length())
                    .map(|_| ['a', '.', 'ß', '語', '🦦'][self.random.below(5)])
                    .collect();
                sized(text.len(), false, flexible, text.into_bytes())
            }
            Type::Bytes | Type::Records => {
                let octets = self.octets();
                sized(octets.len(), true, flexible, octets)
            }
            Type::Struct(name) => {
                let schema = self.schema;
                let inner = schema.find_struct(name).expect("a known struct");
                assert!(inner.versions.contains(self.version), "{name} occurs where it cannot");
                self.structure(inner.fields)
            }
            Type::Array(element) => {
                let count = self.random.below(4);
                let elements = (0..count).flat_map(|_| self.value(element, flexible)).collect();
                sized(count, true, flexible, elements)
            }
            fixed => (0..width(fixed)).map(|_| self.random.next() as u8).collect(),
        }
    }

    /// The default's bytes, of a tagged field.
    fn default_of(&self, field: &Field) -> Vec<u8> {
        let text = field.default.as_deref();
        match &field.ty {
            _ if text == Some("null") => self.null(field),
            Type::Bool => vec![u8::from(text == Some("true"))],
            Type::String | Type::Bytes | Type::Records | Type::Array(_) => vec![1],
            Type::Struct(name) => {
                let inner = self.schema.find_struct(name).expect("a known struct");
                let marker = if field.nullable.is_empty() { vec![] } else { vec![1] };
                let fields = inner.fields.iter().filter(|field| in_place(field, self.version));
                let values = fields.flat_map(|field| self.default_of(field)).collect();
                [marker, values, vec![0]].concat()
            }
            fixed => {
                let text = text.unwrap_or("0");
                let value = match text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                value.unwrap_or_default().to_be_bytes()[8_usize.saturating_sub(width(fixed))..]
                    .to_vec()
            }
        }
    }
}

fn in_place(field: &Field, version: i16) -> bool {
    field.versions.contains(version) && !field.tagged.contains(version)
}

pub fn width(ty: &Type) -> usize {
    match ty {
        Type::Int8 => 1,
        Type::Int16 | Type::Uint16 => 2,
        Type::Int32 | Type::Uint32 => 4,
        Type::Int64 | Type::Float64 => 8,
        Type::Uuid => 16,
        other => panic!("{other} has no fixed width"),
    }
}

pub fn sized(length: usize, wide: bool, flexible: bool, content: Vec<u8>) -> Vec<u8> {
    let prefix = match (flexible, wide) {
        (true, _) => uvarint(length as u64 + 1),
        (false, true) => (length as i32).to_be_bytes().to_vec(),
        (false, false) => (length as i16).to_be_bytes().to_vec(),
    };
    [prefix, content].concat()
}

pub fn uvarint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
