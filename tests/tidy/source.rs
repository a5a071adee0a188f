//! Rust source with what is not code blanked out, so that searches hit code only. Lines stay where they are.

use std::fs;
use std::path::{Path, PathBuf};

pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
}

/// All Rust files of the repository that are its own, in order of path: vendor/ is as others wrote it.
pub fn all() -> Vec<Source> {
    let mut paths = Vec::new();
    for dir in ["protocol", "storage", "actors", "supervisors", "tests", "examples", "fuzz"] {
        collect(&crate::root().join(dir), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| load(path)).collect()
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a folder that can be listed").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path);
        }
    }
}

fn load(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Source { path: crate::relative(path), code: code_of(&text), text }
}

/// Replaces comments and the insides of string and char literals by spaces.
pub fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|b| if *b == b'\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(if bytes[at].is_ascii() { bytes[at] as char } else { ' ' });
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let in_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !in_word => at + raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !in_word => at + raw_string(rest, 2),
        [b'\'', b'\\', ..] => at + quoted(rest, b'\''),
        [b'\'', c, b'\'', ..] if *c != b'\'' => at + 3,
        // A char of several bytes; what is no char is a lifetime.
        [b'\'', c, ..] if !c.is_ascii() => at + quoted(rest, b'\''),
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        if rest[i..].starts_with(b"/*") {
            (depth, i) = (depth + 1, i + 2);
        } else if rest[i..].starts_with(b"*/") {
            (depth, i) = (depth - 1, i + 2);
        } else {
            i += 1;
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn quoted(rest: &[u8], end: u8) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != end {
        i += if rest[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(rest.len())
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = prefix + hashes + 1;
    let found = rest[body..].windows(close.len()).position(|w| w == close);
    found.map_or(rest.len(), |i| body + i + close.len())
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Places of `word` as a whole word.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).is_none_or(|i| !is_word(bytes[i]));
        before && bytes.get(at + word.len()).is_none_or(|b| !is_word(*b))
    })
}

pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Where the block that opens first after `at` closes; none for a declaration without a body.
pub fn block_after(code: &str, at: usize) -> Option<(usize, usize)> {
    let (mut depth, mut brackets, mut open) = (0usize, 0usize, None);
    for (i, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b';' if open.is_none() && brackets == 0 => return None,
            b'[' | b'(' if open.is_none() => brackets += 1,
            b']' | b')' if open.is_none() => brackets = brackets.saturating_sub(1),
            b'{' if open.is_some() || brackets == 0 => {
                open.get_or_insert(i);
                depth += 1;
            }
            b'}' if open.is_some() => {
                depth -= 1;
                if depth == 0 {
                    return open.map(|from| (from, i));
                }
            }
            _ => {}
        }
    }
    None
}
