//! Java's properties files, as `java.util.Properties` reads them.

/// One entry, with the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    /// Counted from 1.
    pub line: usize,
}

/// The file is malformed: the one thing that can be wrong is an escape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\\u must be followed by four hexadecimal digits that make a character")]
pub struct PropertiesError {
    pub line: usize,
}

/// Reads all entries, in their order. Where a key stands twice, the last one counts; that is the caller's to decide.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(text) {
        let (key, value) = split(&logical);
        let unescaped = |part: &str| unescape(part).ok_or(PropertiesError { line });
        properties.push(Property { key: unescaped(key)?, value: unescaped(value)?, line });
    }
    Ok(properties)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Joins what a backslash at the end of a line continues, and leaves out comments and blank lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).enumerate() {
        let natural = natural.trim_start_matches(BLANKS);
        if open.is_none() && (natural.is_empty() || natural.starts_with(['#', '!'])) {
            continue;
        }
        let (at, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        let backslashes = natural.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if backslashes % 2 == 1 {
            logical.push_str(&natural[..natural.len() - 1]);
            open = Some((at, logical));
        } else {
            logical.push_str(natural);
            lines.push((at, logical));
        }
    }
    lines.extend(open);
    lines.retain(|(_, logical)| !logical.is_empty());
    lines
}

/// Lines end with `\n`, `\r` or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        let Some(end) = now.find(['\n', '\r']) else {
            rest = None;
            return Some(now);
        };
        let after = &now[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&now[..end])
    })
}

/// The key ends at the first `=`, `:` or blank that is not escaped; blanks around one `=` or `:` belong to neither side.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (logical, "") };
    let rest = logical[end..].trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&logical[..end], rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut buffer = [0; 2];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    units.push(code_unit(chars.by_ref().take(4))?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            },
            plain => plain,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    // Two escapes may make one character outside the basic plane; half of one makes none.
    String::from_utf16(&units).ok()
}

fn code_unit(digits: impl Iterator<Item = char>) -> Option<u16> {
    let digits: String = digits.collect();
    let is_hexadecimal = digits.len() == 4 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(&digits, 16).ok().filter(|_| is_hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_properties(text).unwrap().into_iter().map(|p| (p.key, p.value)).collect()
    }

    #[test]
    fn as_java_reads_them() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a = b ", "a", "b "),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a \t b", "a", "b"),
            ("  a=b", "a", "b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a==b", "a", "=b"),
            ("a = = b", "a", "= b"),
            ("a\\=b=c", "a=b", "c"),
            ("a\\ b\\:c d", "a b:c", "d"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\r\n\tc", "a", "bc"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=\\u00e9\\t\\q", "a", "é\tq"),
            ("a=\\uD83D\\uDE00", "a", "\u{1F600}"),
            ("a=b#c", "a", "b#c"),
            ("log.dirs=C:\\\\data", "log.dirs", "C:\\data"),
            ("a=b\\\n# c", "a", "b# c"),
        ] {
            assert_eq!(pairs(text), [(key.to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn comments_blanks_and_lines() {
        let text = "# one\n! two\n\n   \n a=1\r\nb=2\\\n3\rc=4";
        let found = parse_properties(text).unwrap();
        let shown: Vec<_> =
            found.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(shown, [("a", "1", 5), ("b", "23", 6), ("c", "4", 8)]);
    }

    #[test]
    fn malformed_escapes_name_their_line() {
        for text in ["a=1\nb=\\u12", "\nb=\\u12x4", "\nb=\\uD83D", "\nb=\\u+123"] {
            assert_eq!(parse_properties(text).unwrap_err().line, 2, "{text:?}");
        }
    }

    fn escape(text: &str) -> String {
        text.chars()
            .map(|c| match c {
                '\t' => "\\t".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\x0c' => "\\f".to_owned(),
                ' ' | '=' | ':' | '#' | '!' | '\\' => format!("\\{c}"),
                c if c.is_ascii() => c.to_string(),
                c => c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect(),
            })
            .collect()
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_back(entries: Vec<(String, String)>) {
            let text: String =
                entries.iter().map(|(k, v)| format!("{}={}\n", escape(k), escape(v))).collect();
            proptest::prop_assert_eq!(pairs(&text), entries);
        }

        #[test]
        fn no_text_makes_it_panic(text: String, likely in "[a=:\\\\u0-9 \\n\\r#!]{0,40}") {
            let _ = parse_properties(&text);
            let _ = parse_properties(&likely);
        }
    }
}
