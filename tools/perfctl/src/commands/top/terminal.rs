//! The terminal: raw mode and alternate screen, drawing, key input, and restoring it.

use super::screen::{Line, ScreenSize};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};
use std::io::{self, IsTerminal, Write, stdout};
use std::time::Instant;

/// The event that ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// None: the refresh interval has elapsed.
    Nothing,
    /// The user pressed a quit key.
    Quit,
    /// The terminal was resized.
    Resized,
    /// The user pressed the key for the next sort order.
    Sort,
}

/// The terminal in raw mode, on the alternate screen and without a cursor. Dropping restores it.
#[derive(Debug)]
pub(super) struct Terminal(());

impl Terminal {
    /// Whether standard output is a terminal.
    pub(super) fn is_there() -> bool {
        stdout().is_terminal()
    }

    /// Switches to raw mode and the alternate screen.
    pub(super) fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on dropping restores the terminal, also if the next step fails.
        let terminal = Self(());
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(terminal)
    }

    /// Columns and rows. 80 by 24 for a terminal that does not report them, such as a serial
    /// console.
    pub(super) fn size() -> io::Result<ScreenSize> {
        let (columns, rows) = size()?;
        let is_known = columns > 0 && rows > 0;
        let (columns, rows) = if is_known { (columns, rows) } else { (80, 24) };
        Ok(ScreenSize { columns: columns.into(), rows: rows.into() })
    }

    /// Draws over the previous screen without clearing it, to avoid flicker.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut out = stdout().lock();
        for (row, line) in (0u16..).zip(lines) {
            let style = if line.is_head { Attribute::Reverse } else { Attribute::Reset };
            queue!(out, MoveTo(0, row), SetAttribute(style), Print(&line.text))?;
            queue!(out, SetAttribute(Attribute::Reset), Clear(ClearType::UntilNewLine))?;
        }
        if let Ok(rows) = u16::try_from(lines.len())
            && size().is_ok_and(|(_, all)| rows < all)
        {
            queue!(out, MoveTo(0, rows), Clear(ClearType::FromCursorDown))?;
        }
        out.flush()
    }

    /// Waits for a known key or a resize, at most until `until`.
    pub(super) fn listen(until: Instant) -> io::Result<Heard> {
        while poll(until.saturating_duration_since(Instant::now()))? {
            if let Some(heard) = meaning(&read()?) {
                return Ok(heard);
            }
        }
        Ok(Heard::Nothing)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _given = execute!(stdout(), Show, LeaveAlternateScreen);
        let _given = disable_raw_mode();
    }
}

fn meaning(event: &Event) -> Option<Heard> {
    if let Event::Resize(..) = event {
        return Some(Heard::Resized);
    }
    let key = event.as_key_press_event()?;
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    if is_control {
        return (key.code == KeyCode::Char('c')).then_some(Heard::Quit);
    }
    let quits = [KeyCode::Char('q'), KeyCode::Esc].contains(&key.code);
    if quits {
        return Some(Heard::Quit);
    }
    (key.code == KeyCode::Char('s')).then_some(Heard::Sort)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyEvent;

    #[test]
    fn keys_do_what_the_screen_header_shows() {
        let pressed = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::NONE), Some(Heard::Quit));
        assert_eq!(pressed(KeyCode::Esc, KeyModifiers::NONE), Some(Heard::Quit));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Heard::Quit));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(pressed(KeyCode::Char('s'), KeyModifiers::NONE), Some(Heard::Sort));
        assert_eq!(meaning(&Event::Resize(80, 24)), Some(Heard::Resized));
    }
}
