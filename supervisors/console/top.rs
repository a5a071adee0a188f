//! `ottla top`: the actors that matter most, first; and what each of them does.

use std::sync::mpsc::Receiver;

use model::node_config::HostPort;
use runtime::{ActorTree, Order, Scope, TopPage};

use super::draw::lasted;
use super::fetch::{FetchError, fetch_top};
use super::printable;
use super::screen::{Event, Key, NoScreen, Screen, size, waits};

/// Of messages by name, numbers and restarts.
const FEW: usize = 8;
const HEAD: &str =
    "  BUSY%     WAIT     HIGH      P50      P99      MAX      HANDLED RESTARTS  ACTOR";
const HELP: &str = "b busy  d depth  s slow  r restarts  h handled   \u{2191}\u{2193} choose  Enter look into  \u{2190} back  q quit";

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopAsked {
    pub scope: Scope,
    pub order: Order,
}

/// Where somebody is.
struct View {
    asked: TopAsked,
    /// Whom they looked into to be here, and which line they had chosen there.
    from: Vec<(Option<String>, usize)>,
    chosen: usize,
}

/// One page as text.
///
/// # Errors
/// Nobody answers there, or it is refused.
pub fn top_once(console: &HostPort, asked: &TopAsked, lines: usize) -> Result<String, FetchError> {
    let page = fetch_top(console, &asked.scope, asked.order, lines)?;
    Ok(drawn(console, asked, &page).0.join("\n") + "\n")
}

/// Shows it until that is ended by a key or a signal.
///
/// # Errors
/// It is no terminal, or nobody answers at the console.
pub fn top(console: &HostPort, asked: TopAsked, stopped: Receiver<()>) -> Result<(), NoScreen> {
    let at = console.clone();
    let answer = move |asked: TopAsked| {
        let page = look(&at, &asked);
        (asked, page)
    };
    let mut screen = Screen::open("top", stopped, answer)?;
    let mut view = View { asked, from: Vec::new(), chosen: 0 };
    screen.ask(view.asked.clone());
    // What is shown, by what was asked; and whether something else is wanted since.
    let (mut shown, mut is_old) = (None::<(TopAsked, TopPage)>, false);
    loop {
        let (lines, marked, table) = view.lines(console, shown.as_ref());
        screen.show(&lines, marked)?;
        let again = match screen.event() {
            Some(Event::Key(Key::Quit)) => return Ok(()),
            Some(Event::Key(key)) => {
                is_old |= shown.as_ref().is_some_and(|shown| view.press(key, shown, table));
                is_old
            }
            Some(Event::Answer(_)) if is_old => true,
            // It is gone meanwhile.
            Some(Event::Answer((_, Err(FetchError::Refused(_))))) if view.back() => true,
            Some(Event::Answer((asked, page))) => {
                let page = page?;
                view.choose_of(&page);
                shown = Some((asked, page));
                false
            }
            None => true,
        };
        if again && !screen.is_asking() {
            is_old = false;
            screen.ask(view.asked.clone());
        }
    }
}

fn look(console: &HostPort, asked: &TopAsked) -> Result<TopPage, FetchError> {
    fetch_top(console, &asked.scope, asked.order, 200)
}

impl View {
    /// What the screen shows, which line stands out, and how many actors have room.
    fn lines(
        &self,
        console: &HostPort,
        shown: Option<&(TopAsked, TopPage)>,
    ) -> (Vec<String>, Option<usize>, usize) {
        let Some((asked, page)) = shown else { return (vec![waits(console)], None, 1) };
        let (mut lines, first) = drawn(console, asked, page);
        let rows = size().1;
        // Of the page that is asked for it may be one that this has not.
        let chosen = self.chosen.min(page.first.len().saturating_sub(1));
        // What is chosen is on the screen, and the keys are told of in its last line.
        let table = rows.saturating_sub(first + 1).max(1);
        let above = (chosen + 1).saturating_sub(table);
        lines.drain(first..first + above);
        lines.truncate(rows.saturating_sub(1));
        lines.push(HELP.to_owned());
        let marked = (!page.first.is_empty()).then_some(first + chosen - above);
        (lines, marked, table)
    }

