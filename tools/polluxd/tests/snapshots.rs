//! Snapshots of everything that polluxd prints without serving: help, `--check`, start errors.
//!
//! The snapshots are `tests/cmd/*.trycmd`, the configurations that they check are in
//! `tests/cmd/config`. To record them again:
//! `TRYCMD=overwrite cargo test -p polluxd --test snapshots`.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn help_and_errors_are_as_recorded() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(tests.join("config")).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), place.path().join(file.file_name())).unwrap();
    }
    for (name, secret, mode) in [
        ("secret", "correct horse battery", 0o600),
        ("open-secret", "correct horse battery", 0o644),
        ("short-secret", "horse", 0o600),
    ] {
        let path = place.path().join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let shared = place.path().join("shared-state");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    // The only test of this binary, so no other thread depends on the working directory.
    std::env::set_current_dir(place.path()).unwrap();
    trycmd::TestCases::new()
        .case(tests.join("*.trycmd"))
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "info")
        .insert_var("[VERSION]", env!("CARGO_PKG_VERSION"))
        .unwrap();
}
