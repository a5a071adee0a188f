//! Text -> schemas.

use super::{CommonStruct, Field, KINDS, Kind, Schema, Type, Versions};

struct Line<'a> {
    number: usize,
    depth: usize,
    text: &'a str,
    about: String,
}

/// The error begins with the number of the line it is about.
pub fn parse(text: &str) -> Result<Vec<Schema>, String> {
    let lines = lines(text)?;
    let mut at = 0;
    let mut area = None;
    let mut schemas = Vec::new();
    while let Some(line) = lines.get(at) {
        at += 1;
        if line.depth != 0 {
            return Err(format!("{}: stands deeper than the line above allows", line.number));
        }
        if let Some(name) = line.text.strip_prefix("area ") {
            area = Some(name.to_owned());
            continue;
        }
        let mut schema = schema_line(line).map_err(|e| format!("{}: {e}", line.number))?;
        schema.area = area.clone();
        schema.fields = fields(&lines, &mut at, 1)?;
        while let Some(line) = lines.get(at).filter(|line| line.depth == 1) {
            at += 1;
            let mut common = struct_line(line.text).map_err(|e| format!("{}: {e}", line.number))?;
            common.fields = fields(&lines, &mut at, 2)?;
            schema.structs.push(common);
        }
        schemas.push(schema);
    }
    Ok(schemas)
}

fn lines(text: &str) -> Result<Vec<Line<'_>>, String> {
    let mut lines = Vec::new();
    let mut about = String::new();
    for (index, raw) in text.lines().enumerate() {
        let text = raw.trim();
        if let Some(comment) = text.strip_prefix('#') {
            about = format!("{about} {}", comment.trim()).trim().to_owned();
        } else if text.is_empty() {
            about.clear();
        } else {
            let indent = raw.len() - raw.trim_start().len();
            if indent % 4 != 0 {
                return Err(format!("{}: indent by four spaces a level", index + 1));
            }
            lines.push(Line {
                number: index + 1,
                depth: indent / 4,
                text,
                about: std::mem::take(&mut about),
            });
        }
    }
    Ok(lines)
}

fn fields(lines: &[Line<'_>], at: &mut usize, depth: usize) -> Result<Vec<Field>, String> {
    let mut found = Vec::new();
    while let Some(line) =
        lines.get(*at).filter(|line| line.depth == depth && !line.text.starts_with("struct "))
    {
        *at += 1;
        let mut field = field_line(line).map_err(|e| format!("{}: {e}", line.number))?;
        field.fields = fields(lines, at, depth + 1)?;
        found.push(field);
    }
    Ok(found)
}

fn schema_line(line: &Line<'_>) -> Result<Schema, String> {
    let mut words = line.text.split_whitespace().peekable();
    let word = words.next().unwrap_or_default();
    let kind = KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| format!("`{word}` is not a kind of schema"))?;
    let api_key = words.peek().and_then(|word| word.parse::<i16>().ok());
    if api_key.is_some() {
        words.next();
    }
    let mut schema = Schema {
        kind,
        api_key,
        name: words.next().ok_or("the name is missing")?.to_owned(),
        valid: Versions::parse(words.next().ok_or("the versions are missing")?)?,
        flexible: Versions::NONE,
        unstable: false,
        private: false,
        deprecated: Versions::NONE,
        listeners: Vec::new(),
        fields: Vec::new(),
        structs: Vec::new(),
        about: line.about.clone(),
        area: None,
    };
    while let Some(word) = words.next() {
        match word {
            "flexible" => schema.flexible = Versions::parse(words.next().unwrap_or_default())?,
            "deprecated" => schema.deprecated = Versions::parse(words.next().unwrap_or_default())?,
            "unstable" => schema.unstable = true,
            "private" => schema.private = true,
            "on" => schema.listeners = words.by_ref().map(str::to_owned).collect(),
            other => return Err(format!("`{other}` says nothing about a schema")),
        }
    }
    if matches!(kind, Kind::Header | Kind::Data) == schema.api_key.is_some() {
        return Err(format!("a schema of kind `{word}` and its key do not go together"));
    }
    Ok(schema)
}

fn struct_line(text: &str) -> Result<CommonStruct, String> {
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["struct", name, versions] => Ok(CommonStruct {
            name: name.to_owned(),
            versions: Versions::parse(versions)?,
            fields: Vec::new(),
        }),
        _ => Err("expected `struct NAME VERSIONS`".to_owned()),
    }
}

fn field_line(line: &Line<'_>) -> Result<Field, String> {
    let (name, rest) = line.text.split_once(": ").ok_or("expected `NAME: TYPE VERSIONS`")?;
    let mut words = rest.split_whitespace().peekable();
    let ty = words.next().ok_or("the type is missing")?;
    let (ty, nullable) = match ty.split_once('?') {
        Some((ty, nullable)) => (ty, Some(nullable)),
        None => (ty, None),
    };
    let versions = Versions::parse(words.next().ok_or("the versions are missing")?)?;
    let mut field = Field {
        name: name.to_owned(),
        ty: Type::parse(ty),
        versions,
        nullable: match nullable {
            None => Versions::NONE,
            Some("") => versions,
            Some(text) => Versions::parse(text)?,
        },
        tag: None,
        tagged: Versions::NONE,
        key: false,
        ignorable: false,
        zero_copy: false,
        flexible: None,
        default: None,
        entity: None,
        about: line.about.clone(),
        fields: Vec::new(),
    };
    while let Some(word) = words.next() {
        match word {
            "tag" => {
                let tag = words.next().and_then(|word| word.parse().ok());
                field.tag = Some(tag.ok_or("`tag` is followed by a number")?);
                field.tagged = versions;
            }
            "in" => field.tagged = Versions::parse(words.next().unwrap_or_default())?,
            "key" => field.key = true,
            "ignorable" => field.ignorable = true,
            "zerocopy" => field.zero_copy = true,
            "flexible" => field.flexible = Some(Versions::parse(words.next().unwrap_or_default())?),
            "=" => {
                field.default =
                    Some(words.next().ok_or("`=` is followed by the default")?.to_owned())
            }
            _ => match word.strip_prefix('@') {
                Some(entity) => field.entity = Some(entity.to_owned()),
                None => return Err(format!("`{word}` says nothing about a field")),
            },
        }
    }
    Ok(field)
}
