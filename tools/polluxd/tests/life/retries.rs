//! Volumes that cannot be opened, and warnings that go with their cause.

use super::{Daemon, Place};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs::OpenOptions;

fn volumes(names: &[&str]) -> String {
    let volume =
        |name: &&str| format!("[[volume]]\nname = \"{name}\"\nkind = \"file\"\nsize = \"1MiB\"\n");
    names.iter().map(volume).collect()
}

fn warnings(daemon: &mut Daemon) -> String {
    daemon.call("status", &json!({}))["warnings"].to_string()
}

/// Such volumes stayed as they were until somebody ran `perfctl apply`.
#[test]
fn volumes_that_are_locked_or_missing_for_long_are_served_when_they_are_back() {
    let place = Place::new();
    let config = place.file("p.toml", &volumes(&["a", "b", "c"]));
    let args = ["--config", config.to_str().unwrap()];
    place.start(&args).end();
    let image = |name: &str| place.state().join(format!("volumes/{name}.img"));
    let lock = std::fs::File::open(image("a")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    std::fs::rename(image("b"), place.path().join("elsewhere")).unwrap();
    let mut daemon = place.start(&args);
    let status = daemon.call("status", &json!({}));
    assert_eq!(status["volumes"][2]["state"], "served");
    let missing = &status["volumes"][1];
    assert_eq!(missing["state"], "failed");
    assert!(missing["reason"].as_str().unwrap().contains("b.img is missing"), "{missing}");
    assert!(missing["retry_in_s"].as_u64().unwrap() <= 10, "{missing}");

    // It is waited for with patience first.
    let is_tried_again = |status: &Value| status["volumes"][0]["retry_in_s"].as_u64() > Some(0);
    let status = daemon.wait_for_status(is_tried_again);
    let locked = &status["volumes"][0];
    assert!(locked["reason"].as_str().unwrap().contains("a.img: in use"), "{locked}");
    assert!(locked["for_s"].as_u64().unwrap() >= 10, "{locked}");
    let told = status["warnings"].to_string();
    assert!(
        told.contains("volume a is not served: ") && told.contains("volume b is not"),
        "{told}"
    );

    drop(lock);
    std::fs::rename(place.path().join("elsewhere"), image("b")).unwrap();
    let all_served = |status: &Value| {
        let volumes = status["volumes"].as_array().unwrap();
        volumes.iter().all(|volume| volume["state"] == "served")
    };
    let status = daemon.wait_for_status(all_served);
    assert!(!status["warnings"].to_string().contains("is not served"), "{status}");
    // Attempts that failed once more are no operations to remember, and no lines of the log.
    let operations = daemon.call("operation.list", &json!({}))["operations"].clone();
    let known: Vec<_> = operations.as_array().unwrap().iter().map(|o| o["state"].clone()).collect();
    assert_eq!(known, ["failed", "done", "done"], "{operations}");
    daemon.end();
    let log = std::fs::read_to_string(place.path().join("log")).unwrap();
    for (line, count) in [
        ("volume a is not served: cannot open", 1),
        ("volume b is not served: ", 1),
        ("volume a is served now", 1),
        ("volume b is served now", 1),
    ] {
        assert_eq!(log.matches(line).count(), count, "{line:?} in:\n{log}");
    }
}

/// The warning of a file that had grown stayed until a restart.
#[test]
fn a_file_that_has_grown_is_a_warning_for_as_long_as_it_is_larger() {
    let place = Place::new();
    let config = place.file("p.toml", &volumes(&["a"]));
    let args = ["--config", config.to_str().unwrap()];
    place.start(&args).end();
    let image = place.state().join("volumes/a.img");
    let resize = |bytes| OpenOptions::new().write(true).open(&image).unwrap().set_len(bytes);
    resize(2 << 20).unwrap();
    let mut daemon = place.start(&args);
    let grown = |bytes: u64| {
        let path = image.display();
        format!(
            "volume a: {path} has grown to {bytes} bytes; the volume keeps its size of 1048576 \
             bytes"
        )
    };
    let says = |status: &Value, text: &str| status["warnings"].to_string().contains(text);
    let status = daemon.wait_for_status(|status| says(status, &grown(2 << 20)));
    assert_eq!(status["volumes"][0]["size_bytes"], 1 << 20);
    resize(1 << 20).unwrap();
    daemon.wait_for_status(|status| !says(status, "has grown"));
    resize(3 << 20).unwrap();
    daemon.wait_for_status(|status| says(status, &grown(3 << 20)));
    assert!(!warnings(&mut daemon).contains(&grown(2 << 20)));
    daemon.end();
}

/// The warning stayed until a restart, and so did what the deletion had left to do.
#[test]
fn a_deletion_that_cannot_go_on_goes_on_when_it_can() {
    let place = Place::new();
    let directory = place.path().join("files");
    std::fs::create_dir(&directory).unwrap();
    let image = directory.join("old.raw");
    let mut daemon = place.start(&[]);
    let catalog = place.state().join("catalog.toml");
    let without = std::fs::read(&catalog).unwrap();
    let volume = json!({"name": "old", "kind": "file", "path": image, "size": "1MiB"});
    daemon.call("volume.create", &volume);
    daemon.end();
    // What a daemon leaves that was killed in the middle of a deletion.
    std::fs::write(&catalog, without).unwrap();
    let record = place.state().join("volumes/old.toml");
    let text = std::fs::read_to_string(&record).unwrap();
    let uuid = text.lines().find_map(|line| line.strip_prefix("uuid = ")).unwrap();
    let note = format!(
        "format = 1\nid = {uuid}\nvolume = \"old\"\nis_recorded = true\nfile = {image:?}\n"
    );
    let note_path = format!("volumes/.{}.removal", uuid.trim_matches('"'));
    std::fs::write(place.state().join(note_path), note).unwrap();
    // The file system of the file is not mounted.
    let elsewhere = place.path().join("elsewhere");
    std::fs::rename(&directory, &elsewhere).unwrap();
    std::fs::write(&directory, "").unwrap();
    let mut daemon = place.start(&[]);
    let stuck = "cannot resume the deletion of volume old: Not a directory";
    assert!(warnings(&mut daemon).contains(stuck), "{}", warnings(&mut daemon));
    std::fs::remove_file(&directory).unwrap();
    std::fs::rename(&elsewhere, &directory).unwrap();
    let is_resumed = |status: &Value| !status["warnings"].to_string().contains("resume");
    daemon.wait_for_status(is_resumed);
    daemon.wait_for_status(|status| status["operations"] == 0);
    assert!(!image.exists() && !record.exists());
    daemon.end();
}
