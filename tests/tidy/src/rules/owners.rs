//! State has one owner, and an owner is a page or three, not a crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Finding, Masked, Tree};

const TYPE_FILES_MAX: usize = 3;

/// Folders of siblings of one shape, of which a reader opens one: each operation of the ring is a
/// file with its start and its completion. They do not count.
const SIBLINGS: &[&str] = &["reactors/uring/src/op/"];

/// Where the shard is.
pub(crate) const SHARD: &str = "engine/shard/src/";

/// The inherent methods of a type are in at most 3 files of its crate; each file beyond them is
/// found. A file that defines a type means its own, so types of one name do not add up.
pub fn methods_are_together(tree: &Tree) -> Vec<Finding> {
    let mut places = BTreeMap::<_, Places>::new();
    for (file, text) in tree.rust().filter(|(file, _)| !file.is_test_only()) {
        let Some((folder, _)) = file.path.split_once("/src/") else { continue };
        if SIBLINGS.iter().any(|siblings| file.path.starts_with(siblings)) {
            continue;
        }
        let mut masked = Masked::new(text);
        masked.code = masked.code_without_tests();
        for (name, line) in inherent_impls(&masked) {
            let places = places.entry((folder, name.to_owned())).or_default();
            if defines(&masked, name) {
                places.is_defined_beside = true;
            } else {
                places.elsewhere.entry(&file.path).or_insert(line);
            }
        }
    }
    let mut findings = Vec::new();
    for ((_, name), places) in &places {
        let first = usize::from(places.is_defined_beside);
        let files = first + places.elsewhere.len();
        for (path, line) in places.elsewhere.iter().skip(TYPE_FILES_MAX - first) {
            let sentence = format!(
                "is one of {files} files with methods of {name}, more than {TYPE_FILES_MAX}; \
                 part its state among owners"
            );
            findings.push(Finding::new(path, *line, sentence));
        }
    }
    findings
}

#[derive(Default)]
struct Places<'a> {
    /// Whether one of the files is that of the definition.
    is_defined_beside: bool,
    /// The others, each with the line of its first block.
    elsewhere: BTreeMap<&'a str, usize>,
}

/// The types of inherent impl blocks, each with its line.
fn inherent_impls(masked: &Masked) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for at in masked.words("impl") {
        let before = masked.code[..at].trim_end();
        // As a type, `impl` stands behind an arrow, a colon, a bracket or the like.
        let is_item = before.is_empty() || before.ends_with(['}', ';', ']', '{']);
        if !is_item || before.ends_with("#[cfg(test)]") {
            continue;
        }
        let rest = &masked.code[at + "impl".len()..];
        let Some(header) = rest.split('{').next() else { continue };
        if let Some(name) = type_of(header) {
            found.push((name, masked.line_of(at)));
        }
    }
    found
}

/// The type of an impl block's header, unless the block is that of a trait.
fn type_of(header: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let mut start = 0;
    let mut words = Vec::new();
    for (offset, char) in header.char_indices() {
        let is_word = depth == 0 && (char.is_alphanumeric() || char == '_');
        if !is_word && start < offset {
            words.push(&header[start..offset]);
        }
        if !is_word {
            start = offset + char.len_utf8();
        }
        match char {
            '<' | '(' | '[' => depth += 1,
            '>' if header[..offset].ends_with('-') => {}
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    words.push(&header[start..]);
    let words: Vec<_> = words.into_iter().filter(|word| !word.trim().is_empty()).collect();
    let words = words.split(|word| *word == "where").next().unwrap_or_default();
    if words.contains(&"for") { None } else { words.last().copied() }
}

fn defines(masked: &Masked, name: &str) -> bool {
    masked.words(name).any(|at| {
        let before = masked.code[..at].trim_end();
        ["struct", "enum", "union"].iter().any(|kind| before.ends_with(kind))
    })
}

/// Whoever owns a part of the shard's state never reaches through the shard to its neighbours:
/// outside of its own file, tests and the front door of the crate nobody names `Shard`.
pub fn nobody_reaches_through_the_shard(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust().filter(|(file, _)| !file.is_test_only()) {
        let Some(inside) = file.path.strip_prefix(SHARD) else { continue };
        if inside == "shard.rs" || inside == "lib.rs" {
            continue;
        }
        let mut masked = Masked::new(text);
        masked.code = masked.code_without_tests();
        let lines: BTreeSet<_> = masked.words("Shard").map(|at| masked.line_of(at)).collect();
        findings.extend(lines.into_iter().map(|line| {
            let sentence = "names Shard; take the parts that are needed, or leave a wake";
            Finding::new(&file.path, line, sentence)
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(texts: &[(&str, &str)]) -> Vec<String> {
        methods_are_together(&Tree::of_texts(texts)).into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn methods_in_a_fourth_file_are_found() {
        let home = ("a/src/home.rs", "struct A<T>(T);\nimpl<T: Fn() -> u8> A<T> {}\n");
        let one = ("a/src/one.rs", "impl<T> A<T> where T: B {}\n");
        let two = ("a/src/two.rs", "use x;\n#[x]\nimpl super::A<u8> {}\nimpl A<u16> {}\n");
        let three = ("a/src/three.rs", "fn f() {}\nimpl A<u8> {}\n");
        assert!(spread(&[home, one, two]).is_empty());
        assert_eq!(spread(&[home, one, three, two]), ["a/src/two.rs"]);
    }

    #[test]
    fn other_blocks_do_not_count() {
        let home = ("a/src/home.rs", "struct A;\nimpl A {}\n");
        let one = ("a/src/one.rs", "impl A {}\n");
        let two = ("a/src/two.rs", "impl A {}\n");
        let other_crate = ("b/src/three.rs", "impl A {}\n");
        let of_a_trait =
            ("a/src/four.rs", "impl<T> From<A> for A {}\nfn f(a: impl A) -> impl A {}");
        let test = ("a/src/five.rs", "#[cfg(test)]\nimpl A {}\n");
        let tests = ("a/src/tests.rs", "impl A {}\n");
        let sibling = ("reactors/uring/src/op/read.rs", "impl A {}\n");
        let namesake = ("a/src/six.rs", "enum A {}\nimpl A {}\n");
        assert!(
            spread(&[home, one, two, other_crate, of_a_trait, test, tests, sibling, namesake])
                .is_empty()
        );
    }

    #[test]
    fn reaching_through_the_shard_is_found() {
        let text =
            "//! The Shard.\nuse crate::shard::Shard;\nfn f(shard: &mut Shard, id: ShardId) {}\n";
        let tree = Tree::of_texts(&[
            ("engine/shard/src/shard.rs", text),
            ("engine/shard/src/lib.rs", text),
            ("engine/shard/src/task/admission.rs", text),
            ("engine/shard/src/tests/world.rs", text),
            ("reactors/reactor/src/node.rs", text),
        ]);
        let found = nobody_reaches_through_the_shard(&tree);
        let found: Vec<_> = found.into_iter().map(|f| (f.path, f.line)).collect();
        let path = "engine/shard/src/task/admission.rs";
        assert_eq!(found, [(path.to_owned(), 2), (path.to_owned(), 3)]);
    }
}
