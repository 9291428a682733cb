//! Every parser of the wire meets bytes that nobody thought of.

use crate::{File, Finding, Masked, Tree};

const PDU_FOLDER: &str = "engine/iscsi/src/pdu/";
const TARGETS: &str = "tests/fuzz/src/targets.rs";

/// Every PDU file with a parser has a fuzz target of its name.
pub fn every_pdu_is_fuzzed(tree: &Tree) -> Vec<Finding> {
    let targets = tree.text(TARGETS).map(Masked::new);
    let missing = pdu_parsers(tree).filter(|(file, _)| {
        let listed = targets.as_ref().map(|t| t.words(stem(file)).next().is_some());
        listed != Some(true)
    });
    missing
        .map(|(file, _)| Finding::new(&file.path, 1, format!("has no fuzz target in {TARGETS}")))
        .collect()
}

/// Every PDU file with a parser tests that each prefix of the PDU is rejected: by its own test
/// with "prefix" in its name, or by a `Sample` that goes through the checks for all PDUs.
pub fn every_pdu_rejects_its_prefixes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in pdu_parsers(tree) {
        let masked = Masked::new(text);
        let mut names = masked.words("fn").map(|at| masked.code[at + 2..].trim_start());
        let own_test = names
            .any(|rest| rest.split(['(', '<']).next().is_some_and(|name| name.contains("prefix")));
        let sample = masked.code.contains("Sample {") && masked.code.contains(".check()");
        if !own_test && !sample {
            let sentence = "has no test that each prefix of the PDU is rejected";
            findings.push(Finding::new(&file.path, 1, sentence));
        }
    }
    findings
}

fn pdu_parsers(tree: &Tree) -> impl Iterator<Item = (&File, &str)> {
    tree.rust().filter(|(file, text)| {
        let inside = file.path.strip_prefix(PDU_FOLDER);
        let is_pdu = inside.is_some_and(|name| !name.contains('/') && name != "mod.rs");
        is_pdu && Masked::new(text).code.contains("pub fn parse(")
    })
}

fn stem(file: &File) -> &str {
    file.name().trim_end_matches(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_pdu_without_a_fuzz_target_is_found() {
        let tree = Tree::of_texts(&[
            ("engine/iscsi/src/pdu/mod.rs", "mod reject;"),
            ("engine/iscsi/src/pdu/nop_in.rs", "pub fn parse(bhs: &Bhs) {}"),
            ("engine/iscsi/src/pdu/reject.rs", "pub fn parse(bhs: &Bhs) {}"),
            ("engine/iscsi/src/pdu/residual.rs", "pub enum Residual {}"),
            (TARGETS, "pdu_targets!(nop_in: NopIn); // reject"),
        ]);
        assert_eq!(paths(every_pdu_is_fuzzed(&tree)), ["engine/iscsi/src/pdu/reject.rs"]);
    }

    #[test]
    fn a_pdu_without_a_prefix_test_is_found() {
        let tree = Tree::of_texts(&[
            ("engine/iscsi/src/pdu/a.rs", "pub fn parse() {} fn every_prefix_is_rejected() {}"),
            ("engine/iscsi/src/pdu/b.rs", "pub fn parse() {} fn t() { Sample { }.check(); }"),
            ("engine/iscsi/src/pdu/c.rs", "pub fn parse() {} // prefix"),
        ]);
        let found = paths(every_pdu_rejects_its_prefixes(&tree));
        assert_eq!(found, ["engine/iscsi/src/pdu/c.rs"]);
    }
}
