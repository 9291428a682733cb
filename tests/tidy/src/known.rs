//! The violations that were there when their rule came: a list that may only shrink.
//!
//! A line of the list is `rule path count`: below this path the rule may be broken so many
//! times. Fewer are no fault, so that a cleaning does not collide with the list.

use crate::{Finding, Tree};

/// The list.
pub const LIST: &str = "tests/tidy/known-violations";
/// How many violations all entries together may admit; lower it when some go, never raise it.
const VIOLATIONS_MAX: usize = 26;

/// The findings of a rule beyond those that the list admits.
///
/// Where a path has more findings than its entry admits, all of them are shown: nobody can tell
/// which one is new.
pub fn beyond_known(tree: &Tree, rule: &str, findings: Vec<Finding>) -> Vec<Finding> {
    let entries = entries(tree.text(LIST).unwrap_or_default());
    let mut left = findings;
    for entry in entries.iter().filter(|entry| entry.rule == rule) {
        let is_below = |finding: &Finding| is_below(&finding.path, entry.path);
        if left.iter().filter(|finding| is_below(finding)).count() <= entry.count {
            left.retain(|finding| !is_below(finding));
        }
    }
    left
}

/// The list does not grow, and each of its lines is an entry.
pub fn list_only_shrinks(tree: &Tree) -> Vec<Finding> {
    let text = tree.text(LIST).unwrap_or_default();
    let admitted: usize = entries(text).iter().map(|entry| entry.count).sum();
    let mut findings = Vec::new();
    if admitted > VIOLATIONS_MAX {
        let sentence = format!(
            "admits {admitted} violations; it may only shrink, and {VIOLATIONS_MAX} are left"
        );
        findings.push(Finding::new(LIST, 1, sentence));
    }
    for (index, line) in text.lines().enumerate() {
        if !line.starts_with('#') && !line.is_empty() && entry(line).is_none() {
            let sentence = "is not an entry; write: rule path count";
            findings.push(Finding::new(LIST, index + 1, sentence));
        }
    }
    findings
}

struct Entry<'a> {
    rule: &'a str,
    path: &'a str,
    count: usize,
}

fn entries(text: &str) -> Vec<Entry<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let mut words = line.split_whitespace();
    let entry =
        Entry { rule: words.next()?, path: words.next()?, count: words.next()?.parse().ok()? };
    words.next().is_none().then_some(entry)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        let at = |path: &str| Finding::new(path, 1, "is wrong");
        vec![at("a/b/c.rs"), at("a/b/d.rs"), at("a/bc.rs")]
    }

    fn left(list: &str) -> Vec<String> {
        let tree = Tree::of_texts(&[(LIST, list)]);
        beyond_known(&tree, "some-rule", findings()).into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn known_violations_are_admitted_up_to_their_count() {
        assert_eq!(left("# rule path count\nsome-rule a/b 2\n"), ["a/bc.rs"]);
        assert_eq!(left("some-rule a/b 3\n"), ["a/bc.rs"]);
        assert_eq!(left("some-rule a/b 1\n"), ["a/b/c.rs", "a/b/d.rs", "a/bc.rs"]);
        assert_eq!(left("other-rule a 9\n"), ["a/b/c.rs", "a/b/d.rs", "a/bc.rs"]);
        assert!(left("some-rule a 3\n").is_empty());
    }

    #[test]
    fn a_longer_list_is_found() {
        let list = format!("some-rule a/b {}\n", VIOLATIONS_MAX + 1);
        let found = list_only_shrinks(&Tree::of_texts(&[(LIST, list.as_str())]));
        assert_eq!((found[0].line, found.len()), (1, 1));
        let found = list_only_shrinks(&Tree::of_texts(&[(LIST, "# text\nsome-rule a/b\n")]));
        assert_eq!((found[0].line, found.len()), (2, 1));
    }
}
