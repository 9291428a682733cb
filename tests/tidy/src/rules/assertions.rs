//! "Cannot happen" is an assertion; "may be gone" is a return with its reason.

use crate::rules::owners::SHARD;
use crate::{Finding, Masked, Tree};

/// Assertions for each 10 functions of the shard.
const ASSERTIONS_PER_10_FUNCTIONS_MIN: usize = 3;
/// How many silent returns the shard has fewer than.
const SILENT_RETURNS_END: usize = 40;

/// How often a crate asserts, and how often it silently goes on; its tests are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that start a function: `^ *(pub(\([a-z]+\))? )?(const )?fn `.
    pub functions: usize,
    /// Lines with an assertion: `(debug_)?assert(_eq|_ne)?!`, or `unreachable!`, which asserts that
    /// an arm or an `else` is never taken.
    pub assertions: usize,
    /// Lines with `else { return`.
    pub silent_returns: usize,
}

/// The shard asserts 0.3 times for each of its functions.
pub fn the_shard_asserts(tree: &Tree) -> Vec<Finding> {
    judge(tree, |counts| {
        let Counts { functions, assertions, .. } = counts;
        let is_enough = assertions * 10 >= functions * ASSERTIONS_PER_10_FUNCTIONS_MIN;
        (!is_enough).then(|| {
            format!(
                "has {assertions} assertions in {functions} functions, fewer than \
                 {ASSERTIONS_PER_10_FUNCTIONS_MIN} in 10"
            )
        })
    })
}

/// The shard has less than 40 silent returns.
pub fn the_shard_is_not_silent(tree: &Tree) -> Vec<Finding> {
    judge(tree, |Counts { silent_returns, .. }| {
        (silent_returns >= SILENT_RETURNS_END).then(|| {
            format!(
                "has {silent_returns} silent returns (`else {{ return`), not less than \
                 {SILENT_RETURNS_END}; assert what cannot happen"
            )
        })
    })
}

fn judge(tree: &Tree, fault: impl Fn(Counts) -> Option<String>) -> Vec<Finding> {
    let fault = fault(counts(tree, SHARD));
    fault.map(|fault| Finding::new(SHARD, 1, fault)).into_iter().collect()
}

/// Counts the Rust files below a folder.
pub fn counts(tree: &Tree, folder: &str) -> Counts {
    let mut counts = Counts::default();
    for (file, text) in tree.rust().filter(|(file, _)| file.path.starts_with(folder)) {
        if file.is_test_only() {
            continue;
        }
        for line in Masked::new(text).code_without_tests().lines() {
            counts.functions += usize::from(starts_function(line));
            counts.assertions += usize::from(asserts(line));
            counts.silent_returns += usize::from(line.contains("else { return"));
        }
    }
    counts
}

fn starts_function(line: &str) -> bool {
    let mut rest = line.trim_start_matches(' ');
    if let Some(public) = rest.strip_prefix("pub") {
        let scope = public.strip_prefix('(').and_then(|scope| scope.split_once(')'));
        rest = scope.map_or(public, |(_, rest)| rest).trim_start_matches(' ');
    }
    rest.strip_prefix("const ").unwrap_or(rest).starts_with("fn ")
}

fn asserts(line: &str) -> bool {
    ["assert!", "assert_eq!", "assert_ne!", "unreachable!"].iter().any(|name| line.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
fn a() {
    // debug_assert!(no);
    debug_assert!(yes);
}
    pub(crate) const fn b(a: Option<u8>) {
        let Some(a) = a else { return };
        assert_eq!(a, 1);
    }
pub fn c(f: fn (u8)) {}
#[cfg(test)]
mod tests {
    fn d() { assert!(true); }
}
";

    fn tree(folder: &str, source: &str) -> Tree {
        let source_path = format!("{folder}a.rs");
        let test_path = format!("{folder}tests/b.rs");
        Tree::of_texts(&[(source_path.as_str(), source), (test_path.as_str(), SOURCE)])
    }

    #[test]
    fn only_code_outside_of_tests_is_counted() {
        let counts = counts(&tree(SHARD, SOURCE), SHARD);
        assert_eq!(counts, Counts { functions: 3, assertions: 2, silent_returns: 1 });
    }

    #[test]
    fn a_shard_that_does_not_assert_is_found() {
        let silent = format!("{SOURCE}{}", "fn e() {}\n".repeat(4));
        assert_eq!(the_shard_asserts(&tree(SHARD, &silent)).len(), 1);
        assert!(the_shard_asserts(&tree(SHARD, SOURCE)).is_empty());
        assert!(the_shard_asserts(&tree("reactors/x/src/", &silent)).is_empty());
    }

    #[test]
    fn a_shard_that_returns_silently_is_found() {
        let silent = |count| "let Some(a) = a else { return };\n".repeat(count);
        assert!(the_shard_is_not_silent(&tree(SHARD, &silent(39))).is_empty());
        assert_eq!(the_shard_is_not_silent(&tree(SHARD, &silent(40))).len(), 1);
    }
}
