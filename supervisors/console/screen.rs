//! A terminal as a screen that is drawn over again, and the keys that are pressed meanwhile.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use model::node_config::HostPort;
use runtime::Scope;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::asking::{asking, tell_end};
use super::draw::draw;
use super::fetch::{FetchError, fetch_tree};

/// Between two looks at a node.
pub(super) const STEP: Duration = Duration::from_secs(1);
/// Another screen, and no cursor; and back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// Why nothing is drawn.
#[derive(Debug, thiserror::Error)]
pub enum NoScreen {
    #[error("{0} needs a terminal, and its output or its input is none")]
    NoTerminal(&'static str),
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Back,
    /// q, Ctrl-C, or a signal.
    Quit,
}

#[derive(Debug)]
pub(super) enum Event<A> {
    Key(Key),
    /// To what was asked.
    Answer(A),
}

/// The terminal, until it is dropped: then it is as before.
pub(super) struct Screen<Q, A> {
    before: Termios,
    events: Receiver<Event<A>>,
    ask: Sender<Q>,
    is_asking: bool,
}

/// Columns and lines.
pub(super) fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0);
    size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

impl<Q: Send + 'static, A: Send + 'static> Screen<Q, A> {
    /// `stopped`: closed once the program is asked to end. `answer`: what is shown, however long it takes to find.
    pub(super) fn open(
        what: &'static str,
        stopped: Receiver<()>,
        answer: impl Fn(Q) -> A + Send + 'static,
    ) -> Result<Self, NoScreen> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(NoScreen::NoTerminal(what));
        }
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        let (tell, events) = channel();
        let ask = asking(tell.clone(), move |question| Event::Answer(answer(question)))?;
        // From here on dropping it gives the terminal back.
        let screen = Screen { before, events, ask, is_asking: false };
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(io::Error::from)?;
        tell_end(stopped, tell.clone(), Event::Key(Key::Quit))?;
        let keys = std::thread::Builder::new().name("ottla-keys".to_owned());
        keys.spawn(move || read_keys(|key| tell.send(Event::Key(key)).is_ok()))?;
        let mut out = io::stdout();
        out.write_all(OPEN.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// Draws over what was there, cut to the screen's size; the line of this number stands out.
    pub(super) fn show(&self, lines: &[String], marked: Option<usize>) -> io::Result<()> {
        let (columns, rows) = size();
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().take(rows).enumerate() {
            let plain: String =
                line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(columns).collect();
            let line_end = if at + 1 < rows { "\r\n" } else { "" };
            text += &match marked == Some(at) {
                true => format!("\x1b[7m{plain}\x1b[0m\x1b[K{line_end}"),
                false => format!("{plain}\x1b[K{line_end}"),
            };
        }
        text += "\x1b[J";
        let mut out = io::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// One thing at a time: the answer is an event.
    pub(super) fn ask(&mut self, question: Q) {
        self.is_asking = self.ask.send(question).is_ok();
    }

    pub(super) fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// What happens until it is time to look again.
    pub(super) fn event(&mut self) -> Option<Event<A>> {
        match self.events.recv_timeout(STEP) {
            Ok(event) => {
                self.is_asking &= !matches!(event, Event::Answer(_));
                Some(event)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Key(Key::Quit)),
        }
    }
}

impl<Q, A> Drop for Screen<Q, A> {
    fn drop(&mut self) {
        let _ = io::stdout().write_all(CLOSE.as_bytes());
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// As long as somebody takes them.
fn read_keys(pressed: impl Fn(Key) -> bool) {
    let mut bytes = [0; 64];
    loop {
        let read = io::stdin().read(&mut bytes).unwrap_or(0);
        let keys = if read == 0 { vec![Key::Quit] } else { keys(&bytes[..read]) };
        for key in keys {
            if !pressed(key) || key == Key::Quit {
                return;
            }
        }
    }
}

/// What terminals send for keys. Of those that are not known nothing is taken for others.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        keys.push(match (first, rest) {
            (0x1b, [b'[' | b'O', behind @ ..]) => {
                let end = behind.iter().position(|byte| (0x40..0x7f).contains(byte));
                let (sequence, rest) = behind.split_at(end.map_or(behind.len(), |end| end + 1));
                bytes = rest;
                match sequence {
                    b"A" => Key::Up,
                    b"B" => Key::Down,
                    b"D" => Key::Back,
                    b"C" => Key::Enter,
                    b"5~" => Key::PageUp,
                    b"6~" => Key::PageDown,
                    _ => continue,
                }
            }
            (0x1b | 0x7f | 0x08, _) => Key::Back,
            (b'\r' | b'\n', _) => Key::Enter,
            (b'q' | 0x03, _) => Key::Quit,
            (b'k', _) => Key::Up,
            (b'j', _) => Key::Down,
            (plain, _) => Key::Char(char::from(*plain)),
        });
    }
    keys
}

/// Until the first answer.
pub(super) fn waits(console: &HostPort) -> String {
    format!("asking {console} …")
}

/// Draws the tree again and again, until that is ended by a key or a signal.
///
/// # Errors
/// It is no terminal, or nobody answers at the console.
pub fn live_tree(console: &HostPort, scope: &Scope, stopped: Receiver<()>) -> Result<(), NoScreen> {
    let (at, scope) = (console.clone(), scope.clone());
    let mut screen = Screen::open("--live", stopped, move |()| fetch_tree(&at, &scope))?;
    screen.ask(());
    let (mut lines, mut from) = (vec![waits(console)], 0);
    loop {
        let page = size().1;
        from = from.min(lines.len().saturating_sub(page));
        screen.show(&lines[from..], None)?;
        match screen.event() {
            Some(Event::Key(Key::Quit)) => return Ok(()),
            Some(Event::Key(Key::Up)) => from = from.saturating_sub(1),
            Some(Event::Key(Key::Down)) => from += 1,
            Some(Event::Key(Key::PageUp)) => from = from.saturating_sub(page),
            Some(Event::Key(Key::PageDown | Key::Char(' '))) => from += page,
            Some(Event::Key(_)) => {}
            Some(Event::Answer(forest)) => {
                lines = draw(&forest?).lines().map(str::to_owned).collect();
            }
            None if screen.is_asking() => {}
            None => screen.ask(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_terminals_send() {
        let pressed = keys(b"b\x1b[A\x1b[6~\x1bOB\x1b[1;5Cx\r\x7fjk\x03");
        let expected = [
            Key::Char('b'),
            Key::Up,
            Key::PageDown,
            Key::Down,
            Key::Char('x'),
            Key::Enter,
            Key::Back,
            Key::Down,
            Key::Up,
            Key::Quit,
        ];
        assert_eq!(pressed, expected);
        assert_eq!(keys(b"\x1b"), [Key::Back]);
        assert_eq!(keys(b"\x1b["), []);
    }
}
