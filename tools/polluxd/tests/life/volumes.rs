//! What a volume is made of: never of what is somebody else's, nor in the place of a lost one.

use super::{Daemon, Place};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn create(name: &str, size: &str) -> Value {
    json!({"name": name, "kind": "file", "size": size})
}

fn image(place: &Place, name: &str) -> PathBuf {
    place.state().join(format!("volumes/{name}.img"))
}

fn catalog(place: &Place) -> PathBuf {
    place.state().join("catalog.toml")
}

/// The names in the directories that the creation of a volume changes.
fn names(place: &Place) -> Vec<String> {
    let parts = ["volumes", "known", "creating"].map(|part| place.state().join(part));
    let entries = parts.iter().flat_map(|part| fs::read_dir(part).unwrap());
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn volume(daemon: &mut Daemon, name: &str) -> Value {
    let volumes = daemon.call("volume.list", &json!({}))["volumes"].clone();
    let found = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {volumes}")).clone()
}

/// `volume create` of a name that had been used showed the bytes of the old volume.
#[test]
fn a_name_that_was_used_before_brings_its_volume_back_only_where_the_caller_says_so() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let wwid = daemon.call("volume.create", &create("v", "16MiB"))["wwid"].clone();
    let mut file = OpenOptions::new().write(true).open(image(&place, "v")).unwrap();
    file.write_all(b"precious").unwrap();
    let other = place.file("other.img", &"foreign".repeat(1 << 10));
    let without = place.file("p.toml", "# empty\n");
    daemon.call("config.apply", &json!({"file": without.to_str().unwrap(), "force": true}));
    let (code, sentence) = daemon.refused("volume.create", &create("v", "16MiB"));
    assert_eq!(code, -32006);
    let expected = format!(
        "volume v cannot be served: it existed before: its record is {}, its WWID {}. To bring it \
         back with its data, use --adopt; to create a new volume, use another name",
        place.state().join("volumes/v.toml").display(),
        wwid.as_str().unwrap()
    );
    assert_eq!(sentence, expected);
    let elsewhere = json!({"name": "v", "kind": "file", "path": other.to_str().unwrap()});
    assert!(daemon.refused("volume.create", &elsewhere).1.contains("it existed before"));
    // The file of the old volume may not be closed yet.
    let mut adopting = create("v", "16MiB");
    adopting["adopt"] = json!(true);
    assert_eq!(daemon.call("volume.create", &adopting)["wwid"], wwid);
    assert!(fs::read(image(&place, "v")).unwrap().starts_with(b"precious"));
    daemon.end();
}

/// Blank volumes with new identities were served in the place of lost ones, silently.
#[test]
fn volumes_of_the_catalog_without_records_are_lost_and_not_new() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let wwid = volume(&mut daemon, "demo")["wwid"].clone();
    daemon.end();
    let kept = place.path().join("kept.img");
    fs::rename(image(&place, "demo"), &kept).unwrap();
    for part in ["volumes", "known"] {
        fs::remove_dir_all(place.state().join(part)).unwrap();
    }
    let mut daemon = place.start(&[]);
    let lost = volume(&mut daemon, "demo");
    assert_eq!(lost["state"], "failed");
    let reason = lost["reason"].as_str().unwrap();
    assert!(reason.contains("volumes/demo.toml is missing. Check that"), "{reason}");
    assert!(reason.contains("demo.img as a new volume, set adopt = true and run"), "{reason}");
    // Not either when the same catalog is applied again.
    daemon.call("config.apply", &json!({}));
    assert_eq!(volume(&mut daemon, "demo")["state"], "failed");
    assert_eq!(names(&place), [""; 0]);

    // Its file can be served as a new volume.
    fs::rename(&kept, image(&place, "demo")).unwrap();
    let text = fs::read_to_string(catalog(&place)).unwrap();
    let adopting = text.replace("kind = \"file\"", "kind = \"file\"\nadopt = true");
    let file = place.file("p.toml", &adopting);
    daemon.call("config.apply", &json!({"file": file.to_str().unwrap()}));
    let adopted = volume(&mut daemon, "demo");
    assert_eq!(adopted["state"], "served");
    assert_ne!(adopted["wwid"], wwid);
    daemon.end();
    assert_eq!(names(&place), ["demo", "demo.img", "demo.toml"]);

    // What stays in the catalog does not adopt anything at a start.
    fs::remove_file(place.state().join("volumes/demo.toml")).unwrap();
    let mut daemon = place.start(&[]);
    assert_eq!(volume(&mut daemon, "demo")["state"], "failed");
    daemon.end();
}

