//! Changes while the daemon runs.

use super::Place;
use rustix::process::Signal;
use serde_json::json;

#[test]
fn what_perfctl_creates_is_served_and_still_there_after_a_restart() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let volume =
        daemon.call("volume.create", &json!({"name": "a", "kind": "file", "size": "2MiB"}));
    assert_eq!(volume["state"], "served");
    assert_eq!(volume["size_bytes"], 2_097_152);
    daemon.call("target.create", &json!({"name": "iqn.2026-11.org.example:A"}));
    let target =
        daemon.call("lun.map", &json!({"target": "iqn.2026-11.org.example:a", "volume": "a"}));
    assert_eq!(target["luns"][0]["lun"], 0);
    let target = daemon.call(
        "lun.map",
        &json!({"target": "iqn.2026-11.org.example:a", "volume": "demo", "read_only": true}),
    );
    assert_eq!(target["luns"][1]["read_only"], true);
    assert_eq!(daemon.call("status", &json!({}))["generation"], 5);
    daemon.end();

    let mut daemon = place.start(&[]);
    let targets = daemon.call("target.list", &json!({}))["targets"].clone();
    assert_eq!(targets[1]["name"], "iqn.2026-11.org.example:a");
    assert_eq!(targets[1]["luns"][1]["volume"], "demo");
    let (code, sentence) = daemon.refused("volume.delete", &json!({"name": "a"}));
    assert_eq!(code, -32003);
    assert_eq!(sentence, "volume a is LUN 0 of target iqn.2026-11.org.example:a");
    daemon.call("lun.unmap", &json!({"target": "iqn.2026-11.org.example:a", "lun": 0}));
    let deleted = daemon.call("volume.delete", &json!({"name": "a", "remove_file": true}));
    assert_eq!(deleted, json!({"name": "a", "file_left": null}));
    assert!(!place.state().join("volumes/a.img").exists());
    assert!(!place.state().join("volumes/a.toml").exists());
    daemon.call("target.delete", &json!({"name": "IQN.2026-11.org.example:a"}));
    daemon.end();

    let mut daemon = place.start(&[]);
    assert_eq!(daemon.call("volume.list", &json!({}))["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.call("target.list", &json!({}))["targets"].as_array().unwrap().len(), 1);
    daemon.end();
}

#[test]
fn a_new_volume_takes_over_data_only_where_the_caller_says_so() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let image = place.file("old.img", &"precious".repeat(1 << 17));
    let mut params = json!({"name": "a", "kind": "file", "path": image.to_str().unwrap()});
    let (code, sentence) = daemon.refused("volume.create", &params);
    assert_eq!(code, -32006);
    assert!(sentence.contains("old.img already holds data. To serve this data, "), "{sentence}");
    params["adopt"] = json!(true);
    assert_eq!(daemon.call("volume.create", &params)["size_bytes"], 1_048_576);
    // What was said once is not kept: a later start adopts nothing.
    let catalog = std::fs::read_to_string(place.state().join("catalog.toml")).unwrap();
    assert!(!catalog.contains("adopt"), "{catalog}");
    daemon.end();
    let mut daemon = place.start(&[]);
    assert_eq!(daemon.call("volume.list", &json!({}))["volumes"][1]["state"], "served");
    daemon.end();
    assert_eq!(std::fs::read(&image).unwrap(), "precious".repeat(1 << 17).as_bytes());
}

/// After 4096 volumes, no further one could be created until a restart.
#[test]
fn places_of_deleted_volumes_are_used_again() {
    let place = Place::new();
    let volumes = |prefix: &str| -> String {
        let keys = "kind = \"null\"\nsize = \"1MiB\"";
        let volume = |n| format!("[[volume]]\nname = \"{prefix}{n}\"\n{keys}\n");
        (0..1500).map(volume).collect()
    };
    let config = place.file("p.toml", "");
    let mut daemon = place.start(&["--config", config.to_str().unwrap()]);
    for prefix in ["a", "b", "c", "d"] {
        place.file("p.toml", &volumes(prefix));
        // Volumes that find no place while the last ones are being closed are tried again.
        daemon.wait_for("config.apply", |applied| applied["warnings"] == json!([]));
        let status = daemon.call("status", &json!({}));
        assert_eq!(status["volumes"][1499]["state"], "served", "{prefix}");
    }
    daemon.end();
}

