//! Configurations on a file system that does not answer: they hold up nothing but themselves.

use std::process::{Command, Output, Stdio};

use e2e::{Daemon, Held, HeldFiles, perfctl};

const NEW: &str = "iqn.2026-11.local.pollux:new";

fn run(daemon: &Daemon, words: &[&str]) -> Output {
    let mut command = Command::new(perfctl());
    command.arg("--control").arg(daemon.setup().control_socket()).args(words);
    command.stdin(Stdio::null()).output().expect("perfctl beside polluxd")
}

/// What perfctl prints where it succeeds.
fn asked(daemon: &Daemon, words: &[&str]) -> String {
    let output = run(daemon, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Begins an operation that does not end; gives its number.
fn begun(daemon: &Daemon, words: &[&str]) -> String {
    let said = asked(daemon, &[words, &["--no-wait", "--json"]].concat());
    let id = said.trim().strip_prefix("{\"operation\":").and_then(|rest| rest.strip_suffix('}'));
    id.unwrap_or_else(|| panic!("{words:?} is not in progress: {said}")).to_owned()
}

/// A mount whose files do not open, and the path of one.
fn hung() -> (HeldFiles, String) {
    let files = HeldFiles::mount();
    let path = files.add("pollux.toml", 4096);
    files.hold(Held::Open);
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    (files, path)
}

/// Every later change waited for it, until a restart.
#[test]
fn a_configuration_that_does_not_open_holds_up_no_change_and_can_be_cancelled() {
    let daemon = Daemon::demo();
    let (files, path) = hung();
    let apply = begun(&daemon, &["apply", &path]);
    files.wait_until_held();
    asked(&daemon, &["volume", "create", "a", "--size", "1MiB"]);
    asked(&daemon, &["target", "create", NEW]);
    let cancelled = asked(&daemon, &["operation", "cancel", &apply]);
    let words = format!("failed: operation {apply} was cancelled; nothing was changed");
    assert!(cancelled.contains(&words), "{cancelled}");
    let again = run(&daemon, &["operation", "cancel", &apply]);
    let refusal = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(refusal.contains("cannot be cancelled any more: config.apply"), "{refusal}");
    assert!(asked(&daemon, &["status"]).contains("operations     none in progress"));
    // What its worker reads in the end is not applied.
    files.release();
    let status = asked(&daemon, &["status"]);
    assert!(status.contains("generation     3"), "{status}");
}

/// The thread that writes all changes read the secrets.
#[test]
fn a_secret_that_does_not_open_holds_up_no_change() {
    let daemon = Daemon::demo();
    let (files, path) = hung();
    let text = format!(
        "[[target]]\nname = \"{NEW}\"\nchap = {{ name = \"alice\", secret_file = \"{path}\" }}\n"
    );
    let config = daemon.setup().state_directory().join("new.toml");
    std::fs::write(&config, text).expect("a file");
    let check = begun(&daemon, &["apply", "--check", config.to_str().expect("UTF-8")]);
    files.wait_until_held();
    asked(&daemon, &["volume", "create", "a", "--size", "1MiB"]);
    files.release();
    // Its file is full of zeros, which are no line of text but a secret of 4096 bytes.
    let output = run(&daemon, &["operation", "wait", &check]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("the secret is longer than 255 bytes"), "{error}");
}

/// They took all workers, and no volume was opened any more.
#[test]
fn many_configurations_that_do_not_open_leave_workers_for_volumes() {
    let daemon = Daemon::demo();
    let (files, path) = hung();
    for _ in 0..40 {
        begun(&daemon, &["apply", "--check", &path]);
    }
    files.wait_until_held();
    let created = asked(&daemon, &["volume", "create", "a", "--size", "1MiB"]);
    assert!(created.contains("volume a created"), "{created}");
    drop(files);
}
