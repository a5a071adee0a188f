//! The schema notation: one line for a schema, one for a field, indentation for what a struct holds. The build script generates the
//! crate's types from it, and the tests read the same notation. It holds everything that Kafka's own definitions say:
//!
//! ```text
//! area NAME                                               the records of this file form one family, enumerated under NAME
//! KIND [API KEY] NAME VERSIONS flexible VERSIONS [unstable] [private] [deprecated VERSIONS] [on LISTENER ...]
//!     NAME: TYPE[?[NULLABLE VERSIONS]] VERSIONS [tag N [in VERSIONS]] [key] [ignorable] [zerocopy] [flexible VERSIONS] [= DEFAULT] [@ENTITY]
//!         ...                                             the fields of the struct that is the field's type
//!     struct NAME VERSIONS                                a struct that several fields of the schema use
//!         ...
//! ```
//!
//! Versions are `3`, `3-5`, `3+` or `none`. `?` alone: nullable in all versions of the field. `#` at the start of a line begins a comment;
//! what stands directly above a schema or a field becomes its documentation. A `private` schema is Ottla's own: Kafka has none of it, and
//! clients are not told of it.

mod check;
mod parse;

use std::path::Path;

/// A range of versions, possibly empty, possibly open at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { min: 0, max: -1 };

    pub fn parse(text: &str) -> Result<Versions, String> {
        let number = |text: &str| text.parse::<i16>().ok().filter(|n| *n >= 0);
        let found = if text == "none" {
            Some(Versions::NONE)
        } else if let Some(min) = text.strip_suffix('+') {
            number(min).map(|min| Versions { min, max: i16::MAX })
        } else if let Some((min, max)) = text.split_once('-') {
            number(min).zip(number(max)).map(|(min, max)| Versions { min, max })
        } else {
            number(text).map(|n| Versions { min: n, max: n })
        };
        found.ok_or_else(|| format!("`{text}` is not a range of versions"))
    }

    pub fn is_empty(self) -> bool {
        self.min > self.max
    }

    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    pub fn intersect(self, other: Versions) -> Versions {
        let both = Versions { min: self.min.max(other.min), max: self.max.min(other.max) };
        if self.is_empty() || other.is_empty() || both.is_empty() { Versions::NONE } else { both }
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.min, self.max) {
            _ if self.is_empty() => f.write_str("none"),
            (min, i16::MAX) => write!(f, "{min}+"),
            (min, max) if min == max => write!(f, "{min}"),
            (min, max) => write!(f, "{min}-{max}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

/// The scalar types by the names they have in the notation.
const SCALARS: [(&str, Type); 12] = [
    ("bool", Type::Bool),
    ("int8", Type::Int8),
    ("int16", Type::Int16),
    ("uint16", Type::Uint16),
    ("int32", Type::Int32),
    ("uint32", Type::Uint32),
    ("int64", Type::Int64),
    ("float64", Type::Float64),
    ("uuid", Type::Uuid),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("records", Type::Records),
];

impl Type {
    pub fn parse(text: &str) -> Type {
        if let Some(element) = text.strip_prefix("[]") {
            return Type::Array(Box::new(Type::parse(element)));
        }
        let scalar = SCALARS.iter().find(|(name, _)| *name == text).map(|(_, ty)| ty.clone());
        scalar.unwrap_or_else(|| Type::Struct(text.to_owned()))
    }

    /// The struct this type is, or is an array of.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Type::Struct(name) => f.write_str(name),
            Type::Array(element) => write!(f, "[]{element}"),
            scalar => f.write_str(
                SCALARS.iter().find(|(_, ty)| ty == scalar).map_or("", |(name, _)| name),
            ),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
}

pub const KINDS: [(&str, Kind); 7] = [
    ("request", Kind::Request),
    ("response", Kind::Response),
    ("header", Kind::Header),
    ("data", Kind::Data),
    ("metadata", Kind::Metadata),
    ("coordinator-key", Kind::CoordinatorKey),
    ("coordinator-value", Kind::CoordinatorValue),
];

#[derive(Debug, Clone)]
pub struct Schema {
    pub kind: Kind,
    pub api_key: Option<i16>,
    pub name: String,
    pub valid: Versions,
    pub flexible: Versions,
    pub unstable: bool,
    pub private: bool,
    pub deprecated: Versions,
    pub listeners: Vec<String>,
    pub fields: Vec<Field>,
    pub structs: Vec<CommonStruct>,
    pub about: String,
    pub area: Option<String>,
}

#[derive(Debug, Clone)]
pub struct CommonStruct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub tagged: Versions,
    pub key: bool,
    pub ignorable: bool,
    pub zero_copy: bool,
    /// Set where the field's own encoding is not as flexible as its schema's.
    pub flexible: Option<Versions>,
    pub default: Option<String>,
    pub entity: Option<String>,
    pub about: String,
    pub fields: Vec<Field>,
}

/// A struct of a schema with the versions in which it can occur.
#[derive(Debug, Clone, Copy)]
pub struct StructOf<'a> {
    pub name: &'a str,
    pub versions: Versions,
    pub fields: &'a [Field],
}

impl Schema {
    /// The schema itself and every struct in it, in the order of their appearance.
    pub fn all_structs(&self) -> Vec<StructOf<'_>> {
        let mut all =
            vec![StructOf { name: &self.name, versions: self.valid, fields: &self.fields }];
        nested(&self.fields, self.valid, &mut all);
        for common in &self.structs {
            let versions = common.versions.intersect(self.valid);
            all.push(StructOf { name: &common.name, versions, fields: &common.fields });
            nested(&common.fields, versions, &mut all);
        }
        all
    }

    pub fn find_struct(&self, name: &str) -> Option<StructOf<'_>> {
        self.all_structs().into_iter().find(|s| s.name == name)
    }
}

fn nested<'a>(fields: &'a [Field], versions: Versions, all: &mut Vec<StructOf<'a>>) {
    for field in fields.iter().filter(|field| !field.fields.is_empty()) {
        if let Some(name) = field.ty.struct_name() {
            let versions = versions.intersect(field.versions);
            all.push(StructOf { name, versions, fields: &field.fields });
            nested(&field.fields, versions, all);
        }
    }
}

/// Reads every `.schema` file under a directory, in the order of their names, and checks what they say.
pub fn load(dir: &Path) -> Result<Vec<Schema>, String> {
    let mut schemas = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            schemas.extend(load(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "schema") {
            let text =
                std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            schemas.extend(read(&text).map_err(|e| format!("{}:{e}", path.display()))?);
        }
    }
    Ok(schemas)
}

/// Reads the text of one file, and checks what it says.
pub fn read(text: &str) -> Result<Vec<Schema>, String> {
    let schemas = parse::parse(text)?;
    for schema in &schemas {
        check::check(schema).map_err(|e| format!("{}: {e}", schema.name))?;
    }
    Ok(schemas)
}
