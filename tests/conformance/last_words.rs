//! What a test that fails shows of its nodes: their directories are gone when somebody reads of it, and often all but its end.

const LINES: usize = 20;
const COLUMNS: usize = 300;

/// The end of what somebody said.
pub fn of(who: &str, said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let mut shown = format!("--- {who}, the last {} of {} lines:", last.len(), lines.len());
    for line in last {
        shown.push('\n');
        shown.extend(line.chars().take(COLUMNS));
    }
    shown
}

#[test]
fn only_the_end_is_shown() {
    let said: Vec<String> = (1..=100).map(|n| format!("{n} {}", "x".repeat(1000))).collect();
    let shown = of("node 1", &said.join("\n"));
    assert!(shown.starts_with("--- node 1, the last 20 of 100 lines:\n81 x"), "{shown}");
    assert!(shown.lines().last().is_some_and(|line| line.starts_with("100 ")), "{shown}");
    assert!(shown.len() < (LINES + 1) * (COLUMNS + 1), "{shown}");
}
