//! Explanations as people read them.

use std::fmt::Write;

use super::{Explanation, Since};
use crate::console::printable;

/// As text, at this time.
pub fn draw(explanation: &Explanation, now_ms: i64) -> String {
    let mut out = String::new();
    line(&mut out, "", &explanation.subject);
    explanation.facts.iter().for_each(|fact| line(&mut out, "  ", fact));
    for finding in &explanation.findings {
        line(&mut out, "\n! ", &finding.told());
        if let Some(since) = finding.since {
            line(&mut out, "  since: ", &since.told(now_ms));
        }
        finding.by.iter().for_each(|by| line(&mut out, "  by: ", by));
        finding.reasons().for_each(|why| line(&mut out, "  because: ", &why));
        finding.unblocks.iter().for_each(|unblocks| line(&mut out, "  unblock: ", unblocks));
    }
    line(&mut out, "\nverdict: ", &explanation.verdict);
    out
}

/// Whatever it holds, it is one line.
fn line(out: &mut String, lead: &str, text: &str) {
    let _ = writeln!(out, "{lead}{}", printable(text));
}

/// For machines, and for terminals that it is shown on: JSON alone leaves some characters that steer them.
pub(super) fn json(explanation: &Explanation) -> String {
    let json = format!("{:#}\n", explanation.json());
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            // They are within strings: what is between those is plain.
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            plain => out.push(plain),
        }
    }
    out
}

impl Since {
    pub(super) fn told(self, now_ms: i64) -> String {
        let before = if self.or_before { " or before" } else { "" };
        format!("{}{before} ({})", time(self.ms), ago(self.ms, now_ms))
    }
}

/// `12 s ago`.
pub(super) fn ago(ms: i64, now_ms: i64) -> String {
    let passed = now_ms.saturating_sub(ms).max(0);
    let (number, unit) = match passed {
        ..1_000 => (passed, "ms"),
        1_000..120_000 => (passed / 1_000, "s"),
        120_000..7_200_000 => (passed / 60_000, "min"),
        7_200_000..172_800_000 => (passed / 3_600_000, "h"),
        _ => (passed / 86_400_000, "days"),
    };
    format!("{number} {unit} ago")
}

/// `2026-11-22T22:30:01Z`.
pub(super) fn time(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1_000);
    // Days from the first of a March, in cycles of 400 years: leap days come last.
    let from_march = days + 719_468;
    let (cycle, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    let (h, m, s) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // Of `date -u -d @SECONDS`.
        for (seconds, told) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds * 1_000), told);
        }
        assert_eq!(ago(0, 999), "999 ms ago");
        assert_eq!(ago(0, 119_999), "119 s ago");
        assert_eq!(ago(0, 7_199_999), "119 min ago");
        assert_eq!(ago(5, 0), "0 ms ago");
    }
}
