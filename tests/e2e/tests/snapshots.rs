//! Snapshots of perfctl against a running daemon: every command with its results and errors.
//!
//! The snapshots are `tests/cmd/*.trycmd`. To record them again:
//! `TRYCMD=overwrite cargo test -p e2e --test snapshots`, with `POLLUXD` as for the other tests.
//! `[..]` stands for what differs between runs; overwriting keeps it in lines that still match.

use e2e::{Setup, perfctl};
use std::path::Path;

/// A configuration file. Paths are relative to it.
const FILE: &str = "\
[node]
state_dir = \"state\"
control = \"control.sock\"
cores = [0]
[[portal]]
address = \"PORTAL\"
[[volume]]
name = \"a\"
kind = \"memory\"
size = \"1MiB\"
";

/// A file that perfctl is asked to apply, with two errors.
const BROKEN: &str = "\
[[volume]]
name = \"a\"
kind = \"memory\"
size = \"big\"
[[volume]]
name = \"a\"
kind = \"memory\"
size = \"1MiB\"
";

/// A file that changes the demo volume's target, and removes all else.
const CHANGED: &str = "\
[node]
spin_us = 7
[[volume]]
name = \"demo\"
kind = \"file\"
size = \"1GiB\"
[[target]]
name = \"iqn.2026-11.local.pollux:demo\"
alias = \"demo\"
luns = { 0 = { volume = \"demo\", read_only = true } }
initiators = [\"iqn.2026-11.org.example:host1\"]
";

#[test]
fn results_and_errors_of_perfctl_are_as_recorded() {
    record(Setup::demo(), "managed.trycmd");
    record(Setup::demo().with_config(FILE), "file.trycmd");
}

/// Runs the commands of a snapshot in the directory of a daemon, where its control socket is.
fn record(setup: Setup, snapshot: &str) {
    let daemon = setup.start();
    let control = daemon.setup().control_socket();
    let place = control.parent().expect("its directory");
    for (file, text) in [
        ("broken.toml", BROKEN),
        ("changed.toml", CHANGED),
        ("empty.toml", ""),
        ("secret", "correct horse battery\n"),
        ("short", "horse\n"),
    ] {
        std::fs::write(place.join(file), text).expect("a file");
    }
    // The only test of this program, so no other thread depends on the working directory. Relative
    // paths keep the snapshots independent of the machine.
    std::env::set_current_dir(place).expect("the directory exists");
    let cases = trycmd::TestCases::new();
    cases.register_bin("perfctl", trycmd::schema::Bin::Path(perfctl()));
    cases.case(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd").join(snapshot));
    cases.env("COLUMNS", "100").env("NO_COLOR", "1");
    for (name, value) in [
        ("[VERSION]", env!("CARGO_PKG_VERSION").to_owned()),
        ("[PORTAL]", daemon.portal().to_string()),
    ] {
        cases.insert_var(name, value).expect("a valid name");
    }
    cases.run();
}
