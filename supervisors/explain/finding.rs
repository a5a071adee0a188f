//! What is wrong, told once however often it is so, and never longer than a person reads.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::list;
use super::text::time;

/// So many findings, facts and lines of one finding are told, of what other nodes say so many characters.
const MOST_FINDINGS: usize = 20;
const MOST_LINES: usize = 20;
const MOST_CHARACTERS: usize = 500;
/// So many are named of those that something is said of.
const NAMED: usize = 5;

/// What is so, from when on, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// Of which partitions; none where it is said of the whole subject.
    pub of: Vec<String>,
    pub what: String,
    /// Of several the first.
    pub since: Option<Since>,
    pub by: Option<String>,
    pub why: Vec<String>,
    /// What is so of the first of them alone.
    pub own: Vec<String>,
    pub unblocks: Vec<String>,
}

/// Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since {
    pub ms: i64,
    /// Nobody knows what was before.
    pub or_before: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub subject: String,
    pub facts: Vec<String>,
    /// The worst first; none where all is well.
    pub findings: Vec<Finding>,
    pub verdict: String,
}

impl Finding {
    /// In one line: of what it is said, and what.
    pub fn told(&self) -> String {
        match self.of.as_slice() {
            [] => self.what.clone(),
            of => format!("{}: {}", list(of, NAMED), self.what),
        }
    }

    /// What is wrong, and the first that would put it right.
    pub(super) fn verdict(&self) -> String {
        self.verdict_of(&self.told())
    }

    /// As [`verdict`](Self::verdict), where it stands for more.
    pub(super) fn verdict_of(&self, what: &str) -> String {
        match self.unblocks.first() {
            Some(unblocks) => format!("{what}. To unblock it: {unblocks}"),
            None => what.to_owned(),
        }
    }

    /// With what is so of the first alone.
    pub(super) fn reasons(&self) -> impl Iterator<Item = String> {
        let several = self.of.len() > 1;
        let own = self.own.iter().map(move |own| match self.of.first() {
            Some(first) if several => format!("{first}: {own}"),
            _ => own.clone(),
        });
        self.why.iter().cloned().chain(own)
    }

    fn json(&self) -> Value {
        json!({
            "what": self.told(),
            "of": self.of.iter().take(MOST_LINES).collect::<Vec<_>>(),
            "count": self.of.len(),
            "since_ms": self.since.map(|since| since.ms),
            "since": self.since.map(|since| time(since.ms)),
            "since_or_before": self.since.is_some_and(|since| since.or_before),
            "by": self.by,
            "why": self.reasons().collect::<Vec<_>>(),
            "unblocks": self.unblocks,
        })
    }

    fn cut(&mut self) {
        cut_text(&mut self.what);
        self.of.iter_mut().chain(&mut self.by).for_each(cut_text);
        [&mut self.why, &mut self.own, &mut self.unblocks].into_iter().for_each(cut_lines);
    }
}

/// What is the same of several is said once, where it was said first.
pub(super) fn grouped(findings: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
    let mut groups: Vec<Finding> = Vec::new();
    let mut places = BTreeMap::new();
    for finding in findings {
        let Finding { what, by, why, unblocks, .. } = &finding;
        let key = (what.clone(), by.clone(), why.clone(), unblocks.clone());
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            None => groups.push(finding),
            Some(group) => {
                group.of.extend(finding.of);
                group.since = group.since.into_iter().chain(finding.since).min();
            }
        }
    }
    groups
}

impl Explanation {
    pub(super) fn of(
        subject: String,
        facts: Vec<String>,
        findings: Vec<Finding>,
        well: &str,
    ) -> Explanation {
        let verdict =
            findings.first().map_or_else(|| format!("all is well: {well}"), Finding::verdict);
        Explanation { subject, facts, findings, verdict }
    }

    /// No more of it than a person reads, whatever was told.
    #[must_use]
    pub(super) fn bounded(mut self) -> Explanation {
        if self.findings.len() > MOST_FINDINGS {
            let more = self.findings.len() - MOST_FINDINGS;
            self.facts
                .push(format!("the worst {MOST_FINDINGS} findings are told, {more} more are not"));
            self.findings.truncate(MOST_FINDINGS);
        }
        cut_lines(&mut self.facts);
        self.findings.iter_mut().for_each(Finding::cut);
        [&mut self.subject, &mut self.verdict].into_iter().for_each(cut_text);
        self
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "subject": self.subject,
            "well": self.findings.is_empty(),
            "verdict": self.verdict,
            "facts": self.facts,
            "findings": self.findings.iter().map(Finding::json).collect::<Vec<_>>(),
        })
    }
}

/// The last line says that there were more.
fn cut_lines(lines: &mut Vec<String>) {
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES + 1;
        lines.truncate(MOST_LINES - 1);
        lines.push(format!("and {more} more"));
    }
    lines.iter_mut().for_each(cut_text);
}

pub(super) fn cut_text(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MOST_CHARACTERS) {
        text.truncate(end);
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::*;

    fn of(partition: i32, ms: i64, why: &str) -> Finding {
        Finding {
            of: vec![format!("orders-{partition}")],
            what: "broker 2 is not in sync".to_owned(),
            since: Some(Since { ms, or_before: false }),
            why: vec![why.to_owned()],
            own: vec![format!("it lacks {partition} records")],
            ..Default::default()
        }
    }

    #[test]
    fn what_is_the_same_of_thousands_is_said_once_and_by_the_first() {
        let findings = (0..5_000).map(|partition| match partition {
            7 => of(7, 4_000, "its disk is full"),
            partition => of(partition, 9_000 - i64::from(partition % 3), "broker 2 is fenced"),
        });
        let groups = grouped(findings);
        let told: Vec<String> = groups.iter().map(Finding::told).collect();
        let most = "orders-0, orders-1, orders-2, orders-3, orders-4 and 4994 more";
        let all = [
            format!("{most}: broker 2 is not in sync"),
            "orders-7: broker 2 is not in sync".to_owned(),
        ];
        assert_eq!(told, all);
        assert_eq!(groups[0].since, Some(Since { ms: 8_998, or_before: false }));
        let said: Vec<String> = groups[0].reasons().collect();
        assert_eq!(said, ["broker 2 is fenced", "orders-0: it lacks 0 records"]);
        assert_eq!(groups[1].reasons().last().as_deref(), Some("it lacks 7 records"));
    }

    #[test]
    fn whatever_others_say_is_cut_and_steers_no_terminal() {
        let hostile = format!("\u{1b}[2J\r\u{9b}31m\n{}", "long ".repeat(1_000));
        let many: Vec<String> = (0..100).map(|line| format!("{line}{hostile}")).collect();
        let finding = Finding {
            of: many.clone(),
            what: hostile.clone(),
            by: Some(hostile.clone()),
            why: many.clone(),
            own: many.clone(),
            unblocks: many.clone(),
            ..Default::default()
        };
        let findings = vec![finding; 25];
        let told = Explanation::of(hostile, many, findings, "").bounded();
        for said in [draw(&told, 0), super::super::text::json(&told)] {
            let steers = said.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(steers, None);
            assert!(said.len() < 2_000_000, "{}", said.len());
            assert!(said.lines().count() < 3_000, "{}", said.lines().count());
        }
        assert!(
            told.facts.last().is_some_and(|last| last == "and 82 more"),
            "{:?}",
            told.facts.last()
        );
        let again: Value = serde_json::from_str(&super::super::text::json(&told)).unwrap();
        assert_eq!(again, told.json());
    }
}
