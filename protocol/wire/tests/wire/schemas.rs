//! The notation says what Kafka's own definitions say, both ways, in every attribute.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::notation::{CommonStruct, Field, KINDS, Schema, Type, Versions};
use crate::{load_notation, repository};

/// One line for each fact about a schema; two schemas that say the same have the same lines.
fn facts(schema: &Schema) -> Vec<String> {
    let name = &schema.name;
    let kind = KINDS.iter().find(|(_, kind)| *kind == schema.kind).map_or("", |(word, _)| word);
    let mut facts = vec![format!(
        "{name}: {kind}, key {:?}, versions {}, flexible {}, unstable {}, deprecated {}, listeners {:?}",
        schema.api_key,
        schema.valid,
        schema.flexible,
        schema.unstable,
        schema.deprecated,
        schema.listeners
    )];
    field_facts(name, &schema.fields, &mut facts);
    for CommonStruct { name: inner, versions, fields } in &schema.structs {
        facts.push(format!("{name}/{inner}: struct, versions {versions}"));
        field_facts(&format!("{name}/{inner}"), fields, &mut facts);
    }
    facts
}

fn field_facts(place: &str, fields: &[Field], facts: &mut Vec<String>) {
    for (index, field) in fields.iter().enumerate() {
        let Field { name, ty, versions, nullable, tagged, tag, key, ignorable, zero_copy, .. } =
            field;
        facts.push(format!(
            "{place}.{name}: number {index}, {ty}, versions {versions}, nullable {nullable}, tag {tag:?} in {tagged}, \
             key {key}, ignorable {ignorable}, zero copy {zero_copy}, flexible {:?}, default {:?}, entity {:?}",
            field.flexible, field.default, field.entity
        ));
        field_facts(&format!("{place}.{name}"), &field.fields, facts);
    }
}

fn differences(ours: &[Schema], theirs: &[Schema]) -> Vec<String> {
    let ours: Vec<String> = ours.iter().flat_map(facts).collect();
    let theirs: Vec<String> = theirs.iter().flat_map(facts).collect();
    let only_ours =
        ours.iter().filter(|fact| !theirs.contains(fact)).map(|fact| format!("only ours: {fact}"));
    let only_theirs = theirs
        .iter()
        .filter(|fact| !ours.contains(fact))
        .map(|fact| format!("only Kafka's: {fact}"));
    only_ours.chain(only_theirs).collect()
}

/// Takes the attributes of a JSON object one by one; what is left in the end is something that the notation does not know.
struct Object(serde_json::Map<String, Value>);

impl Object {
    fn of(value: Value) -> Result<Object, String> {
        match value {
            Value::Object(map) => Ok(Object(map)),
            other => Err(format!("{other} is not an object")),
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.0.remove(name)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        self.text(name).ok_or_else(|| format!("{name} is missing"))
    }

    fn versions(&mut self, name: &str) -> Result<Option<Versions>, String> {
        self.text(name).map(|text| Versions::parse(&text)).transpose()
    }

    fn flag(&mut self, name: &str) -> bool {
        self.text(name).as_deref() == Some("true")
    }

    fn list(&mut self, name: &str) -> Vec<Value> {
        match self.0.remove(name) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        }
    }

    fn end(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(left) => Err(format!("the attribute {left} is not known to the notation")),
        }
    }
}

fn schema_of(json: Value) -> Result<Schema, String> {
    let mut object = Object::of(json)?;
    let kind = object.required("type")?;
    let schema = Schema {
        kind: KINDS.iter().find(|(word, _)| *word == kind).ok_or(format!("{kind} is no kind"))?.1,
        api_key: object.text("apiKey").and_then(|text| text.parse().ok()),
        name: object.required("name")?,
        valid: object.versions("validVersions")?.ok_or("validVersions is missing")?,
        flexible: object.versions("flexibleVersions")?.unwrap_or(Versions::NONE),
        unstable: object.flag("latestVersionUnstable"),
        private: false,
        deprecated: object.versions("deprecatedVersions")?.unwrap_or(Versions::NONE),
        listeners: object
            .list("listeners")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        fields: object.list("fields").into_iter().map(field_of).collect::<Result<_, _>>()?,
        structs: object
            .list("commonStructs")
            .into_iter()
            .map(struct_of)
            .collect::<Result<_, _>>()?,
        about: String::new(),
        area: None,
    };
    object.end().map_err(|e| format!("{}: {e}", schema.name))?;
    Ok(schema)
}

fn struct_of(json: Value) -> Result<CommonStruct, String> {
    let mut object = Object::of(json)?;
    let one = CommonStruct {
        name: object.required("name")?,
        versions: object.versions("versions")?.ok_or("versions is missing")?,
        fields: object.list("fields").into_iter().map(field_of).collect::<Result<_, _>>()?,
    };
    object.end()?;
    Ok(one)
}

