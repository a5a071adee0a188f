//! The tree of actors, drawn for a terminal.

use std::fmt::Write;

use runtime::ActorTree;

/// Draws a tree: a line per actor, with what it does, how much, and how it failed.
pub fn draw(forest: &[ActorTree]) -> String {
    let mut out = String::new();
    for root in forest {
        line(&mut out, "", root);
        children(&mut out, "", &root.children);
    }
    out
}

fn children(out: &mut String, indent: &str, list: &[ActorTree]) {
    for (index, child) in list.iter().enumerate() {
        let last = index + 1 == list.len();
        line(out, &format!("{indent}{}", if last { "└─ " } else { "├─ " }), child);
        children(out, &format!("{indent}{}", if last { "   " } else { "│  " }), &child.children);
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
    let _ = write!(text, "  {} handled", actor.handled);
    if actor.mailbox_depth > 0 {
        let _ = write!(text, ", {} waiting", actor.mailbox_depth);
    }
    if actor.restarts > 0 {
        let _ = write!(text, ", {} restarts", actor.restarts);
    }
    if actor.stuck {
        let _ = write!(text, ", STUCK in {}", actor.in_hand.as_deref().unwrap_or("a handler"));
    }
    if let Some(failure) = &actor.last_failure {
        let _ = write!(text, ", last failure: {failure}");
    }
    out.push_str(text.trim_end());
    out.push('\n');
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
        failed.last_failure = Some("panicked: boom".into());
        let tree = actor("node", vec![actor("a", vec![failed]), actor("b", vec![])]);
        assert_eq!(
            draw(&[tree]),
            "node  0 handled\n\
             ├─ a  0 handled\n\
             │  └─ orders-3 [RESTARTING]  0 handled, 2 restarts, last failure: panicked: boom\n\
             └─ b  0 handled\n"
        );
    }
}
