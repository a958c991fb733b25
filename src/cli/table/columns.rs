//! Columns that fit a screen.

use crate::cli::output::{Ink, Screen};

/// Between two columns.
const GAP: &str = "  ";
/// The last column gets at least so much, if need be at the cost of expendable ones.
const LAST_COLUMNS_MIN: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

pub struct Column {
    heading: &'static str,
    cells: Vec<(Ink, String)>,
    align: Align,
    /// Left out where room is scarce, the lowest number first.
    expendable: Option<u8>,
}

impl Column {
    /// Its cells are free of control characters.
    pub fn new(heading: &'static str, cells: Vec<(Ink, String)>) -> Self {
        Self { heading, cells, align: Align::Left, expendable: None }
    }

    pub fn aligned(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub fn expendable(self, order: u8) -> Self {
        Self { expendable: Some(order), ..self }
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(|(_, cell)| cell.is_empty())
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|(_, cell)| width(cell)).chain([width(self.heading)]).max().unwrap_or(0)
    }
}

pub struct Table(pub Vec<Column>);

impl Table {
    /// The lines. A column with nothing in it is left out; the last one is shortened to what room there
    /// is.
    pub fn lay_out(mut self, screen: Screen) -> String {
        self.0.retain(|column| !column.is_empty());
        self.drop_expendable(screen.width);
        let room_for_last = self.room_for_last(screen.width);
        let widths: Vec<usize> = self.0.iter().map(Column::width).collect();
        let rows = self.0.iter().map(|column| column.cells.len()).max().unwrap_or(0);
        let mut text = String::new();
        for row in 0..=rows {
            let mut line = String::new();
            let mut pending = 0;
            for (index, column) in self.0.iter().enumerate() {
                let is_last = index + 1 == self.0.len();
                let (ink, cell) = match row.checked_sub(1) {
                    None => (Ink::Faint, column.heading),
                    Some(row) => column.cells.get(row).map_or((Ink::Plain, ""), |(ink, cell)| (*ink, cell)),
                };
                let cell = if is_last { shorten(cell, room_for_last) } else { cell.to_owned() };
                let padding = widths[index].saturating_sub(width(&cell));
                let (before, after) = match column.align {
                    Align::Left => (0, padding),
                    Align::Right => (padding, 0),
                };
                // Blanks are written once something follows, so that none ends a line.
                if !cell.is_empty() {
                    line.push_str(&" ".repeat(pending + before));
                    line.push_str(&screen.paint(ink, &cell));
                    pending = after + GAP.len();
                } else {
                    pending += before + after + GAP.len();
                }
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn drop_expendable(&mut self, screen_width: usize) {
        loop {
            let wanted = self.0.last().map_or(0, |last| last.width().min(LAST_COLUMNS_MIN));
            if self.room_for_last(screen_width) >= wanted {
                return;
            }
            let next = (0..self.0.len())
                .filter_map(|index| self.0[index].expendable.map(|order| (order, index)))
                .min();
            match next {
                Some((_, index)) => drop(self.0.remove(index)),
                None => return,
            }
        }
    }

    fn room_for_last(&self, screen_width: usize) -> usize {
        let others = self.0.split_last().map_or(&[][..], |(_, others)| others);
        let taken: usize = others.iter().map(|column| column.width() + GAP.len()).sum();
        screen_width.saturating_sub(taken)
    }
}

/// The text, cut to so many columns; an ellipsis tells of the cut.
pub fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += char_width(c);
        if taken > columns {
            break;
        }
        shown.push(c);
    }
    if columns > 0 {
        shown.push('…');
    }
    shown
}

/// How many columns the text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Roughly: an upstream's error may be in Chinese, and a line must not wrap over it. Taking a combining
/// mark for a column makes a line too short, which does no harm.
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_shown_and_wide_characters_count_twice() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abcdef", 0), "");
        assert_eq!(shorten("余额不足", 8), "余额不足");
        assert_eq!(shorten("余额不足", 6), "余额…");
    }
}
