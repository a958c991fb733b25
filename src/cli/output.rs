//! What goes to a terminal, a pipe or a file.

use std::io::{self, ErrorKind, IsTerminal, Write};

use super::exit::Failure;
use crate::config::Environment;

/// The width of a table that nothing limits.
const WIDTH_WITHOUT_TERMINAL: usize = 100;

/// Whether somebody reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    There,
    /// The pipe was closed, which is the reader's right: no error.
    Gone,
}

/// What may be written to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// It can be drawn over.
    pub is_terminal: bool,
    pub has_colour: bool,
    /// In columns.
    pub width: usize,
}

impl Screen {
    pub fn of_stdout(environment: &Environment) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let measured = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        Self {
            is_terminal,
            has_colour: is_terminal && !environment.no_color(),
            // A terminal that reports no width has none to go by.
            width: measured.filter(|width| *width > 0).unwrap_or(WIDTH_WITHOUT_TERMINAL),
        }
    }

    /// The text in a colour, where there are any.
    pub fn paint(&self, ink: Ink, text: &str) -> String {
        match ink.code() {
            Some(code) if self.has_colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Some(_) | None => text.to_owned(),
        }
    }
}

/// The colours of the whole program: of states, mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Faint,
    Good,
    Warning,
    Bad,
}

impl Ink {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// Writes data to stdout.
pub fn print(text: &str) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::failed(format!("stdout can't be written: {error}"))),
    }
}

/// Writes a line that is no data to stderr. Where that fails there is nobody to tell.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// JSON whose strings hold nothing that a terminal obeys: serde escapes only some of it.
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Line breaks between members aside, JSON has such characters inside strings only.
        if c == '\n' || crate::config::printable(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_colours_where_there_are_none() {
        let screen = Screen { is_terminal: false, has_colour: false, width: 80 };
        assert_eq!(screen.paint(Ink::Bad, "down"), "down");
        let screen = Screen { has_colour: true, ..screen };
        assert_eq!(screen.paint(Ink::Bad, "down"), "\u{1b}[31mdown\u{1b}[0m");
        assert_eq!(screen.paint(Ink::Plain, "up"), "up");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let text = "a\u{9b}31m\u{7f}\u{202e}\u{1b}[2Jé中";
        let json = printable_json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(json.chars().all(|c| c == '\n' || !c.is_control()) && !json.contains('\u{202e}'), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text]);
        assert!(json.contains("é中"), "{json}");
    }
}
