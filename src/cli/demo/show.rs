//! What a person sees while it happens: the status table, or elsewhere than on a terminal the changes.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::scene::Scene;
use crate::cli::exit::Failure;
use crate::cli::output::{self, Ink, Screen};
use crate::cli::table;
use crate::cluster::Record;

const DRAW_EVERY: Duration = Duration::from_millis(100);

pub struct Show<'a> {
    scene: &'a Scene,
    screen: Screen,
    /// The lines of the last drawing, to be drawn over.
    lines: usize,
    /// The changes that were told.
    told: usize,
    caption: String,
}

impl<'a> Show<'a> {
    pub fn new(scene: &'a Scene, screen: Screen) -> Self {
        Self { scene, screen, lines: 0, told: 0, caption: String::new() }
    }

    /// Shows what happens until `act` ends.
    pub async fn during<F: Future>(&mut self, caption: &str, act: F) -> Result<F::Output, Failure> {
        let mut act = pin!(act);
        loop {
            self.draw(caption)?;
            tokio::select! {
                output = act.as_mut() => {
                    self.draw(caption)?;
                    return Ok(output);
                }
                () = sleep(DRAW_EVERY) => {}
            }
        }
    }

    fn draw(&mut self, caption: &str) -> Result<(), Failure> {
        let text = if self.screen.is_terminal { self.table(caption) } else { self.changes(caption) };
        // Who closed the pipe still gets the exit code.
        output::print(&text).map(|_| ())
    }

    fn table(&mut self, caption: &str) -> String {
        let now = self.scene.cluster.clock.shown_now();
        let caption = self.screen.paint(Ink::Faint, &table::shorten(caption, self.screen.width));
        let text = format!("{}{caption}\n", table::of_status(&self.scene.status(), now, self.screen));
        let over = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        self.lines = text.lines().count();
        over + &text
    }

    fn changes(&mut self, caption: &str) -> String {
        let mut text = String::new();
        if self.caption != caption {
            self.caption = caption.to_owned();
            text = format!("{caption}\n");
        }
        let records = self.scene.cluster.journal.records();
        for record in records.iter().skip(self.told) {
            text.push_str(&self.change(record));
        }
        self.told = records.len();
        text
    }

    fn change(&self, record: &Record) -> String {
        let after = record.at.duration_since(self.scene.started_at).as_secs_f64().max(0.0);
        let cause = record.cause.map(|cause| cause.as_str()).unwrap_or_default();
        let found = record.method.map(|method| format!("by {}", method.as_str())).unwrap_or_default();
        let why = format!("{cause} {found}");
        let line =
            format!("  {after:4.1}s  {:8}  {} → {}  {}", record.endpoint, record.from, record.to, why.trim());
        line.trim_end().to_owned() + "\n"
    }
}
