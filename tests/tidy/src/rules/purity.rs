//! The engine has no outside world: what it needs is passed in, what it wants is returned.

use crate::{Finding, Masked, Tree};

/// A word or path that reaches outside, and where it belongs instead.
const REACHES_OUT: &[(&str, &str)] = &[
    ("std::env", "configuration is passed in"),
    ("std::fs", "an I/O is an Action"),
    ("std::io", "an I/O is an Action"),
    ("std::os", "the reactor talks to the system"),
    ("std::process", "the daemon decides when to end"),
    ("std::thread", "the reactor is the thread"),
    ("Condvar", "one owner per piece of state; cores exchange messages"),
    ("Mutex", "one owner per piece of state; cores exchange messages"),
    ("RwLock", "one owner per piece of state; cores exchange messages"),
    ("mpsc", "cores exchange messages through the reactor's mailboxes"),
    ("TcpListener", "sockets belong to the reactor"),
    ("TcpStream", "sockets belong to the reactor"),
    ("UdpSocket", "sockets belong to the reactor"),
    ("Instant::now", "time is passed in as `now`"),
    ("SystemTime", "time is passed in as `now`"),
    ("println!", "what happened is an Action or an error"),
];

/// Code below engine/, but for its tests, does no I/O and has no clock, thread or lock.
pub fn engine_is_pure(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.rust() {
        if !file.path.starts_with("engine/") || file.is_test_only() {
            continue;
        }
        let masked = Masked::new(text);
        let tests = masked.test_spans();
        for (index, line) in masked.code.lines().enumerate() {
            let in_tests = tests.iter().any(|(from, to)| (*from..=*to).contains(&(index + 1)));
            if in_tests {
                continue;
            }
            for (path, instead) in REACHES_OUT.iter().filter(|(path, _)| line.contains(path)) {
                let sentence = format!("uses {path}, but the engine is pure: {instead}");
                findings.push(Finding::new(&file.path, index + 1, sentence));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaching_out_of_the_engine_is_found() {
        let text = "use std::net::IpAddr;\nuse std::fs::File; // std::io\nfn f() {\n    \
                    let now = Instant::now();\n}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let tree = Tree::of_texts(&[("engine/x/src/lib.rs", text), ("tools/y/src/a.rs", text)]);
        let found: Vec<_> = engine_is_pure(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        let path = "engine/x/src/lib.rs";
        assert_eq!(found, [(path.to_owned(), 2), (path.to_owned(), 4)]);
    }
}