#[test]
fn a_change_that_cannot_be_made_changes_nothing() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let catalog = || std::fs::read_to_string(place.state().join("catalog.toml")).unwrap();
    let before = catalog();
    for (method, params, code, sentence) in [
        (
            "volume.create",
            json!({"name": "demo", "kind": "file", "size": "1MiB"}),
            -32002,
            "volume \"demo\" already exists",
        ),
        (
            "volume.create",
            json!({"name": "a", "kind": "file", "size": "1Q"}),
            -32602,
            "volume \"a\".size: invalid size \"1Q\": use for example 20GiB",
        ),
        (
            "volume.create",
            json!({"name": "a", "kind": "block", "path": "/dev/pollux-none"}),
            -32006,
            "volume a cannot be served: /dev/pollux-none is missing; check that its file \
             system is mounted, or delete the volume with \"perfctl volume delete\"",
        ),
        ("volume.delete", json!({"name": "x"}), -32001, "volume \"x\" does not exist"),
        (
            "target.create",
            json!({"name": "disk1"}),
            -32602,
            "target.name: invalid iSCSI name \"disk1\": a name starts with iqn., eui. or naa.",
        ),
        (
            "target.delete",
            json!({"name": "iqn.2026-11.x"}),
            -32001,
            "target \"iqn.2026-11.x\" does not exist",
        ),
        (
            "lun.map",
            json!({"target": "iqn.2026-11.local.pollux:demo", "volume": "demo"}),
            -32002,
            "volume demo is already LUN 0 of target iqn.2026-11.local.pollux:demo",
        ),
        (
            "lun.map",
            json!({"target": "iqn.2026-11.local.pollux:demo", "volume": "demo", "lun": 5}),
            -32002,
            "volume demo is already LUN 0 of target iqn.2026-11.local.pollux:demo",
        ),
        (
            "lun.unmap",
            json!({"target": "iqn.2026-11.local.pollux:demo", "lun": 9}),
            -32001,
            "target iqn.2026-11.local.pollux:demo has no LUN 9",
        ),
        ("session.drop", json!({"id": "0.0.0"}), -32001, "session \"0.0.0\" does not exist"),
    ] {
        assert_eq!(daemon.refused(method, &params), (code, sentence.to_owned()), "{method}");
    }
    assert_eq!(catalog(), before);
    assert_eq!(daemon.call("status", &json!({}))["generation"], 1);
    daemon.end();
}

/// Statistics of a name with a typing error looked like those of an idle volume.
#[test]
fn statistics_of_an_unknown_name_are_refused() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    for (params, sentence) in [
        (json!({"volume": "dmeo"}), "volume \"dmeo\" does not exist"),
        (json!({"target": "iqn.2026-11.x"}), "target \"iqn.2026-11.x\" does not exist"),
    ] {
        assert_eq!(daemon.refused("stats", &params), (-32001, sentence.to_owned()));
    }
    daemon.end();
}

#[test]
fn a_bad_configuration_is_refused_and_what_ran_goes_on() {
    let place = Place::new();
    let good = "[[volume]]\nname = \"a\"\nkind = \"null\"\nsize = \"1MiB\"\n";
    let config = place.file("p.toml", good);
    let args = ["--config", config.to_str().unwrap()];
    let mut daemon = place.start(&args);

    place.file("p.toml", "[[volume]]\nname = \"a\"\nkind = \"null\"\nsize = \"big\"\n");
    daemon.signal(Signal::HUP);
    let status = daemon.wait_for_status(|s| !s["config_refused"].as_array().unwrap().is_empty());
    let refused = status["config_refused"][0].as_str().unwrap();
    assert!(refused.contains("p.toml:4:8: volume \"a\".size: invalid size \"big\""), "{refused}");
    assert_eq!(status["volumes"][0]["state"], "served");
    let (code, sentence) = daemon.refused("config.apply", &json!({}));
    assert_eq!(code, -32005);
    assert!(sentence.ends_with("p.toml has errors; the running configuration is unchanged"));

    // What initiators rely on cannot change under them.
    place.file("p.toml", &good.replace("1MiB", "2MiB"));
    let (code, sentence) = daemon.refused("config.apply", &json!({}));
    assert_eq!(code, -32005);
    assert!(sentence.starts_with("volume a: size is 2097152 bytes"), "{sentence}");

    let more = good.to_owned() + "[[target]]\nname = \"iqn.2026-11.t\"\nluns = { 0 = \"a\" }\n";
    place.file("p.toml", &more);
    let would = daemon.call("config.apply", &json!({"check_only": true}));
    assert_eq!(would["changes"], json!(["target iqn.2026-11.t added"]));
    assert_eq!(would["generation"], 1);
    daemon.signal(Signal::HUP);
    let status = daemon.wait_for_status(|s| s["generation"] == 2);
    assert_eq!(status["config_refused"], json!([]));
    assert_eq!(status["targets"], 1);
    daemon.end();
}

