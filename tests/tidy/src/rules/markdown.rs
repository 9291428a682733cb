//! Pages that lead somewhere and have one title.

use crate::{Finding, Tree};

/// Every relative link of a page leads to a file or folder of the project.
pub fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.markdown() {
        for (line, content) in prose_lines(text) {
            for link in links(content) {
                let target = link.split(['#', ' ']).next().unwrap_or_default();
                if target.is_empty() || target.contains(':') {
                    continue;
                }
                let resolved = resolve(&file.path, target);
                if !resolved.is_some_and(|path| exists(tree, &path)) {
                    let sentence = format!("links to '{target}', which is not there");
                    findings.push(Finding::new(&file.path, line, sentence));
                }
            }
        }
    }
    findings
}

/// Every page begins with its one `#` title.
pub fn one_title_each(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.markdown() {
        let titles: Vec<_> =
            prose_lines(text).filter(|(_, content)| content.starts_with("# ")).collect();
        let begins = text.lines().next().is_some_and(|line| line.starts_with("# "));
        if titles.len() != 1 || !begins {
            let line = titles.get(1).map_or(1, |(line, _)| *line);
            let sentence = format!("has {} '#' titles; a page begins with its one", titles.len());
            findings.push(Finding::new(&file.path, line, sentence));
        }
    }
    findings
}

/// The lines (from 1) outside fenced blocks.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// What stands between `](` and `)`, outside of inline code.
fn links(line: &str) -> Vec<&str> {
    let prose = line.split('`').step_by(2);
    let after_bracket = prose.flat_map(|part| part.split("](").skip(1));
    after_bracket.filter_map(|rest| rest.split(')').next()).collect()
}

/// The path from the root of what a page links to; `None` if it leads out of the project.
fn resolve(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

fn exists(tree: &Tree, path: &str) -> bool {
    let folder = format!("{path}/");
    path.is_empty()
        || tree.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let page = "# A\n[b](../b.rs#f) [c](c/) [x](https://example.org) [t](#a)\n\
                    [gone](gone.md) `[code](no.md)`\n```\n[fenced](no.md)\n```\n[out](../../z)\n";
        let tree = Tree::of_texts(&[("docs/a.md", page), ("b.rs", ""), ("docs/c/d.md", "# D")]);
        let found: Vec<_> = links_resolve(&tree).iter().map(|finding| finding.line).collect();
        assert_eq!(found, [3, 7]);
    }

    #[test]
    fn pages_without_one_title_are_found() {
        let tree = Tree::of_texts(&[
            ("a.md", "# A\n```\n# comment\n```\n## B\n"),
            ("b.md", "# A\n\n# B\n"),
            ("c.md", "text\n"),
            ("d.md", "text\n# D\n"),
        ]);
        let found: Vec<_> = one_title_each(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        assert_eq!(found, [("b.md".into(), 3), ("c.md".into(), 1), ("d.md".into(), 1)]);
    }
}