fn field_of(json: Value) -> Result<Field, String> {
    let mut object = Object::of(json)?;
    object.text("about");
    let tagged = object.versions("taggedVersions")?;
    // As in Kafka's generator: versions may be left out where all are tagged, and a default that is null in JSON is none.
    let versions = object.versions("versions")?.or(tagged).ok_or("versions is missing")?;
    let field = Field {
        name: object.required("name")?,
        ty: Type::parse(&object.required("type")?),
        versions,
        nullable: object.versions("nullableVersions")?.unwrap_or(Versions::NONE),
        tag: object.text("tag").and_then(|text| text.parse().ok()),
        tagged: tagged.unwrap_or(Versions::NONE),
        key: object.flag("mapKey"),
        ignorable: object.flag("ignorable"),
        zero_copy: object.flag("zeroCopy"),
        flexible: object.versions("flexibleVersions")?,
        default: object.text("default").filter(|text| !text.is_empty()),
        entity: object.text("entityType"),
        about: String::new(),
        fields: object.list("fields").into_iter().map(field_of).collect::<Result<_, _>>()?,
    };
    object.end().map_err(|e| format!("{}: {e}", field.name))?;
    Ok(field)
}

/// Kafka's files have comments, which JSON has not.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut end = line.len();
        for (at, c) in line.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '/' if !quoted && line[at..].starts_with("//") => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

fn load_definitions(dir: &Path) -> Result<Vec<Schema>, String> {
    let mut schemas = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            schemas.extend(load_definitions(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let fail = |e: String| format!("{}: {e}", path.display());
            let text = std::fs::read_to_string(&path).map_err(|e| fail(e.to_string()))?;
            let json =
                serde_json::from_str(&without_comments(&text)).map_err(|e| fail(e.to_string()))?;
            schemas.push(schema_of(json).map_err(fail)?);
        }
    }
    Ok(schemas)
}

#[test]
pub fn the_notation_says_what_kafkas_definitions_say() {
    let dir = match std::env::var("OTTLA_SCHEMAS") {
        Ok(dir) => dir.into(),
        Err(_) => repository().join("../shared/schemas"),
    };
    if !dir.is_dir() {
        let demanded = std::env::var("OTTLA_DEMAND_SCHEMAS").is_ok_and(|demand| demand == "1");
        assert!(!demanded, "{} is not there, but is demanded", dir.display());
        // Past the capture of the test runner, so that it is seen.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: Kafka's definitions are not at {}",
            dir.display()
        );
        return;
    }
    let theirs = load_definitions(&dir).expect("the definitions are read");
    assert!(theirs.len() > 280, "{} definitions are too few", theirs.len());
    let mut ours = load_notation();
    ours.retain(|schema| !schema.private);
    let found = differences(&ours, &theirs);
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

/// Of the test above in a process of its own, where the definitions are not.
#[test]
fn where_kafkas_definitions_are_not_is_said_and_fails_where_they_are_demanded() {
    let program = std::env::current_exe().expect("this program");
    for (demand, passes, words) in
        [("0", true, "SKIPPED: Kafka's"), ("1", false, "but is demanded")]
    {
        let run = std::process::Command::new(&program)
            .args(["--exact", "schemas::the_notation_says_what_kafkas_definitions_say"])
            .env("OTTLA_SCHEMAS", "/nowhere")
            .env("OTTLA_DEMAND_SCHEMAS", demand)
            .output()
            .expect("it runs");
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(run.status.success(), passes, "{said}");
        assert!(said.contains(words) && said.contains("/nowhere"), "{said}");
        assert!(said.contains("running 1 test"), "{said}");
    }
}

#[test]
fn a_change_of_any_attribute_is_a_difference() {
    let ours = load_notation();
    assert_eq!(differences(&ours, &ours), Vec::<String>::new());
    let of_field: [fn(&mut Field); 13] = [
        |field| field.name.push('x'),
        |field| field.ty = Type::Array(Box::new(Type::Float64)),
        |field| field.versions.max -= 1,
        |field| field.nullable.max = 7,
        |field| field.tag = Some(77),
        |field| field.tagged.max = 7,
        |field| field.key = !field.key,
        |field| field.ignorable = !field.ignorable,
        |field| field.zero_copy = !field.zero_copy,
        |field| field.flexible = Some(Versions { min: 5, max: 5 }),
        |field| field.default = Some("17".to_owned()),
        |field| field.entity = Some("x".to_owned()),
        |field| field.fields.clear(),
    ];
    let of_schema: [fn(&mut Schema); 9] = [
        |schema| schema.name.push('x'),
        |schema| schema.api_key = Some(999),
        |schema| schema.valid.max += 1,
        |schema| schema.flexible.min += 1,
        |schema| schema.unstable = !schema.unstable,
        |schema| schema.deprecated = schema.valid,
        |schema| schema.listeners.clear(),
        |schema| schema.fields.truncate(2),
        |schema| schema.fields.swap(0, 1),
    ];
    let fetch =
        ours.iter().position(|schema| schema.name == "FetchRequest").expect("Fetch is there");
    let topics =
        ours[fetch].fields.iter().position(|field| field.name == "Topics").expect("it has topics");
    for (index, change) in of_field.iter().enumerate() {
        let mut changed = ours.clone();
        change(&mut changed[fetch].fields[topics]);
        assert_ne!(differences(&changed, &ours), Vec::<String>::new(), "field change {index}");
    }
    for (index, change) in of_schema.iter().enumerate() {
        let mut changed = ours.clone();
        change(&mut changed[fetch]);
        assert_ne!(differences(&changed, &ours), Vec::<String>::new(), "schema change {index}");
    }
}
