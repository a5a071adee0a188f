//! The tree of actors, drawn for a terminal.

use std::fmt::Write;

use runtime::ActorTree;

use super::printable;

/// What a mailbox holds when work comes in bursts, too.
const MANY_WAITING: u64 = 100;
const BUSY: f64 = 0.01;
const SLOW_MICROS: u64 = 100_000;

/// Draws a tree: a line per actor, with what it does, how much, and how it failed.
pub fn draw(forest: &[ActorTree]) -> String {
    let mut out = String::new();
    for root in forest {
        line(&mut out, "", root);
        children(&mut out, "", root);
    }
    out
}

fn children(out: &mut String, indent: &str, parent: &ActorTree) {
    let list = &parent.children;
    for (index, child) in list.iter().enumerate() {
        let last = index + 1 == list.len() && parent.hidden == 0;
        line(out, &format!("{indent}{}", if last { "└─ " } else { "├─ " }), child);
        children(out, &format!("{indent}{}", if last { "   " } else { "│  " }), child);
    }
    if parent.hidden > 0 {
        let _ = writeln!(out, "{indent}└─ {} more below", parent.hidden);
    }
}

fn line(out: &mut String, lead: &str, actor: &ActorTree) {
    let mut text = format!("{lead}{}", actor.name);
    if actor.kind != actor.name {
        let _ = write!(text, " ({})", actor.kind);
    }
    if actor.status != "running" {
        let _ = write!(text, " [{}]", actor.status.to_uppercase());
    }
    if !actor.state.is_empty() {
        let _ = write!(text, "  {}", actor.state);
    }
    text += &numbers(actor);
    out.push_str(&printable(text.trim_end()));
    out.push('\n');
}

/// What it did; what is usual of all the rest is left out.
fn numbers(actor: &ActorTree) -> String {
    let mut text = format!("  {} handled", actor.handled);
    if actor.mailbox_depth > 0 {
        let _ = write!(text, ", {} waiting", actor.mailbox_depth);
    }
    if actor.mailbox_high >= MANY_WAITING {
        let _ = write!(text, ", once {} waited", actor.mailbox_high);
    }
    if actor.credits > 0 {
        let _ = write!(text, ", {} bytes of credits", actor.credits);
    }
    if actor.busy_share_recent >= BUSY {
        let _ = write!(text, ", {:.0} % busy", actor.busy_share_recent * 100.0);
    }
    if actor.max_micros >= SLOW_MICROS {
        let _ = write!(text, ", slowest {} ms", actor.max_micros / 1000);
    }
    if actor.restarts > 0 {
        let _ = write!(text, ", {} restarts", actor.restarts);
        let _ = write!(text, ", up for {}", lasted(actor.age_ms));
    }
    if actor.stuck {
        let hand = actor.in_hand.as_deref().unwrap_or("a handler");
        let _ = write!(text, ", STUCK in {hand} for {}", lasted(actor.in_hand_ms));
    }
    if let Some(fault) = &actor.fault {
        let _ = write!(text, ", FAULT set: {fault}");
    }
    if let Some(failure) = &actor.last_failure {
        let ago = actor.last_failure_ago_ms.map(|ago| format!(" ({} ago)", lasted(ago)));
        let _ = write!(text, ", last failure{}: {failure}", ago.unwrap_or_default());
    }
    text
}

/// In the largest unit of which there are two.
pub(super) fn lasted(ms: u64) -> String {
    match ms {
        0..2_000 => format!("{ms} ms"),
        2_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(name: &str, children: Vec<ActorTree>) -> ActorTree {
        ActorTree {
            name: name.into(),
            kind: name.into(),
            status: "running".into(),
            children,
            ..ActorTree::default()
        }
    }

    #[test]
    fn branches_and_failures_are_shown() {
        let mut failed = actor("orders-3", vec![]);
        failed.status = "restarting".into();
        failed.restarts = 2;
        failed.last_failure = Some("panicked:\n\u{1b}[2Jboom".into());
        failed.last_failure_ago_ms = Some(7_200_000);
        failed.age_ms = 119_999;
        let mut busy = actor("b", vec![]);
        (busy.mailbox_high, busy.mailbox_depth, busy.credits) = (100, 3, 4096);
        (busy.busy_share_recent, busy.max_micros) = (0.126, 100_999);
        let mut deep = actor("c", vec![]);
        deep.hidden = 20_000;
        let tree = actor("node", vec![actor("a", vec![failed]), busy, deep]);
        assert_eq!(
            draw(&[tree]),
            "node  0 handled\n\
             ├─ a  0 handled\n\
             │  └─ orders-3 [RESTARTING]  0 handled, 2 restarts, up for 119 s, \
             last failure (2 h ago): panicked:\\n\\u{1b}[2Jboom\n\
             ├─ b  0 handled, 3 waiting, once 100 waited, 4096 bytes of credits, 13 % busy, slowest 100 ms\n\
             └─ c  0 handled\n\
             \x20  └─ 20000 more below\n"
        );
    }
}
