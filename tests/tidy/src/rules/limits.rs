//! A limit that nothing obeys is a wish.

use crate::{Finding, Masked, Tree};

const LIMITS: &str = "engine/units/src/limits.rs";

/// Every `pub const` of limits.rs is used by code in another file.
pub fn every_limit_is_used(tree: &Tree) -> Vec<Finding> {
    let Some(limits) = tree.text(LIMITS) else {
        return vec![Finding::new(LIMITS, 1, "is missing; it holds every bound of the project")];
    };
    let others: Vec<_> = tree
        .rust()
        .filter(|(file, _)| file.path != LIMITS)
        .map(|(_, text)| Masked::new(text))
        .collect();
    let mut findings = Vec::new();
    for (index, line) in limits.lines().enumerate() {
        let Some((name, _)) = line.strip_prefix("pub const ").and_then(|l| l.split_once(':'))
        else {
            continue;
        };
        if !others.iter().any(|masked| masked.words(name).next().is_some()) {
            let sentence = format!("{name} is used nowhere; enforce it or remove it");
            findings.push(Finding::new(LIMITS, index + 1, sentence));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_only_prose_names_is_found() {
        let found = every_limit_is_used(&Tree::of_texts(&[
            (LIMITS, "/// A.\npub const A_MAX: u8 = 1;\n/// B.\npub const B_MAX: u8 = A_MAX;\n"),
            ("engine/x/src/lib.rs", "// B_MAX\nfn f() { let _ = limits::A_MAX; }"),
        ]));
        assert_eq!((found[0].line, found.len()), (4, 1));
        assert_eq!(found[0].sentence, "B_MAX is used nowhere; enforce it or remove it");
    }
}