/// A volume of the catalog that was never created, because its device is not attached, is not
/// taken for a lost one.
#[test]
fn a_volume_that_could_not_be_created_yet_is_created_when_it_can_be() {
    let place = Place::new();
    let directory = place.path().join("mount");
    let path = directory.join("a.img");
    let text =
        format!("[[volume]]\nname = \"a\"\nkind = \"file\"\nsize = \"1MiB\"\npath = {path:?}\n");
    let file = place.file("p.toml", &text);
    let mut daemon = place.start(&[]);
    daemon.call("config.apply", &json!({"file": file.to_str().unwrap()}));
    assert_eq!(volume(&mut daemon, "a")["state"], "failed");
    daemon.end();
    let mut daemon = place.start(&[]);
    assert_eq!(volume(&mut daemon, "a")["state"], "failed");
    fs::create_dir(&directory).unwrap();
    daemon.call("config.apply", &json!({}));
    assert_eq!(volume(&mut daemon, "a")["state"], "served");
    assert_eq!(path.metadata().unwrap().len(), 1 << 20);
    daemon.end();
    assert!(!place.state().join("creating/a").exists());
}

/// What a failed creation had made blocked the name of the volume.
#[test]
fn a_failed_creation_leaves_nothing_behind() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let before = names(&place);
    let empty = place.file("x.img", "");
    let params = json!({"name": "x", "kind": "file", "path": empty.to_str().unwrap()});
    let expected = format!(
        "volume x cannot be served: {} has 0 bytes, which is less than one block of 512 bytes; \
         remove it and set a size to create it, or extend it",
        empty.display()
    );
    assert_eq!(daemon.refused("volume.create", &params).1, expected);
    assert_eq!(names(&place), before);
    OpenOptions::new().write(true).open(&empty).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(daemon.call("volume.create", &params)["size_bytes"], 1 << 20);

    // The record and the catalog cannot be written.
    let before = names(&place);
    for blocked in ["volumes/.b.toml.new", ".catalog.toml.new"] {
        let blocked = place.state().join(blocked);
        fs::create_dir(&blocked).unwrap();
        daemon.refused("volume.create", &create("b", "2MiB"));
        fs::remove_dir(&blocked).unwrap();
        assert_eq!(names(&place), before, "{}", blocked.display());
    }
    assert_eq!(daemon.call("volume.create", &create("b", "4MiB"))["size_bytes"], 4 << 20);
    daemon.end();
}

/// `volume create` said that the volume had been created with another size.
#[test]
fn a_creation_that_a_crash_ended_leaves_nothing_behind() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let before = (names(&place), fs::read(catalog(&place)).unwrap());
    daemon.call("volume.create", &create("b", "2MiB"));
    daemon.end();
    // What is on disk when the daemon is killed before it writes the catalog.
    fs::write(catalog(&place), &before.1).unwrap();
    let note = format!("format = 1\nvolume = \"b\"\nfile = {:?}\n", image(&place, "b"));
    fs::write(place.state().join("creating/b"), note).unwrap();
    for temporary in [".catalog.toml.new", "volumes/.b.toml.new", "volumes/..1.removal.new"] {
        fs::write(place.state().join(temporary), "half").unwrap();
    }
    let mut daemon = place.start(&[]);
    assert_eq!(names(&place), before.0);
    assert!(!place.state().join(".catalog.toml.new").exists());
    assert_eq!(daemon.call("volume.create", &create("b", "4MiB"))["size_bytes"], 4 << 20);
    daemon.end();
}

/// The daemon panicked when it had finished such a deletion.
#[test]
fn a_deletion_that_leaves_the_file_is_finished_after_a_crash() {
    let place = Place::new();
    place.start(&[]).end();
    let note = place.state().join("volumes/.1.removal");
    fs::write(&note, "format = 1\nid = \"1\"\nvolume = \"gone\"\nis_recorded = false\n").unwrap();
    let mut daemon = place.start(&[]);
    daemon.wait_for("operation.list", |list| list["operations"][0]["state"] == "done");
    assert!(!note.exists());
    daemon.end();
}