    fn choose_of(&mut self, page: &TopPage) {
        self.chosen = self.chosen.min(page.first.len().saturating_sub(1));
    }

    /// Whether there is something else to be shown now.
    fn press(&mut self, key: Key, shown: &(TopAsked, TopPage), lines: usize) -> bool {
        let (asked, page) = shown;
        let is_shown = *asked == self.asked;
        if is_shown {
            self.choose_of(page);
        }
        match key {
            Key::Up => self.chosen = self.chosen.saturating_sub(1),
            Key::Down => self.chosen += 1,
            Key::PageUp => self.chosen = self.chosen.saturating_sub(lines),
            Key::PageDown => self.chosen += lines,
            // Who sees another page than the one that is asked for does not see whom this would be.
            Key::Enter if !is_shown => return false,
            Key::Enter => {
                let Some(actor) = page.first.get(self.chosen) else { return false };
                let under = self.asked.scope.under.replace(actor.path.clone());
                self.from.push((under, self.chosen));
                self.chosen = 0;
                return true;
            }
            Key::Back => return self.back(),
            Key::Char(key) => {
                let order = Order::ALL.iter().find(|(name, _)| name.starts_with(key));
                let Some((_, order)) = order else { return false };
                self.asked.order = *order;
                self.chosen = 0;
                return true;
            }
            Key::Quit => {}
        }
        false
    }

    fn back(&mut self) -> bool {
        let Some((under, chosen)) = self.from.pop() else { return false };
        self.asked.scope.under = under;
        self.chosen = chosen;
        true
    }
}

/// The lines of a page, and at which of them the actors begin.
fn drawn(console: &HostPort, asked: &TopAsked, page: &TopPage) -> (Vec<String>, usize) {
    let (shown, all) = (page.first.len(), page.all);
    let of = if shown < all { format!("{shown} of {all}") } else { all.to_string() };
    let filter = asked.scope.filter.as_ref().map(|text| format!(" with {text:?}"));
    let under = page.under.as_ref().map(|actor| format!(" under {}", actor.path));
    let mut lines = vec![format!(
        "ottla top of {console}: {of} actors{}{}, by {}",
        under.unwrap_or_default(),
        filter.unwrap_or_default(),
        asked.order.name()
    )];
    lines.extend(page.under.iter().flat_map(told));
    lines.push(HEAD.to_owned());
    let first = lines.len();
    lines.extend(page.first.iter().map(line));
    (lines.iter().map(|line| printable(line).into_owned()).collect(), first)
}

fn line(actor: &ActorTree) -> String {
    let status = match actor.status.as_str() {
        "running" if actor.stuck => " [STUCK]".to_owned(),
        "running" => String::new(),
        other => format!(" [{}]", other.to_uppercase()),
    };
    let state = if actor.state.is_empty() { "" } else { "  " };
    format!(
        "{:>7.1} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12} {:>8}  {}{status}{state}{}",
        actor.busy_share_recent * 100.0,
        actor.mailbox_depth,
        actor.mailbox_high,
        short(actor.p50_micros),
        short(actor.p99_micros),
        short(actor.max_micros),
        actor.handled,
        actor.restarts,
        actor.path,
        actor.state
    )
}

