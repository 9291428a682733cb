//! Where answers are printed, for people or for programs.

use crate::failure::Failure;
use std::io::{IsTerminal, Write};

/// The standard output, and how to write to it.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Output for programs or for people.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether it is for programs.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints an answer: as one line of JSON, or as `render` writes it for people.
    pub(crate) fn answer<T: serde::Serialize>(
        &mut self,
        answer: &T,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let mut text = if self.json {
            serde_json::to_string(answer).map_err(|e| Failure::Answer(e.to_string()))?
        } else {
            render(answer)
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }

    /// Makes room for the next picture of a series: on a terminal the last one goes.
    pub(crate) fn next_picture(&mut self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let text = match (self.json, stdout.is_terminal()) {
            (true, _) => "",
            (false, true) => "\x1b[H\x1b[2J",
            (false, false) => "\n",
        };
        stdout.write_all(text.as_bytes()).map_err(Failure::Output)
    }
}