#[test]
fn a_master_file_is_changed_by_its_owner_only() {
    let place = Place::new();
    let config = place.file("p.toml", "");
    let other = place.file("other.toml", "");
    let mut daemon = place.start(&["--config", config.to_str().unwrap()]);
    let refusal = (-32004, format!("the configuration is managed in {}", config.display()));
    let volume = json!({"name": "a", "kind": "file", "size": "1MiB"});
    assert_eq!(daemon.refused("volume.create", &volume), refusal);
    assert_eq!(daemon.refused("volume.delete", &json!({"name": "a"})), refusal);
    assert_eq!(daemon.refused("target.create", &json!({"name": "iqn.2026-11.t"})), refusal);
    assert_eq!(daemon.refused("config.apply", &json!({"file": other.to_str().unwrap()})), refusal);
    assert!(!place.state().join("catalog.toml").exists());
    daemon.end();
}

#[test]
fn an_own_catalog_takes_over_a_file() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let text =
        "# kept\n[node]\nspin_us = 7\n[[volume]]\nname = \"n\"\nkind = \"null\"\nsize = \"1MiB\"\n";
    let file = place.file("p.toml", text);
    let applied = daemon.call("config.apply", &json!({"file": file.to_str().unwrap()}));
    assert_eq!(
        applied["changes"],
        json!([
            "node.spin_us: 50 us -> 7 us",
            "volume demo removed",
            "volume n added",
            "target iqn.2026-11.local.pollux:demo removed"
        ])
    );
    assert_eq!(
        applied["warnings"],
        json!(["node.spin_us: 50 us -> 7 us; takes effect after a restart of polluxd"])
    );
    assert_eq!(std::fs::read_to_string(place.state().join("catalog.toml")).unwrap(), text);
    let relative = text.replace("kind = \"null\"", "kind = \"file\"\npath = \"n.img\"");
    let file = place.file("relative.toml", &relative);
    let (code, sentence) = daemon.refused("config.apply", &json!({"file": file.to_str().unwrap()}));
    assert_eq!(code, -32005);
    assert!(sentence.contains("has relative paths"), "{sentence}");
    daemon.end();
    let mut daemon = place.start(&[]);
    assert_eq!(daemon.call("volume.list", &json!({}))["volumes"][0]["name"], "n");
    assert!(place.path().join("p.toml").exists());
    daemon.end();
}

#[test]
fn operations_can_be_listed_and_read_after_their_end() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    assert_eq!(daemon.call("operation.list", &json!({})), json!({"operations": []}));
    daemon.call("target.create", &json!({"name": "iqn.2026-11.t"}));
    daemon.refused("volume.delete", &json!({"name": "x"}));
    let list = daemon.call("operation.list", &json!({}))["operations"].clone();
    assert_eq!((&list[0]["id"], &list[0]["method"]), (&json!(1), &json!("target.create")));
    assert_eq!((&list[0]["subject"], &list[0]["state"]), (&json!("iqn.2026-11.t"), &json!("done")));
    assert_eq!(list[0]["result"]["name"], "iqn.2026-11.t");
    // An operation that has ended is not waited for.
    let second = daemon.call_once("operation.wait", &json!({"id": 2}))["result"].clone();
    assert_eq!(second["state"], "failed");
    assert_eq!(second["error"]["message"], "volume \"x\" does not exist");
    assert_eq!(second["error"]["code"], -32001);
    let (code, sentence) = daemon.refused("operation.show", &json!({"id": 3}));
    assert_eq!((code, &*sentence), (-32001, "operation 3 does not exist or ended long ago"));
    daemon.end();
}

/// An editor that truncates a file before it writes it, or a typing error in a path, ended all
/// that was served.
#[test]
fn a_file_without_volumes_and_targets_is_applied_only_by_force() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let empty = place.file("empty.toml", "# nothing\n");
    let empty = empty.to_str().unwrap();
    let (code, sentence) = daemon.refused("config.apply", &json!({"file": empty}));
    let would = format!(
        "{empty} has no volumes and no targets; applying it would remove volume demo, target \
         iqn.2026-11.local.pollux:demo"
    );
    assert_eq!((code, &sentence), (-32005, &would));
    let checked = daemon.call("config.apply", &json!({"file": empty, "check_only": true}));
    assert_eq!(checked["warnings"], json!([would]));
    let status = daemon.call("status", &json!({}));
    assert_eq!((&status["generation"], &status["targets"]), (&json!(1), &json!(1)));
    daemon.call("config.apply", &json!({"file": empty, "force": true}));
    assert_eq!(daemon.call("status", &json!({}))["targets"], 0);
    daemon.end();
}

