//! What callgrind writes: which instructions were executed how often.

use std::collections::HashMap;

/// Instructions of one profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All but the loops that copy.
    pub(crate) instructions: u64,
    /// Bytes that string instructions moved: callgrind counts one instruction for each.
    pub(crate) string_bytes: u64,
    /// Instructions of libc's functions that copy or fill memory. How many it takes depends on the
    /// processor, because libc chooses among several.
    pub(crate) libc_copies: u64,
}

impl Counts {
    /// Adds another profile.
    pub(crate) const fn add(&mut self, other: Self) {
        self.instructions += other.instructions;
        self.string_bytes += other.string_bytes;
        self.libc_copies += other.libc_copies;
    }
}

/// Adds up a profile. `None` where it is not whole, because it is still being written.
pub(crate) fn counts(text: &str) -> Option<Counts> {
    let mut parser = Parser::default();
    let mut total = None;
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("totals: ") {
            total = value.trim().parse::<u64>().ok();
        }
        parser.line(line);
    }
    total.map(|_| parser.counts)
}

#[derive(Default)]
struct Parser {
    files: HashMap<String, String>,
    functions: HashMap<String, String>,
    counts: Counts,
    copies_in_file: bool,
    copies_in_function: bool,
    /// The next line is what a called function cost, which is counted where it was executed.
    is_call: bool,
}

impl Parser {
    fn line(&mut self, line: &str) {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                // A file, or one whose code was inlined here.
                "fl" | "fi" | "fe" => {
                    self.copies_in_file = name(&mut self.files, value).ends_with(STRING_FILE);
                }
                "fn" => {
                    let function = name(&mut self.functions, value);
                    self.copies_in_function = LIBC_COPIES.iter().any(|c| function.contains(c));
                    // A new function says its file anew.
                }
                "cfi" | "cfl" => _ = name(&mut self.files, value),
                "cfn" => _ = name(&mut self.functions, value),
                "calls" => self.is_call = true,
                // Objects, and nothing else that matters.
                _ => {}
            }
            return;
        }
        let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
        if !is_cost || std::mem::take(&mut self.is_call) {
            return;
        }
        let cost = line.split_whitespace().nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
        let counts = &mut self.counts;
        *(match (self.copies_in_file, self.copies_in_function) {
            (true, _) => &mut counts.string_bytes,
            (false, true) => &mut counts.libc_copies,
            (false, false) => &mut counts.instructions,
        }) += cost;
    }
}

/// The name of a number: `(7) name` the first time, `(7)` from then on.
fn name<'a>(names: &'a mut HashMap<String, String>, value: &str) -> &'a str {
    let (number, name) = value.split_once(' ').unwrap_or((value, ""));
    let known = names.entry(number.to_owned()).or_default();
    if !name.is_empty() {
        name.clone_into(known);
    }
    known
}

/// The file whose loops are string instructions.
const STRING_FILE: &str = "reactors/uring/src/copy.rs";

/// What libc's functions that copy and fill have in their names.
const LIBC_COPIES: [&str; 3] = ["memcpy", "memmove", "memset"];

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "positions: line\nevents: Ir\nsummary: 4200\n\n\
        ob=(1) /bin/polluxd\nfl=(1) /r/engine/a.rs\nfn=(1) target::run\n12 10\n\
        fi=(2) /r/reactors/uring/src/copy.rs\n46 4096\nfe=(1)\n+3 5\n\
        cfi=(3) ./string/memmove.S\ncfn=(2) __memcpy_avx\ncalls=1 264\n* 89\n\n\
        fl=(3)\nfn=(2)\n264 80\n-4 9\n\ntotals: 4200\n";

    #[test]
    fn copies_are_told_from_the_rest_and_calls_count_once() {
        assert_eq!(
            counts(PROFILE),
            Some(Counts { instructions: 15, string_bytes: 4096, libc_copies: 89 })
        );
    }

    #[test]
    fn a_profile_without_its_end_is_none() {
        assert_eq!(counts(PROFILE.strip_suffix("totals: 4200\n").unwrap()), None);
    }
}
