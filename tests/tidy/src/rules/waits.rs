//! A thread that waits waits for something: an event wakes it, not the passing of time.

use crate::{Finding, Masked, Tree};

/// What lets time pass, by each of its names.
const SLEEPS: &[&str] = &["park_timeout", "park_timeout_ms", "sleep", "sleep_ms", "sleep_until"];

/// How the comment begins that says why there is nothing to wait for.
const REASON: &str = "// No event:";

/// No product code sleeps, by whatever name, unless a comment on the statement says why there is
/// no event to wait for. Tests and the crates below tests/ may.
pub fn nobody_sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust() {
        if file.is_test_only() || file.path.starts_with("tests/") {
            continue;
        }
        let mut masked = Masked::new(text);
        masked.code = masked.code_without_tests();
        for name in SLEEPS {
            for at in masked.words(name) {
                let line = masked.line_of(at);
                let is_call = masked.code[at + name.len()..].starts_with('(');
                let is_reason = |comment: &str| comment.trim().starts_with(REASON);
                if is_call && !masked.comments_on(line).into_iter().any(is_reason) {
                    let sentence = format!(
                        "{name} waits for time to pass; wait for an event, or say why there is \
                         none: `{REASON} ...`"
                    );
                    findings.push(Finding::new(&file.path, line, sentence));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_by_any_name_is_found() {
        let text = "fn f() {\n    std::thread::park_timeout(SOON);\n    thread::sleep(SOON);\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn g() { thread::park_timeout(SOON); }\n}\n";
        let tree = Tree::of_texts(&[
            ("reactors/x/src/a.rs", text),
            ("reactors/x/tests/b.rs", text),
            ("tests/e2e/src/c.rs", text),
        ]);
        let reason =
            "// No event: nobody is told when a port is free.\nthread::park_timeout(SOON);";
        assert!(nobody_sleeps(&Tree::of_texts(&[("tools/x/src/a.rs", reason)])).is_empty());
        let found: Vec<_> = nobody_sleeps(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        let path = "reactors/x/src/a.rs";
        assert_eq!(found, [(path.to_owned(), 2), (path.to_owned(), 3)]);
    }
}
