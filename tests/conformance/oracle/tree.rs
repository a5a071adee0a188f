//! An answer as a tree, read from its `Debug` text: what may differ masked, lists in sorted order.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    Leaf(String),
    List(Vec<Tree>),
    Struct(Vec<(String, Tree)>),
}

/// What two clusters may differ in: who and where they are, and ids that are drawn.
const MASKED: [&str; 23] = [
    "throttle_time_ms",
    "cluster_id",
    "controller_id",
    "node_id",
    "broker_id",
    "host",
    "port",
    "leader_id",
    "leader",
    "replica_nodes",
    "isr_nodes",
    "offline_replicas",
    "topic_id",
    "member_id",
    "session_id",
    "producer_id",
    "client_host",
    "finalized_features_epoch",
    // The bounds of a time move with the clock.
    "batch_index_error_message",
    "log_dir",
    "total_bytes",
    "usable_bytes",
    "documentation",
];

impl Tree {
    pub fn of(message: &impl fmt::Debug) -> Tree {
        let text = format!("{message:?}");
        let mut reader = Text { text: &text };
        let tree = reader.value();
        assert!(reader.text.is_empty(), "left of the text: {}", reader.text);
        tree.hiding(&MASKED).sorted()
    }

    pub fn text(text: impl Into<String>) -> Tree {
        Tree::Leaf(text.into())
    }

    /// Keeps of the fields of these names only what [`hidden`](Self::hidden) does.
    pub fn hiding(self, names: &[&str]) -> Tree {
        match self {
            Tree::Struct(fields) => {
                let mask = |(name, value): (String, Tree)| {
                    let hidden = names.contains(&name.as_str());
                    let value = if hidden { value.hidden() } else { value.hiding(names) };
                    (name, value)
                };
                Tree::Struct(fields.into_iter().map(mask).collect())
            }
            Tree::List(items) => {
                Tree::List(items.into_iter().map(|item| item.hiding(names)).collect())
            }
            leaf => leaf,
        }
    }

    /// Keeps whether there is something, and how many: an empty text, nothing and -1 mean what they mean.
    fn hidden(self) -> Tree {
        match self {
            Tree::Leaf(text) if ["None", "\"\"", "-1"].contains(&text.as_str()) => Tree::Leaf(text),
            Tree::Leaf(_) => Tree::text("_"),
            Tree::List(items) => Tree::List(items.into_iter().map(Tree::hidden).collect()),
            Tree::Struct(fields) => Tree::Struct(
                fields.into_iter().map(|(name, value)| (name, value.hidden())).collect(),
            ),
        }
    }

    fn sorted(self) -> Tree {
        match self {
            Tree::List(items) => {
                let mut items: Vec<Tree> = items.into_iter().map(Tree::sorted).collect();
                items.sort();
                Tree::List(items)
            }
            Tree::Struct(fields) => Tree::Struct(
                fields.into_iter().map(|(name, value)| (name, value.sorted())).collect(),
            ),
            leaf => leaf,
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Leaf(text) => f.write_str(text),
            Tree::List(items) => {
                f.write_str("[")?;
                items.iter().try_for_each(|item| write!(f, "{item}, "))?;
                f.write_str("]")
            }
            Tree::Struct(fields) => {
                f.write_str("{")?;
                fields.iter().try_for_each(|(name, value)| write!(f, "{name}: {value}, "))?;
                f.write_str("}")
            }
        }
    }
}

struct Text<'a> {
    text: &'a str,
}

impl Text<'_> {
    fn value(&mut self) -> Tree {
        if self.eat("Some(") {
            let inner = self.value();
            assert!(self.eat(")"), "Some( is not closed: {}", self.text);
            return inner;
        }
        if self.eat("[") {
            return Tree::List(self.until("]", Text::value));
        }
        let word = self.word();
        if self.eat(" { ") {
            return Tree::Struct(self.until(" }", Text::field));
        }
        if !word.is_empty() && self.eat("(") {
            let name = |(at, value): (usize, Tree)| (format!("{word}.{at}"), value);
            return Tree::Struct(
                self.until(")", Text::value).into_iter().enumerate().map(name).collect(),
            );
        }
        if self.text.starts_with('"') {
            let quoted = self.quoted();
            return Tree::Leaf(word + &quoted);
        }
        Tree::Leaf(word)
    }

    fn field(&mut self) -> (String, Tree) {
        let name = self.word();
        assert!(self.eat(": "), "no value for {name}: {}", self.text);
        (name, self.value())
    }

    fn until<T>(&mut self, end: &str, mut next: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(next(self));
            self.eat(", ");
        }
        items
    }

    fn eat(&mut self, start: &str) -> bool {
        let rest = self.text.strip_prefix(start);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn word(&mut self) -> String {
        let ends = |c: char| "(){}[],: \"".contains(c);
        let (word, rest) = self.text.split_at(self.text.find(ends).unwrap_or(self.text.len()));
        self.text = rest;
        word.to_owned()
    }

    fn quoted(&mut self) -> String {
        let mut escaped = true;
        let end = self.text.find(|c: char| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let (quoted, rest) = self.text.split_at(end.expect("a closing quote") + 1);
        self.text = rest;
        quoted.to_owned()
    }
}

/// A line for each place where they differ.
pub fn compare(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    walk("", ours, theirs, &mut found);
    found
}

fn walk(path: &str, ours: &Tree, theirs: &Tree, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Tree::Struct(a), Tree::Struct(b))
            if a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0) =>
        {
            for ((name, a), (_, b)) in a.iter().zip(b) {
                walk(&format!("{path}.{name}"), a, b, found);
            }
        }
        (Tree::List(a), Tree::List(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}[{at}]"), a, b, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}\n    judged: {ours}\n    Kafka:  {theirs}")),
    }
}

#[test]
fn the_text_of_a_message_is_read_masked_and_sorted() {
    #[derive(Debug)]
    struct Inner {
        _name: &'static str,
        _host: Option<&'static str>,
    }
    #[derive(Debug)]
    #[allow(non_snake_case, reason = "the name of the field is what is tested")]
    struct Outer {
        host: &'static str,
        items: Vec<Inner>,
        empty: Option<Vec<u8>>,
    }
    let outer = |host, first, second| Outer {
        host,
        items: vec![
            Inner { _name: first, _host: None },
            Inner { _name: second, _host: Some("x\\\", y") },
        ],
        empty: None,
    };
    let one = outer("a", "first", "second");
    assert_eq!((one.host, one.items.len(), one.empty.is_none()), ("a", 2, true));
    let same = compare(&Tree::of(&one), &Tree::of(&outer("b", "first", "second")));
    assert_eq!(same, Vec::<String>::new());
    assert_eq!(compare(&Tree::of(&one), &Tree::of(&outer("", "first", "second"))).len(), 1);
    assert_eq!(compare(&Tree::of(&one), &Tree::of(&outer("a", "first", "third"))).len(), 1);
}