/// Nobody was warned, and the next start served the new file with the old identity.
#[test]
fn a_file_that_takes_the_place_of_a_served_one_is_reported() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    daemon.call("volume.create", &create("v", "1MiB"));
    let (path, old) = (image(&place, "v"), place.path().join("v.img.old"));
    fs::rename(&path, &old).unwrap();
    fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let has =
        |words: &'static str| move |status: &Value| status["warnings"].to_string().contains(words);
    daemon.wait_for_status(has("v.img was replaced by another file, which is served from the"));
    // It is not removed with the volume, nor said to be the volume's.
    daemon.call("volume.create", &create("w", "1MiB"));
    let deleted = daemon.call("volume.delete", &json!({"name": "v", "remove_file": true}));
    assert_eq!(deleted, json!({"name": "v", "file_left": null}));
    assert!(path.exists());
    fs::remove_file(image(&place, "w")).unwrap();
    let deleted = daemon.call("volume.delete", &json!({"name": "w"}));
    assert_eq!(deleted, json!({"name": "w", "file_left": null}));
    daemon.end();

    // The same while no daemon runs.
    fs::File::create(&old).unwrap().set_len(1 << 30).unwrap();
    fs::rename(&old, image(&place, "demo")).unwrap();
    let mut daemon = place.start(&[]);
    assert_eq!(volume(&mut daemon, "demo")["state"], "served");
    daemon.wait_for_status(has("demo.img is another file than before, as after a restore"));
    daemon.end();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    assert!(!has("is another file than before")(&status), "{status}");
    daemon.end();
}

/// The answer came after 15 s: the file could have become free.
#[test]
fn the_file_of_a_served_volume_is_refused_by_the_name_of_that() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let link = place.path().join("link.img");
    std::os::unix::fs::symlink(image(&place, "demo"), &link).unwrap();
    let params = json!({"name": "a", "kind": "file", "path": link.to_str().unwrap()});
    let sentence = daemon.refused("volume.create", &params).1;
    assert!(
        sentence.ends_with("link.img is the file of volume demo, which is served"),
        "{sentence}"
    );
    daemon.end();
}

/// Targets got other identifiers, by which hosts know them.
#[test]
fn lost_identifiers_of_targets_are_refused_and_not_given_anew() {
    let place = Place::new();
    place.start(&[]).end();
    let ports = place.state().join("target-ports.toml");
    let text = fs::read(&ports).unwrap();
    fs::write(&ports, "").unwrap();
    let (code, _, err) = place.run(&[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("target-ports.toml is empty; restore it from a backup"), "{err}");
    fs::remove_file(&ports).unwrap();
    let (code, _, err) = place.run(&[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is missing, but the state directory was used before"), "{err}");
    assert!(!ports.exists());
    fs::write(&ports, &text).unwrap();
    place.start(&[]).end();
    assert_eq!(fs::read(&ports).unwrap(), text);
}

/// A small file system of its own, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// `None` where only root may mount.
    fn at(path: &'a Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let words = ["-t", "tmpfs", "-o", "size=16M,mode=0700", "none"];
        Command::new("mount")
            .args(words)
            .arg(path)
            .status()
            .unwrap()
            .success()
            .then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // A daemon that still runs is killed after this.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Neither could be done: all of that writes to the state directory.
#[test]
fn a_full_state_directory_is_emptied_by_deleting_a_volume() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let state = place.state();
    let Some(_mounted) = Mounted::at(&state) else { return };
    let mut daemon = place.start(&[]);
    daemon.call("volume.create", &create("thin", "64MiB"));
    let target = "iqn.2026-11.local.pollux:demo";
    daemon.call("lun.map", &json!({"target": target, "volume": "thin", "lun": 1}));
    let mut file = OpenOptions::new().write(true).open(image(&place, "thin")).unwrap();
    let full = (0..64 << 8).find_map(|_| file.write_all(&[7; 4096]).err()).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let (_, sentence) = daemon.refused("volume.create", &create("b", "1MiB"));
    assert!(sentence.contains("No space left on device"), "{sentence}");
    daemon.call("lun.unmap", &json!({"target": target, "lun": 1}));
    let deleted = daemon.call("volume.delete", &json!({"name": "thin", "remove_file": true}));
    assert_eq!(deleted, json!({"name": "thin", "file_left": null}));
    drop(file);
    daemon.call("volume.create", &create("b", "1MiB"));
    assert!(state.join("reserve-3").exists());
    daemon.end();
}
