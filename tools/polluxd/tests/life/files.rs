//! Files that somebody names and that are not what they should be.

use super::Place;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn fifo(place: &Place, name: &str) -> PathBuf {
    let path = place.path().join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

fn private(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.file(name, text);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn target_with_secret(name: &str, secret: &Path) -> String {
    let chap = format!("{{ name = \"alice\", secret_file = {secret:?} }}");
    format!("[[target]]\nname = \"{name}\"\nchap = {chap}\n")
}

/// It read without bound, until the machine had no memory left.
#[test]
fn only_a_regular_file_of_bounded_length_is_applied() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let long = place.file("long.toml", "");
    std::fs::File::options().write(true).open(&long).unwrap().set_len(1 << 40).unwrap();
    let fifo = fifo(&place, "fifo");
    for (file, why) in [
        (Path::new("/dev/zero"), "it is a device; use a regular file"),
        (&*fifo, "it is a FIFO; use a regular file"),
        (place.path(), "it is a directory; use a regular file"),
        (&*long, "it is longer than 67108864 bytes; check the path"),
    ] {
        for check_only in [false, true] {
            let params = json!({"file": file.to_str().unwrap(), "check_only": check_only});
            let sentence = format!("cannot read {}: {why}", file.display());
            assert_eq!(daemon.refused("config.apply", &params), (-32006, sentence));
        }
    }
    daemon.end();
    let (code, _, err) = place.run(&["--config", "/dev/zero"]);
    assert_eq!(code, Some(1));
    let why = "cannot read the configuration /dev/zero: it is a device; use a regular file";
    assert!(err.contains(why), "{err}");
}

#[test]
fn a_secret_is_a_regular_file_with_one_line() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    for (secret, why) in [
        (fifo(&place, "fifo"), "cannot read the secret: it is a FIFO; use a regular file"),
        (
            private(&place, "crlf", "correct horse battery\r\n"),
            "the secret has a line break; write it as one line without a carriage return",
        ),
        (
            private(&place, "two", "correct horse\nbattery staple\n"),
            "the secret has a line break; write it as one line without a carriage return",
        ),
    ] {
        let file = place.file("p.toml", &target_with_secret("iqn.2026-11.t", &secret));
        let answer = daemon
            .call_once("config.apply", &json!({"file": file.to_str().unwrap(), "force": true}));
        let faults = &answer["error"]["data"]["faults"];
        let fault = faults[0].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(fault.ends_with(why), "{fault}");
    }
    daemon.end();
}

/// A secret file that was gone, or that others could read, made every edit fail.
#[test]
fn an_edit_keeps_the_secrets_that_are_in_force() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let secret = private(&place, "secret", "correct horse battery\n");
    let text = target_with_secret("iqn.2026-11.org.example:t", &secret);
    let file = place.file("p.toml", &text);
    daemon.call("config.apply", &json!({"file": file.to_str().unwrap()}));
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o640)).unwrap();
    daemon.call("volume.create", &json!({"name": "a", "kind": "null", "size": "1MiB"}));
    std::fs::remove_file(&secret).unwrap();
    daemon.call("volume.create", &json!({"name": "b", "kind": "null", "size": "1MiB"}));
    let targets = daemon.call("target.list", &json!({}));
    assert_eq!(targets["targets"][0]["chap"], true);
    daemon.end();
}

/// The next start took the empty catalog for a lost one and refused it.
#[test]
fn an_own_catalog_that_was_emptied_by_force_is_good_for_the_next_start() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let catalog = place.state().join("catalog.toml");
    std::fs::write(&catalog, "").unwrap();
    daemon.call("config.apply", &json!({"force": true}));
    let kept = std::fs::read_to_string(&catalog).unwrap();
    assert!(kept.starts_with("# Written by polluxd."), "{kept}");
    daemon.end();
    let mut daemon = place.start(&[]);
    assert_eq!(daemon.call("status", &json!({}))["targets"], 0);
    daemon.end();
}

/// All disks were gone, and nothing was wrong.
#[test]
fn a_node_that_serves_nothing_but_knows_volumes_warns() {
    let place = Place::new();
    place.start(&[]).end();
    let config = place.file("empty.toml", "");
    let about_volumes = |daemon: &mut super::Daemon| {
        let status = daemon.call("status", &json!({}));
        let mut warnings = status["warnings"].as_array().unwrap().clone();
        warnings.retain(|warning| warning.as_str().unwrap().contains("nothing is served"));
        warnings
    };
    let mut daemon = place.start(&["--config", config.to_str().unwrap()]);
    let warning = format!(
        "{} has no volumes and no targets, so nothing is served, but {} knows volume demo; check \
         that this is the right file",
        config.display(),
        place.state().display()
    );
    assert_eq!(about_volumes(&mut daemon), [json!(warning)]);
    daemon.end();
    // What was never used has nothing to warn of.
    let fresh = Place::new();
    let mut daemon = fresh.start(&["--config", config.to_str().unwrap()]);
    assert_eq!(about_volumes(&mut daemon), [] as [serde_json::Value; 0]);
    daemon.end();
}

/// It was said to be valid, and then refused.
#[test]
fn a_check_refuses_what_an_apply_refuses() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let text = "[[volume]]\nname = \"n\"\nkind = \"file\"\nsize = \"1MiB\"\npath = \"n.img\"\n";
    let file = place.file("p.toml", text);
    for check_only in [true, false] {
        let params = json!({"file": file.to_str().unwrap(), "check_only": check_only});
        let (code, sentence) = daemon.refused("config.apply", &params);
        assert_eq!(code, -32005);
        assert!(sentence.contains("has relative paths"), "{sentence}");
    }
    daemon.end();
}

#[test]
fn an_initiator_is_admitted_once() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let twice = ["iqn.2026-11.org.example:i", "IQN.2026-11.org.example:I"];
    let params = json!({"name": "iqn.2026-11.org.example:t", "initiators": twice});
    let target = daemon.call("target.create", &params);
    assert_eq!(target["initiators"], json!(["iqn.2026-11.org.example:i"]));
    daemon.end();
}