fn short(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..10_000 => format!("{micros} µs"),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// All that is known of one.
fn told(actor: &ActorTree) -> Vec<String> {
    let mut lines = vec![
        format!("  {}, {}: {}", actor.kind, actor.status, actor.state),
        format!(
            "  generation {}, for {}; {:.1} % busy, {} of its life; {} messages wait, once {}; {} bytes of credits",
            actor.generation,
            lasted(actor.age_ms),
            actor.busy_share_recent * 100.0,
            format_args!("{:.1} %", actor.busy_share * 100.0),
            actor.mailbox_depth,
            actor.mailbox_high,
            actor.credits,
        ),
    ];
    if let Some(hand) = &actor.in_hand {
        lines.push(format!("  in hand: {hand}, for {}", lasted(actor.in_hand_ms)));
    }
    if let Some(fault) = &actor.fault {
        lines.push(format!("  fault set: {fault}"));
    }
    let mut messages: Vec<_> =
        actor.messages.iter().filter(|message| message.handled > 0).collect();
    messages.sort_by_key(|message| std::cmp::Reverse(message.handled));
    let messages = messages.iter().map(|message| format!("{} {}", message.name, message.handled));
    let numbers = actor.numbers.iter().map(|(name, value)| format!("{name} {value}"));
    for (what, all) in [
        ("handled", messages.take(FEW).collect::<Vec<_>>()),
        ("numbers", numbers.take(FEW).collect()),
    ] {
        if !all.is_empty() {
            lines.push(format!("  {what}: {}", all.join(", ")));
        }
    }
    for restart in actor.restarted.iter().rev().take(FEW) {
        let (ago, cause) = (lasted(restart.ago_ms), &restart.cause);
        lines.push(format!("  restarted {ago} ago, generation {}: {cause}", restart.generation));
    }
    if let (Some(failure), true) = (&actor.last_failure, actor.restarted.is_empty()) {
        lines.push(format!("  last failure: {failure}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(path: &str) -> ActorTree {
        ActorTree { path: path.into(), status: "running".into(), ..ActorTree::default() }
    }

    #[test]
    fn keys_sort_choose_look_into_and_go_back() {
        let asked = TopAsked { scope: Scope::default(), order: Order::Busy };
        let mut view = View { asked, from: Vec::new(), chosen: 0 };
        let page = |names: &[&str]| {
            let first: Vec<_> = names.iter().map(|name| actor(name)).collect();
            TopPage { under: None, all: first.len(), first }
        };
        let mut shown = (view.asked.clone(), page(&["n/a", "n/b"]));
        assert!(view.press(Key::Char('r'), &shown, 10));
        assert_eq!(view.asked.order, Order::Restarts);
        assert!(!view.press(Key::Enter, &shown, 10), "another order is shown");
        shown.0 = view.asked.clone();
        assert!(!view.press(Key::Char('?'), &shown, 10));
        for _ in 0..3 {
            assert!(!view.press(Key::Down, &shown, 10));
        }
        assert!(view.press(Key::Enter, &shown, 10));
        assert_eq!((view.asked.scope.under.as_deref(), view.chosen), (Some("n/b"), 0));
        assert!(!view.press(Key::Enter, &shown, 10), "it is not shown yet");
        shown = (view.asked.clone(), page(&["n/b/c"]));
        assert!(view.press(Key::Back, &shown, 10));
        assert_eq!((view.asked.scope.under.clone(), view.chosen), (None, 1));
        let (_, marked, _) = view.lines(&HostPort::new("h", 1), Some(&shown));
        assert_eq!((marked, view.chosen), (Some(2), 1), "it is chosen once it is shown");
        assert!(!view.press(Key::Back, &shown, 10), "it is at the top");
    }

    #[test]
    fn a_page_tells_of_whom_it_is_under_and_of_those_below() {
        let mut under = actor("node-1/partitions");
        (under.generation, under.age_ms) = (2, 5_000);
        under.restarted =
            vec![runtime::Restarted { generation: 2, ago_ms: 5_000, cause: "boom".into() }];
        let mut below = actor("node-1/partitions/orders-0");
        (below.busy_share_recent, below.p99_micros, below.stuck) = (0.256, 20_000, true);
        let page = TopPage { under: Some(under), first: vec![below], all: 3 };
        let scope = Scope { filter: Some("ord".into()), ..Scope::default() };
        let asked = TopAsked { scope, order: Order::Slow };
        let (lines, first) = drawn(&HostPort::new("h", 1), &asked, &page);
        let wanted =
            "ottla top of h:1: 1 of 3 actors under node-1/partitions with \"ord\", by slow";
        assert_eq!(lines[0], wanted);
        assert!(lines.iter().any(|line| line == "  restarted 5 s ago, generation 2: boom"));
        assert_eq!((lines[first - 1].as_str(), lines.len()), (HEAD, first + 1));
        let words: Vec<_> = lines[first].split_whitespace().collect();
        let wanted = ["25.6", "0", "0", "-", "20", "ms", "-", "0", "0"];
        assert_eq!(words[..9], wanted);
        assert!(lines[first].ends_with("node-1/partitions/orders-0 [STUCK]"), "{}", lines[first]);
    }
}
