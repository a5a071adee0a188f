//! A terminal as a screen that is drawn over again, and the keys that are pressed meanwhile.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use model::node_config::HostPort;
use runtime::Scope;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

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

/// The terminal, until it is dropped: then it is as before.
pub(super) struct Screen {
    before: Termios,
    keys: Receiver<Key>,
}

impl Screen {
    /// `stopped`: closed once the program is asked to end.
    pub(super) fn open(what: &'static str, stopped: Receiver<()>) -> Result<Screen, NoScreen> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(NoScreen::NoTerminal(what));
        }
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        let (pressed, keys) = channel();
        // From here on dropping it gives the terminal back.
        let screen = Screen { before, keys };
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(io::Error::from)?;
        let (quit, thread) = (pressed.clone(), || std::thread::Builder::new());
        thread().name("ottla-keys".to_owned()).spawn(move || read_keys(&pressed))?;
        thread().name("ottla-stop".to_owned()).spawn(move || {
            let _ = stopped.recv();
            let _ = quit.send(Key::Quit);
        })?;
        let mut out = io::stdout();
        out.write_all(OPEN.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0);
        size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// Draws over what was there, cut to the screen's size; the line of this number stands out.
    pub(super) fn show(&self, lines: &[String], marked: Option<usize>) -> io::Result<()> {
        let (columns, rows) = Screen::size();
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

    /// A key that is pressed until it is time to look again.
    pub(super) fn key(&self) -> Option<Key> {
        match self.keys.recv_timeout(STEP) {
            Ok(key) => Some(key),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Some(Key::Quit),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = io::stdout().write_all(CLOSE.as_bytes());
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn read_keys(pressed: &Sender<Key>) {
    let mut bytes = [0; 64];
    loop {
        let read = io::stdin().read(&mut bytes).unwrap_or(0);
        let keys = if read == 0 { vec![Key::Quit] } else { keys(&bytes[..read]) };
        for key in keys {
            if pressed.send(key).is_err() || key == Key::Quit {
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

/// Draws the tree again and again, until that is ended by a key or a signal.
///
/// # Errors
/// It is no terminal, or nobody answers at the console.
pub fn live_tree(console: &HostPort, scope: &Scope, stopped: Receiver<()>) -> Result<(), NoScreen> {
    let mut forest = fetch_tree(console, scope)?;
    let screen = Screen::open("--live", stopped)?;
    let mut from = 0;
    loop {
        let drawn = draw(&forest);
        let lines: Vec<String> = drawn.lines().map(str::to_owned).collect();
        let page = Screen::size().1;
        from = from.min(lines.len().saturating_sub(page));
        screen.show(&lines[from..], None)?;
        from = match screen.key() {
            Some(Key::Quit) => return Ok(()),
            Some(Key::Up) => from.saturating_sub(1),
            Some(Key::Down) => from + 1,
            Some(Key::PageUp) => from.saturating_sub(page),
            Some(Key::PageDown | Key::Char(' ')) => from + page,
            Some(_) => from,
            None => {
                forest = fetch_tree(console, scope)?;
                from
            }
        };
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
