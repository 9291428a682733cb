//! A conversion that cannot fail says why; one that can fail does not hide it.

use crate::{Finding, Masked, Tree};

/// A reason says something about the case.
const REASON_CHARS_MIN: usize = 15;

/// The value in place of what does not fit, as in `.unwrap_or(u32::MAX)`, or any value in place
/// of a failed `try_from` or `try_into`, has a reason: a `//` comment at the end of the line, or
/// on one of the two lines above the statement. Doc comments say what, not why.
pub fn conversions_have_a_reason(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust().filter(|(file, _)| !file.is_test_only()) {
        let mut masked = Masked::new(text);
        masked.code = masked.code_without_tests();
        for (at, _) in masked.code.match_indices(".unwrap_or") {
            if !hides_a_failure(&masked.code[..at], &masked.code[at..]) {
                continue;
            }
            let line = masked.line_of(at);
            if !masked.comments_on(line).into_iter().any(is_reason) {
                let sentence = "replaces what does not fit without a `//` comment on why that \
                                cannot happen or is right";
                findings.push(Finding::new(&file.path, line, sentence));
            }
        }
    }
    findings
}

fn hides_a_failure(before: &str, after: &str) -> bool {
    let converts = call_before(before).is_some_and(|call| {
        call.ends_with("try_from") || call.ends_with("try_into") || call.ends_with("try_from::<_>")
    });
    if after.starts_with(".unwrap_or_default()") {
        return converts;
    }
    let value = after.strip_prefix(".unwrap_or(");
    // A closure may panic, which hides nothing.
    let from_closure = after.strip_prefix(".unwrap_or_else(");
    let is_max = |value: &str| {
        let value = value.split(')').next().unwrap_or_default();
        value.rsplit("::").next().is_some_and(|last| last.trim() == "MAX")
    };
    value.is_some_and(|value| converts || is_max(value)) || from_closure.is_some_and(is_max)
}

/// What is called by the call that ends `code`.
fn call_before(code: &str) -> Option<&str> {
    let code = code.trim_end();
    let mut depth = 0_u32;
    for (offset, byte) in code.bytes().enumerate().rev() {
        match byte {
            b')' => depth += 1,
            b'(' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (byte == b'(').then(|| &code[..offset]);
        }
    }
    None
}

fn is_reason(comment: &str) -> bool {
    let comment = comment.trim();
    let is_doc = comment.starts_with("///") || comment.starts_with("//!");
    let text = comment.trim_start_matches('/').trim();
    comment.starts_with("//") && !is_doc && text.chars().count() >= REASON_CHARS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree = Tree::of_texts(&[("engine/x/src/a.rs", text)]);
        conversions_have_a_reason(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_silent_replacement_is_found() {
        assert_eq!(lines("let a = u32::try_from(b).unwrap_or(u32::MAX);"), [1]);
        assert_eq!(lines("let a = b\n    .checked_add(1)\n    .unwrap_or(u64::MAX);"), [3]);
        assert_eq!(lines("let a = u8::try_from(f(b)).unwrap_or(0);"), [1]);
        assert_eq!(lines("let a: u8 = f(b).try_into().unwrap_or_default();"), [1]);
        assert_eq!(lines("let a = u8::try_from(b).unwrap_or_else(|_| u8::MAX);"), [1]);
        assert_eq!(lines("/// It is much too long for that.\nlet a = b.unwrap_or(u8::MAX);"), [2]);
        let far = "// At most 8 of them per command.\nlet a = 1;\nlet b = 2;\n\
                   let c = d.unwrap_or(u8::MAX);";
        assert_eq!(lines(far), [4]);
        assert_eq!(lines("// Short.\nlet c = d.unwrap_or(u8::MAX);"), [2]);
    }

    #[test]
    fn a_reason_beside_or_above_is_enough() {
        let beside = "let a = u32::try_from(b).unwrap_or(u32::MAX); // At most 8 per command.";
        assert!(lines(beside).is_empty());
        let above = "// At most 8 of them per command.\nlet a =\n    b.unwrap_or(u8::MAX);";
        assert!(lines(above).is_empty());
        let two = "// At most 8 of them per command.\nlet a = b.unwrap_or(u8::MAX);\n\
                   let c = d.unwrap_or(u8::MAX);";
        assert!(lines(two).is_empty());
        let field = "A {\n    // At most 8 of them per command.\n    \
                     a: b.unwrap_or(u8::MAX),\n}";
        assert!(lines(field).is_empty());
    }

    #[test]
    fn other_defaults_are_free() {
        assert!(lines("let a = b.parse().unwrap_or(0);").is_empty());
        assert!(lines("let a = u8::try_from(b).unwrap_or_else(|_| panic!());").is_empty());
        assert!(lines("let a = options.limit.unwrap_or(limits::SESSIONS_MAX);").is_empty());
        assert!(lines("#[cfg(test)]\nmod tests {\n    a.unwrap_or(u8::MAX);\n}").is_empty());
    }
}
