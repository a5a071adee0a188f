//! What does not fit together, told after all files have been dumped.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// So many findings of a kind are told of a file: a damaged one may have millions.
const MOST: usize = 100_000;

/// Findings of one kind, by file in the order of their finding.
#[derive(Debug, Default)]
struct Findings<T>(Vec<(String, T, u64)>);

impl<T: Default> Findings<T> {
    fn of(&mut self, path: &Path) -> (&mut T, &mut u64) {
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = name.display().to_string();
        let at = self.0.iter().position(|(known, ..)| *known == name).unwrap_or_else(|| {
            self.0.push((name, T::default(), 0));
            self.0.len() - 1
        });
        let (_, findings, more) = &mut self.0[at];
        (findings, more)
    }
}

type Map = BTreeMap<i64, i64>;
type Pairs = Vec<(i64, i64)>;

#[derive(Debug, Default)]
pub(super) struct Told {
    index_mismatches: Findings<Map>,
    time_mismatches: Findings<Pairs>,
    out_of_order: Findings<Pairs>,
    not_found: Findings<Pairs>,
    gaps: Findings<Map>,
}

fn insert((map, more): (&mut Map, &mut u64), key: i64, value: i64) {
    if map.len() < MOST || map.contains_key(&key) {
        map.insert(key, value);
    } else {
        *more += 1;
    }
}

fn push((pairs, more): (&mut Pairs, &mut u64), pair: (i64, i64)) {
    if pairs.len() < MOST { pairs.push(pair) } else { *more += 1 }
}

impl Told {
    pub fn index_mismatch(&mut self, path: &Path, indexed: i64, found: i64) {
        insert(self.index_mismatches.of(path), indexed, found);
    }

    pub fn time_mismatch(&mut self, path: &Path, indexed: i64, found: i64) {
        push(self.time_mismatches.of(path), (indexed, found));
    }

    pub fn out_of_order(&mut self, path: &Path, timestamp: i64, previous: i64) {
        push(self.out_of_order.of(path), (timestamp, previous));
    }

    pub fn not_found(&mut self, path: &Path, offset: i64, found: i64) {
        push(self.not_found.of(path), (offset, found));
    }

    pub fn gap(&mut self, path: &Path, offset: i64, next: i64) {
        insert(self.gaps.of(path), offset, next);
    }

    pub fn print(&self, err: &mut dyn Write) -> io::Result<()> {
        for (name, map, more) in &self.index_mismatches.0 {
            writeln!(err, "Mismatches in :{name}")?;
            for (indexed, found) in map.iter().rev() {
                writeln!(err, "  Index offset: {indexed}, log offset: {found}")?;
            }
            and_more(err, *more)?;
        }
        let times = "Found timestamp mismatch in :";
        pairs(err, &self.time_mismatches, times, "  Index timestamp: ", ", log timestamp: ")?;
        let order = "Found out of order timestamp in :";
        let before = ", Previously indexed timestamp: ";
        pairs(err, &self.out_of_order, order, "  Index timestamp: ", before)?;
        let missing = "The following indexed offsets are not found in :";
        pairs(err, &self.not_found, missing, "Indexed offset: ", ", found log offset: ")?;
        for (name, map, more) in &self.gaps.0 {
            writeln!(err, "Non-consecutive offsets in {name}")?;
            for (offset, next) in map {
                writeln!(err, "  {offset} is followed by {next}")?;
            }
            and_more(err, *more)?;
        }
        Ok(())
    }
}

fn pairs(
    err: &mut dyn Write,
    findings: &Findings<Pairs>,
    title: &str,
    first: &str,
    second: &str,
) -> io::Result<()> {
    for (name, pairs, more) in &findings.0 {
        writeln!(err, "{title}{name}")?;
        for (one, other) in pairs {
            writeln!(err, "{first}{one}{second}{other}")?;
        }
        and_more(err, *more)?;
    }
    Ok(())
}

fn and_more(err: &mut dyn Write, more: u64) -> io::Result<()> {
    if more > 0 { writeln!(err, "  and {more} more") } else { Ok(()) }
}
