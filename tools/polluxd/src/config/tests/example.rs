//! `pollux.example.toml` against the tables of keys: every key is in it, with its range and
//! default.

use super::*;
use crate::config::objects::TARGET_KEYS;
use std::collections::BTreeSet;

/// A key of the example: the header of its table, its name, its value, and the comment above it.
struct Entry {
    table: &'static str,
    key: &'static str,
    comment: String,
}

const EXAMPLE: &str = include_str!("../../../pollux.example.toml");

/// Every key of the example, those that are commented out too.
fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut table, mut comment) = ("", String::new());
    for line in EXAMPLE.lines() {
        let text = line.strip_prefix("# ").unwrap_or(line);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match text.split_once(" = ") {
            _ if text.starts_with('[') => (table, comment) = (text, String::new()),
            Some((key, _)) if key.chars().all(is_name) => {
                entries.push(Entry { table, key, comment: std::mem::take(&mut comment) });
            }
            Some(_) | None if text.is_empty() => comment.clear(),
            Some(_) | None => comment = comment + text + " ",
        }
    }
    entries
}

fn keys_of(table: &str) -> BTreeSet<&'static str> {
    entries().iter().filter(|e| e.table == table).map(|e| e.key).collect()
}

/// The comment of a key, where it stands for the first time.
fn comment(table: &str, key: &str) -> String {
    let mut entries = entries().into_iter();
    let entry = entries.find(|e| e.table == table && e.key == key && !e.comment.is_empty());
    entry.unwrap_or_else(|| panic!("{table} has no comment of {key}")).comment
}

/// The keys that the parser takes, by its own words.
fn known(table: &str) -> BTreeSet<String> {
    let faults = faults(&format!("{table}\nnone = 1\n"));
    let words = faults.iter().find_map(|fault| fault.split_once("unknown key; the keys are "));
    words.unwrap().1.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_example_has_each_key_of_the_node_with_its_range_and_default() {
    let expected: BTreeSet<_> = NODE_KEYS.iter().map(|key| key.name).collect();
    assert_eq!(keys_of("[node]"), expected);
    for key in NODE_KEYS {
        let comment = comment("[node]", key.name);
        let default = format!("Default: {}. ", key.default_text());
        assert!(comment.contains(&default), "{}: {default:?} is not in {comment:?}", key.name);
        if let Some(range) = key.range_text() {
            let range = format!("Range: {range}. ");
            assert!(comment.contains(&range), "{}: {range:?} is not in {comment:?}", key.name);
        }
    }
}

#[test]
fn the_example_has_each_key_of_what_is_served() {
    for (table, text) in [
        ("[[portal]]", "[[portal]]"),
        ("[[volume]]", "[[volume]]"),
        ("[[target]]", "[[target]]"),
        ("[discovery]", "[discovery]"),
    ] {
        let keys: BTreeSet<_> = keys_of(table).iter().map(|&key| key.to_owned()).collect();
        assert_eq!(keys, known(text), "{table}");
    }
}

#[test]
fn each_key_of_volumes_and_targets_has_a_row() {
    let with_name = |mut names: BTreeSet<String>| {
        names.insert("name".into());
        names
    };
    let volume = VOLUME_KEYS.iter().map(|key| key.name.to_owned()).collect();
    assert_eq!(with_name(volume), known("[[volume]]"));
    let target = TARGET_KEYS.iter().map(|key| key.name.to_owned()).collect();
    assert_eq!(with_name(target), known("[[target]]"));
}

/// Each key is required or has a default. A default that is a value means the same as no value.
#[test]
fn the_defaults_in_the_example_are_those_of_the_parser() {
    let mut compared = Vec::new();
    for (table, required) in [
        ("[[portal]]", "address = \"[::1]:1\"\n"),
        ("[[volume]]", "name = \"a\"\nkind = \"memory\"\nsize = \"1GiB\"\n"),
        ("[[target]]", "name = \"iqn.2026-11.a\"\n"),
    ] {
        for key in keys_of(table) {
            let comment = comment(table, key);
            let Some((_, default)) = comment.split_once("Default: ") else {
                assert!(comment.contains("Required."), "{table} {key}: {comment:?}");
                continue;
            };
            let (default, _) = default.split_once(". ").unwrap();
            let line = format!("{key} = {default}\n");
            if toml::from_str::<toml::Table>(&line).is_ok() {
                let without = format!("{table}\n{required}");
                // A target can have group 1 where no portal has another.
                assert_eq!(read(&format!("{without}{line}")), read(&without), "{table} {key}");
                compared.push(key);
            }
        }
    }
    assert_eq!(
        compared,
        ["group", "adopt", "block_size", "read_only", "whole_blocks", "luns", "portal_group"]
    );
}

#[test]
fn the_example_is_valid_with_all_its_keys() {
    let commented_out = |line: &str| {
        let text = line.strip_prefix("# ")?;
        let is_key = text.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        (is_key || text == "[discovery]").then(|| text.to_owned())
    };
    let lines = EXAMPLE.lines().map(|line| commented_out(line).unwrap_or_else(|| line.to_owned()));
    let text = lines.collect::<Vec<_>>().join("\n");
    let secret = |path: &Path| Ok(path.display().to_string().into_bytes());
    let (_, config) = check(Source { file: Path::new(FILE), text: &text }, &secret).unwrap();
    assert_eq!(config.node.socket_buffer, Some(4_194_304));
    assert_eq!(config.node.naa_oui, Some([0x00, 0xa0, 0xb1]));
    assert!(config.discovery_chap.is_some());
    assert!(config.targets[1].chap.as_ref().unwrap().target.is_some());
}
