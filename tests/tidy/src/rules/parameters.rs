//! What a function is given has a name: a tuple is a struct whose fields have none.

use crate::{Finding, Masked, Tree};

/// No parameter of a function is a tuple, neither by its pattern nor by its type. Closures, and
/// slices or options of tuples, are free.
pub fn no_tuple_parameters(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust().filter(|(file, _)| !file.is_test_only()) {
        let mut masked = Masked::new(text);
        masked.code = masked.code_without_tests();
        for at in masked.words("fn") {
            let Some((name, list)) = signature(&masked.code[at + "fn".len()..]) else { continue };
            if list.into_iter().any(is_tuple) {
                let sentence = format!("fn {name} takes a tuple; give its parts a struct");
                findings.push(Finding::new(&file.path, masked.line_of(at), sentence));
            }
        }
    }
    findings
}

/// The name and the parameters of the function whose `fn` stands before `text`; a function type
/// has no name and is not judged.
fn signature(text: &str) -> Option<(&str, Vec<&str>)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    let (name, mut rest) = text.split_at(end);
    if rest.starts_with('<') {
        rest = &rest[closing(rest)? + 1..];
    }
    let rest = rest.trim_start();
    if name.is_empty() || !rest.starts_with('(') {
        return None;
    }
    Some((name, split(&rest[1..closing(rest)?], ',')))
}

fn is_tuple(parameter: &str) -> bool {
    // A path has two colons; the one before the type stands alone.
    let parts = split(parameter, ':');
    let Some(kind) = parts.get(1) else { return false };
    let kind = kind.trim_start_matches(['&', ' ', '\n']).trim_end();
    let kind = match kind.strip_prefix('\'') {
        Some(lifetime) => lifetime.split_once(' ').map_or(lifetime, |(_, kind)| kind),
        None => kind,
    };
    let kind = kind.trim_start_matches("mut ").trim_start();
    kind.starts_with('(')
        && closing(kind) == Some(kind.len() - 1)
        && split(&kind[1..kind.len() - 1], ',').len() > 1
}

/// The offset of the bracket that closes the one at the start of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (offset, byte) in text.bytes().enumerate() {
        depth = depth_after(text, offset, depth);
        if depth == 0 {
            return matches!(byte, b')' | b']' | b'}' | b'>').then_some(offset);
        }
    }
    None
}

/// The parts of `text` between separators that stand in no bracket.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (offset, char) in text.char_indices() {
        depth = depth_after(text, offset, depth);
        let is_path =
            separator == ':' && (text[offset..].starts_with("::") || text[..offset].ends_with(':'));
        if depth == 0 && char == separator && !is_path {
            parts.push(&text[start..offset]);
            start = offset + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn depth_after(text: &str, offset: usize, depth: u32) -> u32 {
    match text.as_bytes()[offset] {
        b'(' | b'[' | b'{' | b'<' => depth + 1,
        b'>' if text[..offset].ends_with('-') => depth,
        b')' | b']' | b'}' | b'>' => depth.saturating_sub(1),
        _ => depth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree = Tree::of_texts(&[("engine/x/src/a.rs", text)]);
        no_tuple_parameters(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn tuple_parameters_are_found() {
        assert_eq!(lines("fn f((a, b): (u8, u8)) {}"), [1]);
        assert_eq!(lines("fn f(\n    &self,\n    pair: (u8, u8),\n) {}"), [1]);
        assert_eq!(lines("fn f<F: Fn(u8) -> u8>(a: std::ops::Range<u8>, b: &'a mut (A, B));"), [1]);
        assert_eq!(lines("impl A {\n    fn f(x: &(Vec<u8>, B)) {}\n}"), [2]);
    }

    #[test]
    fn other_parentheses_are_free() {
        assert!(lines("fn f(a: &[(u8, u8)], b: Option<(u8, u8)>) -> (u8, u8) {}").is_empty());
        assert!(lines("fn f(a: impl Fn((u8, u8)), b: &(dyn A<B, C> + D), c: ()) {}").is_empty());
        assert!(lines("fn f() { map(|(a, b): (u8, u8)| a) }\ntype F = fn((u8, u8));").is_empty());
        assert!(lines("#[cfg(test)]\nmod tests {\n    fn f(a: (u8, u8)) {}\n}").is_empty());
    }
}
