//! A place in a text, as editors count.

use std::fmt;

/// A place in a text: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// The place of a byte of a text.
    pub(crate) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The key that is set on the line of a byte, if the line sets one.
pub(crate) fn key_at(text: &str, byte: usize) -> Option<&str> {
    let byte = byte.min(text.len());
    let start = text.get(..byte)?.rfind('\n').map_or(0, |n| n + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty() && !key.starts_with(['#', '[', '{', '"'])).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "a\nbü = 1\n";
        assert_eq!(Position::of(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text, 2), Position { line: 2, column: 1 });
        // The ü has two bytes and is one character.
        assert_eq!(Position::of(text, 6), Position { line: 2, column: 4 });
        assert_eq!(Position::of(text, 99), Position { line: 3, column: 1 });
    }

    #[test]
    fn the_key_of_a_line_is_the_text_before_its_equals_sign() {
        let text = "x = 1\nsize = 5\n[node]\n";
        assert_eq!(key_at(text, 13), Some("size"));
        assert_eq!(key_at(text, 0), Some("x"));
        assert_eq!(key_at(text, 16), None);
    }
}
