//! What fits on a page: files, functions, inline tests, the front door of a crate.

use crate::{File, Finding, Masked, Tree};

const FILE_LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 300;
const LIB_LINES_MAX: usize = 80;
const FUNCTION_LINES_MAX: usize = 70;

/// The list of functions that were too long when the rule came, and may only get shorter.
pub const RATCHET: &str = "tests/tidy/long-functions";
/// How many entries that list may have; it is lowered when one goes, and never raised.
const RATCHET_ENTRIES_MAX: usize = 0;

/// No source file has more than 600 lines, its tests not counted, and no inline test module
/// more than 300.
pub fn files_fit(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| is_source(file) && !file.is_test_only()) {
        let Some(text) = file.text() else { continue };
        let spans =
            if file.has_extension("rs") { Masked::new(text).test_spans() } else { Vec::new() };
        let test_lines: usize = spans.iter().map(|(from, to)| to - from + 1).sum();
        let lines = text.lines().count() - test_lines;
        if lines > FILE_LINES_MAX {
            let sentence = format!("has {lines} lines, more than {FILE_LINES_MAX}; split it");
            findings.push(Finding::new(&file.path, 1, sentence));
        }
        if test_lines > TEST_LINES_MAX {
            let sentence = format!(
                "has {test_lines} lines of inline tests, more than {TEST_LINES_MAX}; move them \
                 to a file tests.rs"
            );
            findings.push(Finding::new(&file.path, spans[0].0, sentence));
        }
    }
    findings
}

fn is_source(file: &File) -> bool {
    let is_script = file.bytes.starts_with(b"#!");
    is_script || ["rs", "py", "sh"].iter().any(|extension| file.has_extension(extension))
}

/// A `lib.rs` of the product says what the crate is and shows the way; it has no logic.
pub fn front_doors_are_short(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust() {
        if file.name() != "lib.rs" || file.path.starts_with("tests/") {
            continue;
        }
        let masked = Masked::new(text);
        let lines = text.lines().count();
        if lines > LIB_LINES_MAX {
            let sentence = format!("has {lines} lines, more than {LIB_LINES_MAX}");
            findings.push(Finding::new(&file.path, 1, sentence));
        }
        if let Some(function) = functions(&masked).first() {
            let sentence = format!("has logic (fn {}); give it a module", function.name);
            findings.push(Finding::new(&file.path, function.line, sentence));
        }
    }
    findings
}

/// One function: from the line of its `fn` to that of its closing brace.
struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

fn functions(masked: &Masked) -> Vec<Function<'_>> {
    let mut functions = Vec::new();
    for at in masked.words("fn") {
        let rest = masked.code[at + 2..].trim_start();
        let name_end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..name_end];
        // Without a name it is a function type, without a body a declaration.
        let Some(open) = body_start(masked, at).filter(|_| !name.is_empty()) else { continue };
        let Some(close) = masked.closing_brace(open) else { continue };
        let line = masked.line_of(at);
        functions.push(Function { name, line, lines: masked.line_of(close) - line + 1 });
    }
    functions
}

/// The offset of the `{` that opens the body of the function at `at`.
fn body_start(masked: &Masked, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in masked.code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// No function has more than 70 lines, but for those of the ratchet list, which may not grow;
/// a line of it is `path fn lines`.
pub fn functions_fit(tree: &Tree) -> Vec<Finding> {
    let mut entries: Vec<_> = ratchet_entries(tree.text(RATCHET).unwrap_or_default());
    let mut findings = Vec::new();
    if entries.len() > RATCHET_ENTRIES_MAX {
        let sentence = format!(
            "has {} entries; it may only shrink, and {RATCHET_ENTRIES_MAX} are left",
            entries.len()
        );
        findings.push(Finding::new(RATCHET, 1, sentence));
    }
    for (file, text) in tree.rust() {
        for long in functions(&Masked::new(text)).iter().filter(|f| f.lines > FUNCTION_LINES_MAX) {
            let index = entries.iter().position(|entry| {
                entry.path == file.path && entry.name == long.name && entry.lines >= long.lines
            });
            if let Some(index) = index {
                entries.remove(index);
                continue;
            }
            let sentence = format!(
                "fn {} has {} lines, more than {FUNCTION_LINES_MAX}; keep the branches here and \
                 move the leaves out",
                long.name, long.lines
            );
            findings.push(Finding::new(&file.path, long.line, sentence));
        }
    }
    findings.extend(entries.iter().map(|entry| {
        let sentence = format!("{} {} is not too long any more; remove it", entry.path, entry.name);
        Finding::new(RATCHET, entry.line, sentence)
    }));
    findings
}

struct RatchetEntry<'a> {
    path: &'a str,
    name: &'a str,
    lines: usize,
    line: usize,
}

fn ratchet_entries(text: &str) -> Vec<RatchetEntry<'_>> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(path), Some(name), Some(lines)) = (words.next(), words.next(), words.next()) {
            let lines = lines.parse().unwrap_or(0);
            entries.push(RatchetEntry { path, name, lines, line: index + 1 });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found_but_their_tests_do_not_count() {
        let code = "fn f() {}\n".repeat(590);
        let tests = format!("{code}#[cfg(test)]\nmod tests {{\n{}}}\n", "// t\n".repeat(100));
        let long = "x\n".repeat(601);
        let many_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// t\n".repeat(300));
        let tree = Tree::of_texts(&[
            ("a.rs", tests.as_str()),
            ("b.rs", long.as_str()),
            ("c/tests.rs", long.as_str()),
            ("d.py", long.as_str()),
            ("e.md", long.as_str()),
            ("f.rs", many_tests.as_str()),
        ]);
        let found: Vec<_> = files_fit(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["b.rs", "d.py", "f.rs"]);
    }

    #[test]
    fn logic_and_length_in_a_front_door_are_found() {
        let long = "//! A.\n".repeat(81);
        let tree = Tree::of_texts(&[
            ("engine/a/src/lib.rs", "//! A.\npub mod b;\n"),
            ("engine/b/src/lib.rs", long.as_str()),
            ("engine/c/src/lib.rs", "pub fn f() {}\n"),
            ("tests/d/src/lib.rs", "pub fn f() {}\n"),
        ]);
        let found: Vec<_> =
            front_doors_are_short(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["engine/b/src/lib.rs", "engine/c/src/lib.rs"]);
    }

    #[test]
    fn long_functions_are_found() {
        let fits = format!("fn f(a: [u8; 4]) {{\n{}}}\n", "    g();\n".repeat(68));
        let long = format!("trait T {{ fn d(&self); }}\n{}", fits.replace("{\n", "{\n\n"));
        let tree = Tree::of_texts(&[("a.rs", fits.as_str()), ("b.rs", long.as_str())]);
        let found = functions_fit(&tree);
        assert_eq!((found[0].path.as_str(), found[0].line, found.len()), ("b.rs", 2, 1));
        assert!(found[0].sentence.starts_with("fn f has 71 lines, more than 70"));
    }

    #[test]
    fn a_ratchet_entry_excuses_its_function_but_none_may_be_added() {
        let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(70));
        let found = functions_fit(&Tree::of_texts(&[
            ("a.rs", long.as_str()),
            (RATCHET, "a.rs f 72\n# a comment\nb.rs gone 80\n"),
        ]));
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "tests/tidy/long-functions:1: has 2 entries; it may only shrink, and 0 are left",
                "tests/tidy/long-functions:3: b.rs gone is not too long any more; remove it",
            ]
        );
    }
}
