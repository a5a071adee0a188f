//! The notation refuses what it does not understand, and says where.

use crate::notation::{Type, Versions, read};

fn problem(text: &str) -> String {
    read(text).map(|_| ()).expect_err("is refused")
}

#[test]
fn every_part_of_a_line_is_understood() {
    let text = "area Things\n\n# Said of it.\nrequest 7 ThingRequest 1-4 flexible 3+ unstable on broker controller\n    \
                # Said of the field.\n    Names: []string?0+ 1+ tag 0 in 3+ ignorable = null @topicName\n    \
                Parts: []Part 0+\n        Id: int64 0+ key = -1\n    Rest: Rest 0+\n    struct Rest 0+\n        \
                Blob: bytes 0+ zerocopy flexible none\n";
    let schemas = read(text).expect("it is understood");
    let [schema] = &schemas[..] else { panic!("one schema") };
    assert_eq!((schema.api_key, schema.about.as_str()), (Some(7), "Said of it."));
    assert_eq!(
        (schema.valid.to_string(), schema.flexible.to_string()),
        ("1-4".into(), "3+".into())
    );
    assert!(schema.unstable && schema.listeners == ["broker", "controller"]);
    assert_eq!(schema.area.as_deref(), Some("Things"));
    let [names, parts, rest] = &schema.fields[..] else { panic!("three fields") };
    assert_eq!(names.ty, Type::Array(Box::new(Type::String)));
    assert_eq!((names.nullable.min, names.versions.min, names.tagged.min), (0, 1, 3));
    assert_eq!(
        (names.tag, names.ignorable, names.default.as_deref()),
        (Some(0), true, Some("null"))
    );
    assert_eq!(
        (names.entity.as_deref(), names.about.as_str()),
        (Some("topicName"), "Said of the field.")
    );
    assert!(parts.fields[0].key && parts.fields[0].default.as_deref() == Some("-1"));
    assert_eq!(rest.ty, Type::Struct("Rest".into()));
    let blob = &schema.structs[0].fields[0];
    assert!(blob.zero_copy && blob.flexible == Some(Versions::NONE));
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let cases = [
        ("thing X 0", "1: `thing` is not a kind of schema"),
        ("data X", "1: the versions are missing"),
        ("data X 0..3", "1: `0..3` is not a range of versions"),
        ("data X -1", "1: `-1` is not a range of versions"),
        ("data X 0 foo", "1: `foo` says nothing about a schema"),
        ("data 3 X 0", "1: a schema of kind `data` and its key do not go together"),
        ("request X 0", "1: a schema of kind `request` and its key do not go together"),
        ("data X 0\n    A int8 0+", "2: expected `NAME: TYPE VERSIONS`"),
        ("data X 0\n    A: int8", "2: the versions are missing"),
        ("data X 0\n    A: int8 0+ shiny", "2: `shiny` says nothing about a field"),
        ("data X 0\n    A: int8 0+ tag", "2: `tag` is followed by a number"),
        ("data X 0\n  A: int8 0+", "2: indent by four spaces a level"),
        ("data X 0\n        A: int8 0+", "2: stands deeper than the line above allows"),
        ("data X 0\n    struct Y\n", "2: expected `struct NAME VERSIONS`"),
    ];
    for (text, expected) in cases {
        assert_eq!(problem(text), expected, "{text}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cases = [
        ("A: Missing 0+", "X.A: type Missing is not known"),
        ("A: [][]int8 0+", "X.A: is an array of arrays"),
        ("A: int8? 0+", "X.A: cannot be null"),
        ("A: string?1+ 0+ = null", "X.A: defaults to null but is not nullable in all versions"),
        ("A: string 0+ tag 0", "X.A: is tagged in versions that have no tags, or not the field"),
        ("A: string 1+ tag 1", "X.tags [1] are not 0, 1, 2 ..."),
        ("A: records 1+ tag 0", "X.A: records cannot be tagged"),
        ("A: int8 0+\n    A: int8 0+", "X.A: is there twice"),
        ("A: B 0+\n        B: B 0+", "struct B holds itself"),
        (
            "A: B 0+\n        C: int8 0+\n    D: B 0+\n        C: int8 0+",
            "struct B is defined twice",
        ),
    ];
    for (fields, expected) in cases {
        let text = format!("data X 0-3 flexible 1+\n    {fields}\n");
        assert_eq!(problem(&text), format!("X: {expected}"), "{text}");
    }
}
