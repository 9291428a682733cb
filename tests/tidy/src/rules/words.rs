//! What was meant to go before the commit, and marks that nobody owns.

use crate::{Finding, Masked, Tree};

// Put together here, so that this file does not hold what it looks for.
const FIX_MARK: &str = concat!("FIX", "ME");
const LATER_MARK: &str = concat!("TO", "DO");
const MACROS: &[&str] = &["dbg", "todo", "unimplemented"];

/// No file says that it is to be mended.
pub fn nothing_is_left_to_fix(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text().unwrap_or_default().lines().enumerate() {
            if line.contains(FIX_MARK) {
                let sentence = format!("says {FIX_MARK}; mend it before it is merged");
                findings.push(Finding::new(&file.path, index + 1, sentence));
            }
        }
    }
    findings
}

/// No code calls `dbg!`, `todo!` or `unimplemented!`.
pub fn no_unfinished_code(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust() {
        let masked = Masked::new(text);
        for name in MACROS {
            let calls =
                masked.words(name).filter(|at| masked.code[at + name.len()..].starts_with('!'));
            for at in calls {
                let sentence = format!("calls {name}!, which is for the time of writing");
                findings.push(Finding::new(&file.path, masked.line_of(at), sentence));
            }
        }
    }
    findings
}

/// A mark for later names its owner and a decision record: `(owner, 0007)` after it, where
/// docs/decisions has a file whose name begins with `0007`.
pub fn later_has_an_owner(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text().unwrap_or_default().lines().enumerate() {
            let Some((before, after)) = line.split_once(LATER_MARK) else { continue };
            let is_word =
                |char: Option<char>| char.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if is_word(before.chars().next_back()) || is_word(after.chars().next()) {
                continue;
            }
            if !names_owner_and_decision(tree, after) {
                let sentence = format!(
                    "has a {LATER_MARK} without '(owner, decision)', where decision begins the \
                     name of a file of docs/decisions"
                );
                findings.push(Finding::new(&file.path, index + 1, sentence));
            }
        }
    }
    findings
}

fn names_owner_and_decision(tree: &Tree, after: &str) -> bool {
    let inside = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let Some((owner, decision)) = inside.and_then(|(inside, _)| inside.split_once(',')) else {
        return false;
    };
    let (owner, decision) = (owner.trim(), decision.trim());
    let record = format!("docs/decisions/{decision}");
    !owner.is_empty()
        && !decision.is_empty()
        && tree.files.iter().any(|file| file.path.starts_with(&record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_to_fix_are_found() {
        let text = format!("one\n// {FIX_MARK}: two\n");
        let tree = Tree::of_texts(&[("a.md", "fine"), ("b.sh", text.as_str())]);
        let found = nothing_is_left_to_fix(&tree);
        assert_eq!((found[0].path.as_str(), found[0].line, found.len()), ("b.sh", 2, 1));
    }

    #[test]
    fn unfinished_code_is_found_but_not_in_prose() {
        let text = "// todo!()\nfn f() {\n    dbg!(\"todo!()\");\n    not_todo!();\n}\n";
        let found = no_unfinished_code(&Tree::of_texts(&[("a.rs", text)]));
        assert_eq!((found[0].line, found.len()), (3, 1));
    }

    #[test]
    fn a_mark_for_later_needs_owner_and_decision() {
        let record = ("docs/decisions/0007-ring.md", "# Ring");
        let judge = |line: String| {
            later_has_an_owner(&Tree::of_texts(&[record, ("a.rs", line.as_str())])).len()
        };
        assert_eq!(judge(format!("// {LATER_MARK}(mara, 0007): wait")), 0);
        assert_eq!(judge(format!("const {LATER_MARK}_LIST: u8 = 0;")), 0);
        assert_eq!(judge(format!("// {LATER_MARK}: wait")), 1);
        assert_eq!(judge(format!("// {LATER_MARK}(mara): wait")), 1);
        assert_eq!(judge(format!("// {LATER_MARK}(mara, 0008): wait")), 1);
        assert_eq!(judge(format!("// {LATER_MARK}(mara, ): wait")), 1);
    }
}
