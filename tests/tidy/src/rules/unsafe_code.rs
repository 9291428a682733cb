//! Unsafe code lives in one crate, and each piece carries its proof.

use std::ops::Range;

use crate::{Finding, Masked, Tree};

const FENCE: &str = "reactors/uring/";
/// A proof says something about the case, which "valid" and "checked" do not.
const PROOF_CHARS_MIN: usize = 15;
/// A proof may be that of the block before.
const REFERENCES: &[&str] = &["above", "as in `"];

/// The word `unsafe` is code only in reactors/uring.
pub fn unsafe_stays_in_uring(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust().filter(|(file, _)| !file.path.starts_with(FENCE)) {
        let masked = Masked::new(text);
        for at in masked.words("unsafe") {
            let sentence = "is unsafe outside reactors/uring, the only crate that may be";
            findings.push(Finding::new(&file.path, masked.line_of(at), sentence));
        }
    }
    findings
}

/// Every unsafe block and impl has a SAFETY comment right above, and every unsafe function a
/// `# Safety` section or such a comment.
pub fn unsafe_is_argued(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust() {
        let masked = Masked::new(text);
        let mut lines_seen = Vec::new();
        let impls = unsafe_impls(&masked);
        for at in masked.words("unsafe") {
            let line = masked.line_of(at);
            let nothing_to_prove = is_function_type(&masked, at)
                || is_function(&masked, at) && impls.iter().any(|span| span.contains(&at));
            if lines_seen.contains(&line) || nothing_to_prove {
                continue;
            }
            lines_seen.push(line);
            if !has_proof(&comment_above(&masked, line)) {
                let sentence = "is unsafe without a SAFETY comment above that names the \
                                invariant and who upholds it";
                findings.push(Finding::new(&file.path, line, sentence));
            }
        }
    }
    findings
}

fn has_proof(comment: &str) -> bool {
    let marked = comment.split_once("SAFETY:").or_else(|| comment.split_once("# Safety"));
    marked.is_some_and(|(_, proof)| {
        let refers = REFERENCES.iter().any(|reference| proof.contains(reference));
        refers || proof.trim().chars().count() >= PROOF_CHARS_MIN
    })
}

/// The bytes of `unsafe impl` blocks: the contract of their functions is the trait's.
fn unsafe_impls(masked: &Masked) -> Vec<Range<usize>> {
    let impls = masked.words("unsafe").filter(|at| after(masked, *at).starts_with("impl"));
    impls
        .filter_map(|at| {
            let open = at + masked.code[at..].find('{')?;
            Some(open..masked.closing_brace(open)?)
        })
        .collect()
}

fn after(masked: &Masked, at: usize) -> &str {
    masked.code[at + "unsafe".len()..].trim_start()
}

fn is_function(masked: &Masked, at: usize) -> bool {
    after(masked, at).starts_with("fn ")
}

/// `unsafe fn(...)` as a type, and `unsafe extern` around declarations, do nothing themselves.
fn is_function_type(masked: &Masked, at: usize) -> bool {
    let rest = after(masked, at);
    rest.starts_with("fn(") || rest.starts_with("extern")
}

/// The comment beside a line and above its statement, its attributes skipped.
fn comment_above(masked: &Masked, line: usize) -> String {
    let code: Vec<_> = masked.code.lines().collect();
    let comments: Vec<_> = masked.comments.lines().collect();
    let mut above = vec![comments[line - 1]];
    let mut index = line - 1;
    while index > 0 {
        index -= 1;
        let statement = code[index].trim();
        let is_comment = statement.is_empty() && !comments[index].trim().is_empty();
        let is_attribute = statement.starts_with("#[");
        // A line that ends nothing belongs to the statement of the line below it.
        let continues = !statement.is_empty() && !statement.ends_with([';', '{', '}', ',']);
        if !(is_comment || is_attribute || continues) {
            break;
        }
        above.push(comments[index]);
    }
    above.reverse();
    above.iter().map(|part| part.trim().trim_start_matches('/')).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: &str = "// SAFETY: the arena owns this memory until the ring is gone.";

    #[test]
    fn unsafe_outside_the_fence_is_found() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        let tree = Tree::of_texts(&[
            ("engine/x/src/lib.rs", text),
            ("engine/y/src/lib.rs", "#![forbid(unsafe_code)] // unsafe"),
            ("reactors/uring/src/lib.rs", text),
        ]);
        let found = unsafe_stays_in_uring(&tree);
        assert_eq!((found[0].path.as_str(), found.len()), ("engine/x/src/lib.rs", 1));
    }

    fn lines_without_proof(text: &str) -> Vec<usize> {
        let tree = Tree::of_texts(&[("reactors/uring/src/a.rs", text)]);
        unsafe_is_argued(&tree).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_bare_or_empty_proof_is_found() {
        assert_eq!(lines_without_proof("fn f() {\n    unsafe { g() }\n}\n"), [2]);
        assert_eq!(lines_without_proof("// SAFETY: it is valid.\nunsafe impl Send for A {}"), [2]);
        let proof_too_far = format!("{PROOF}\nlet a = 1;\nunsafe {{ g() }};\n");
        assert_eq!(lines_without_proof(&proof_too_far), [3]);
    }

    #[test]
    fn a_proof_above_the_statement_is_enough() {
        assert!(lines_without_proof(&format!("{PROOF}\nunsafe {{ g() }};\n")).is_empty());
        let split = format!("{PROOF}\n#[allow(x)]\nlet a =\n    unsafe {{ g() }};\n");
        assert!(lines_without_proof(&split).is_empty());
        let function = "/// G.\n///\n/// # Safety\n/// The caller keeps the buffer until the \
                        completion.\npub unsafe fn g() {}\ntype G = unsafe fn(u8);\n";
        assert!(lines_without_proof(function).is_empty());
        let as_above = "// SAFETY: as above.\nunsafe { g() };\n";
        assert!(lines_without_proof(as_above).is_empty());
    }

    #[test]
    fn functions_of_an_unsafe_trait_have_its_contract() {
        let text = format!(
            "{PROOF}\nunsafe impl A for B {{\n    unsafe fn g() {{\n        unsafe {{ h() }}\n    \
             }}\n}}\nunsafe fn i() {{}}\n"
        );
        assert_eq!(lines_without_proof(&text), [4, 7]);
    }
}