#[test]
fn warnings_and_rejections_go_with_their_cause() {
    let place = Place::new();
    let text = "[[volume]]\nname = \"a\"\nkind = \"null\"\nsize = \"1MiB\"\n";
    let config = place.file("p.toml", text);
    let mut daemon = place.start(&["--config", config.to_str().unwrap()]);
    let about_spin = |daemon: &mut super::Daemon| {
        let status = daemon.call("status", &json!({}));
        let warnings = status["warnings"].as_array().unwrap().clone();
        warnings.iter().filter(|w| w.as_str().unwrap().contains("spin_us")).count()
    };
    assert_eq!(about_spin(&mut daemon), 0);
    place.file("p.toml", &format!("[node]\nspin_us = 7\n{text}"));
    daemon.call("config.apply", &json!({}));
    assert_eq!(about_spin(&mut daemon), 1);
    // As long as a restart would change it, whatever else changes.
    let more = text.replace("\"a\"", "\"b\"");
    place.file("p.toml", &format!("[node]\nspin_us = 7\n{text}{more}"));
    daemon.call("config.apply", &json!({}));
    assert_eq!(about_spin(&mut daemon), 1);
    place.file("p.toml", text);
    daemon.call("config.apply", &json!({}));
    assert_eq!(about_spin(&mut daemon), 0);

    // What somebody tried to apply is no state of the daemon, a broken file of its own is.
    let other = place.file("other.toml", "size = 5");
    daemon.refused("config.apply", &json!({"file": other.to_str().unwrap()}));
    assert_eq!(daemon.call("status", &json!({}))["config_refused"], json!([]));
    place.file("p.toml", "[[volume]]\n");
    daemon.refused("config.apply", &json!({}));
    let refused = daemon.call("status", &json!({}))["config_refused"].clone();
    assert_eq!(refused.as_array().unwrap().len(), 2, "{refused}");
    place.file("p.toml", text);
    daemon.call("config.apply", &json!({}));
    assert_eq!(daemon.call("status", &json!({}))["config_refused"], json!([]));
    daemon.end();
}

#[test]
fn a_target_is_changed_and_keeps_the_change_after_a_restart() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let name = "iqn.2026-11.local.pollux:demo";
    let secrets = || {
        let directory = std::fs::read_dir(place.state().join("secrets"));
        directory.map_or(0, Iterator::count)
    };
    let set = |daemon: &mut super::Daemon, change: serde_json::Value| {
        let mut params = json!({"name": name});
        params.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        daemon.call("target.set", &params)
    };
    let chap = |name: &str, secret: &str| json!({"set": {"name": name, "secret": secret}});
    let change = json!({
        "alias": {"set": "first"},
        "initiators": {"set": ["IQN.2026-11.org.example:I"]},
        "chap": chap("alice", "correct horse battery"),
        "mutual_chap": chap("pollux", "another horse battery"),
    });
    let target = set(&mut daemon, change);
    assert_eq!(target["alias"], "first");
    assert_eq!(target["initiators"], json!(["iqn.2026-11.org.example:i"]));
    assert_eq!((&target["chap"], &target["mutual_chap"]), (&json!(true), &json!(true)));
    assert_eq!(secrets(), 2);
    // A new secret replaces the old one, under the same name.
    let rotate = json!({"chap": {"set": {"secret": "a battery horse"}}});
    set(&mut daemon, rotate);
    assert_eq!(secrets(), 2);
    let catalog = || std::fs::read_to_string(place.state().join("catalog.toml")).unwrap();
    assert!(catalog().contains("name = \"alice\"") && !catalog().contains("horse"));
    for (change, sentence) in [
        (
            json!({"name": name, "chap": {"set": {"secret": "horse"}}}),
            "target iqn.2026-11.local.pollux:demo: chap: the secret has 5 bytes; use at least 12 \
             random bytes (RFC 7143 9.2.1)",
        ),
        (
            json!({"name": name, "initiators": {"set": ["host1"]}}),
            "target \"iqn.2026-11.local.pollux:demo\".initiators: invalid iSCSI name \"host1\": a \
             name starts with iqn., eui. or naa.",
        ),
    ] {
        assert_eq!(daemon.refused("target.set", &change), (-32602, sentence.to_owned()));
    }
    daemon.end();
    let log = std::fs::read_to_string(place.path().join("log")).unwrap();
    assert!(!log.contains("horse"), "{log}");

    let mut daemon = place.start(&[]);
    let target = daemon.call("target.list", &json!({}))["targets"][0].clone();
    assert_eq!(target["initiators"], json!(["iqn.2026-11.org.example:i"]));
    assert_eq!(target["chap"], true);
    let target = set(&mut daemon, json!({"chap": "remove", "alias": "remove"}));
    assert_eq!((&target["chap"], &target["mutual_chap"]), (&json!(false), &json!(false)));
    assert_eq!(target["alias"], json!(null));
    assert_eq!(secrets(), 0);
    let (code, sentence) = daemon.refused(
        "target.set",
        &json!({"name": name, "chap": {"set": {"secret": "correct horse battery"}}}),
    );
    assert_eq!(code, -32602);
    assert!(sentence.ends_with("has no chap, so a new one needs a name"), "{sentence}");
    daemon.end();
}
