//! The profiles that callgrind writes: how often each line was executed.

use std::collections::{BTreeMap, HashMap};

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

/// One profile, or the sum of several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    pub(crate) counts: Counts,
    /// Instructions of each function, with those of the functions inlined into it.
    pub(crate) functions: BTreeMap<String, u64>,
    /// Instructions of each source file, wherever its code was inlined.
    pub(crate) files: BTreeMap<String, u64>,
}

impl Profile {
    /// Adds another profile.
    pub(crate) fn add(&mut self, other: Self) {
        self.counts.add(other.counts);
        for (sums, more) in [(&mut self.functions, other.functions), (&mut self.files, other.files)]
        {
            for (name, count) in more {
                *sums.entry(name).or_default() += count;
            }
        }
    }
}

/// The rows with the most instructions per command, where the run with more commands has `long`
/// of them.
pub(crate) fn top(
    long: &BTreeMap<String, u64>,
    short: &BTreeMap<String, u64>,
    commands: u64,
    rows: usize,
) -> Vec<(f64, String)> {
    let per_command = |name: &String, long: u64| {
        let less = short.get(name).copied().unwrap_or(0);
        (long as f64 - less as f64) / commands as f64
    };
    let mut found: Vec<_> =
        long.iter().map(|(name, count)| (per_command(name, *count), name.clone())).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(rows);
    found
}

/// Adds up a profile. `None` where it is incomplete, because it is still being written.
pub(crate) fn parse(text: &str) -> Option<Profile> {
    let mut parser = Parser::default();
    let mut total = None;
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("totals: ") {
            total = value.trim().parse::<u64>().ok();
        }
        parser.line(line);
    }
    total.map(|_| parser.sums)
}

#[derive(Default)]
struct Parser {
    files: HashMap<String, String>,
    functions: HashMap<String, String>,
    sums: Profile,
    /// Of the lines that follow.
    file: String,
    function: String,
    /// The next line is the cost of a call, which is counted in the called function.
    is_call: bool,
}

impl Parser {
    fn line(&mut self, line: &str) {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                // A file, or one whose code was inlined here.
                "fl" | "fi" | "fe" => {
                    name(&mut self.files, value).clone_into(&mut self.file);
                }
                // The line before it has the file.
                "fn" => name(&mut self.functions, value).clone_into(&mut self.function),
                "cfi" | "cfl" => _ = name(&mut self.files, value),
                "cfn" => _ = name(&mut self.functions, value),
                "calls" => self.is_call = true,
                // Objects, and the header.
                _ => {}
            }
            return;
        }
        let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
        if !is_cost || std::mem::take(&mut self.is_call) {
            return;
        }
        let cost = line.split_whitespace().nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
        *self.sums.functions.entry(self.function.clone()).or_default() += cost;
        *self.sums.files.entry(self.file.clone()).or_default() += cost;
        let copies_in_function = LIBC_COPIES.iter().any(|c| self.function.contains(c));
        let counts = &mut self.sums.counts;
        *(match (self.file.ends_with(STRING_FILE), copies_in_function) {
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

/// Parts of the names of libc's functions that copy and fill.
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
    fn copies_are_counted_separately_and_calls_once() {
        assert_eq!(
            parse(PROFILE).unwrap().counts,
            Counts { instructions: 15, string_bytes: 4096, libc_copies: 89 }
        );
    }

    #[test]
    fn inlined_lines_belong_to_their_file_and_to_the_function_around_them() {
        let profile = parse(PROFILE).unwrap();
        let rows = |sums: &BTreeMap<String, u64>| top(sums, &BTreeMap::new(), 1, 2);
        assert_eq!(
            rows(&profile.functions),
            [(4111.0, "target::run".to_owned()), (89.0, "__memcpy_avx".to_owned())]
        );
        assert_eq!(
            rows(&profile.files),
            [
                (4096.0, "/r/reactors/uring/src/copy.rs".to_owned()),
                (89.0, "./string/memmove.S".to_owned())
            ]
        );
    }

    #[test]
    fn the_top_is_the_difference_of_both_runs_per_command() {
        let of = |pairs: [(&str, u64); 2]| pairs.map(|(n, c)| (n.to_owned(), c)).into();
        let (long, short) = (of([("a", 1000), ("b", 900)]), of([("a", 900), ("c", 7)]));
        assert_eq!(top(&long, &short, 100, 9), [(9.0, "b".to_owned()), (1.0, "a".to_owned())]);
    }

    #[test]
    fn a_profile_without_its_end_is_none() {
        assert!(parse(PROFILE.strip_suffix("totals: 4200\n").unwrap()).is_none());
    }
}
