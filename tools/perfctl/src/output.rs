//! Output of results as text or JSON.

use crate::failure::Failure;
use std::io::{IsTerminal, Write};

/// Standard output with its format.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Output as JSON or as text.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the output format is JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result, either as one line of JSON or as text formatted by `render`.
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

    /// Starts the next screen of a series: clears a terminal, otherwise prints a blank line.
    pub(crate) fn next_screen(&mut self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        let text = match (self.json, stdout.is_terminal()) {
            (true, _) => "",
            (false, true) => "\x1b[H\x1b[2J",
            (false, false) => "\n",
        };
        stdout.write_all(text.as_bytes()).map_err(Failure::Output)
    }
}
