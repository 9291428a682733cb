//! A thread that waits waits for something: an event wakes it, not the passing of time.

use crate::{Finding, Masked, Tree};

/// What lets time pass, by each of its names.
const SLEEPS: &[&str] = &["park_timeout", "park_timeout_ms", "sleep", "sleep_ms", "sleep_until"];

/// No product code sleeps, by whatever name. Tests and the crates below tests/ may.
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
                if masked.code[at + name.len()..].starts_with('(') {
                    let sentence = format!("{name} waits for time to pass; wait for an event");
                    findings.push(Finding::new(&file.path, masked.line_of(at), sentence));
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
        let found: Vec<_> = nobody_sleeps(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        let path = "reactors/x/src/a.rs";
        assert_eq!(found, [(path.to_owned(), 2), (path.to_owned(), 3)]);
    }
}
