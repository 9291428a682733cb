//! Starting and ending.

use super::{Daemon, Place};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

#[test]
fn the_embedded_default_starts_serves_and_ends_cleanly() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    for line in [
        "iscsiadm -m node -T iqn.2026-11.local.pollux:demo -p 127.0.0.1:",
        "iscsi-inq iscsi://127.0.0.1:",
        "qemu-img info iscsi://127.0.0.1:",
        "stats --watch",
        "demo.img",
    ] {
        assert!(daemon.said.contains(line), "{line} is not in\n{}", daemon.said);
    }
    let socket = place.state().join("control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let status = daemon.call("status", &json!({}));
    assert_eq!(status["config_is_master"], false);
    assert_eq!(status["generation"], 1);
    assert_eq!(status["volumes"][0]["state"], "served");
    assert_eq!(status["volumes"][0]["size_bytes"], 1_073_741_824);
    assert_ne!(status["portals"][0]["address"], "127.0.0.1:0");
    let stats = daemon.call("stats", &json!({"since_last": true}));
    assert_eq!(stats["volumes"], json!([]));
    let wwid = status["volumes"][0]["wwid"].clone();
    daemon.end();
    assert!(!socket.exists());
    // The volume is the same one after another start.
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    assert_eq!(status["volumes"][0]["wwid"], wwid);
    daemon.end();
}

#[test]
fn a_daemon_that_was_killed_starts_again() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    daemon.signal(Signal::KILL);
    assert!(!daemon.wait().success());
    // The name of its socket is still there.
    assert!(place.state().join("control.sock").exists());
    place.start(&[]).end();
}

/// The kernel takes the ring of a killed process apart some time after the process is gone, and
/// until then the ring holds the port and the locks of the volumes. A daemon that was started
/// again at once found the port taken or, worse, served no volume until somebody noticed.
#[test]
fn a_daemon_that_was_killed_has_its_port_and_volumes_back_at_once() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let status = daemon.call("status", &json!({}));
    let address = status["portals"][0]["address"].as_str().unwrap().to_owned();
    for _ in 0..8 {
        daemon.signal(Signal::KILL);
        assert!(!daemon.wait().success());
        daemon = place.start(&["--listen", &address]);
        let status = daemon.call("status", &json!({}));
        assert_eq!(status["volumes"][0]["state"], "served", "{status}");
    }
    daemon.end();
}

#[test]
fn a_call_ends_the_daemon_as_a_signal_does() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    assert_eq!(daemon.call("shutdown", &json!({})), json!({"sessions": 0}));
    assert!(daemon.wait().success());
}

#[test]
fn a_state_directory_serves_one_daemon() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let (code, _, err) = place.run(&[]);
    assert_eq!(code, Some(1));
    assert!(err.contains(" is in use by another polluxd (pid "), "{err}");
    daemon.end();
}

#[test]
fn a_port_that_is_taken_is_a_sentence() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = place.run(&["--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("polluxd: {address} is in use by ")), "{err}");
    assert!(err.contains("use another address with --listen ADDR:PORT"), "{err}");
}

#[test]
fn a_configuration_is_checked_without_serving_it() {
    let place = Place::new();
    let good = place.file("good.toml", "[[volume]]\nname = \"a\"\nkind = \"file\"\n");
    let (code, out, err) = place.run(&["--check", "--config", good.to_str().unwrap()]);
    assert_eq!((code, &*err), (Some(0), ""));
    assert_eq!(out, format!("{} is valid: volumes 1, targets 0, portals 1\n", good.display()));
    let bad = place.file("bad.toml", "[[volume]]\nname = \"a\"\nkind = \"tape\"\n");
    let (code, out, err) = place.run(&["--check", "--config", bad.to_str().unwrap()]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert_eq!(
        err,
        format!(
            "polluxd: {}:3:8: volume \"a\".kind: invalid value \"tape\": use \"file\", \"block\", \
             \"memory\" or \"null\"\n",
            bad.display()
        )
    );
    assert!(!place.state().exists());
}

#[test]
fn the_printed_configuration_has_flags_and_defaults_filled_in() {
    let place = Place::new();
    let (code, out, _) = place.run(&["--print-config", "--queue-depth", "256"]);
    assert_eq!(code, Some(0));
    for line in [
        "queue_depth = 256",
        "poll = \"adaptive\"",
        "spin_us = 50",
        "buffers = \"4KiB:64,256KiB:16\"",
        "address = \"127.0.0.1:0\"",
        "name = \"iqn.2026-11.local.pollux:demo\"",
    ] {
        assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
    }
    let printed = place.file("printed.toml", &out);
    let (code, _, err) = place.run(&["--check", "--config", printed.to_str().unwrap()]);
    assert_eq!((code, &*err), (Some(0), ""));
}

/// The patient daemon is connected to first, so it is the timeout that makes the difference.
#[test]
fn a_connection_that_does_not_log_in_is_dropped_after_the_login_timeout() {
    let connect = |daemon: &mut Daemon| {
        let status = daemon.call("status", &json!({}));
        let address = status["portals"][0]["address"].as_str().unwrap();
        TcpStream::connect(address).unwrap()
    };
    let start = |seconds: u32| {
        let place = Place::new();
        let text = format!("[node]\nlogin_timeout_s = {seconds}\n");
        let config = place.file("p.toml", &text);
        let daemon = place.start(&["--config", config.to_str().unwrap()]);
        (place, daemon)
    };
    let ((_patient_place, mut patient), (_hasty_place, mut hasty)) = (start(300), start(1));
    let mut kept = connect(&mut patient);
    let mut dropped = connect(&mut hasty);
    dropped.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(dropped.read(&mut [0; 48]).unwrap(), 0);
    kept.set_nonblocking(true).unwrap();
    assert_eq!(kept.read(&mut [0; 48]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let settings = hasty.call("status", &json!({}))["settings"].clone();
    let shown = json!({
        "key": "login_timeout_s", "label": "login timeout", "value": 1, "text": "1 s"
    });
    assert!(settings.as_array().unwrap().contains(&shown), "{settings}");
    hasty.end();
    patient.end();
}

#[test]
fn a_damaged_volume_is_named_and_the_others_are_served() {
    let place = Place::new();
    let text = "
        [[volume]]
        name = \"a\"
        kind = \"file\"
        size = \"1MiB\"
        [[volume]]
        name = \"b\"
        kind = \"file\"
        size = \"1MiB\"
        [[target]]
        name = \"iqn.2026-11.t\"
        luns = { 0 = \"a\", 1 = \"b\" }
    ";
    let config = place.file("p.toml", text);
    let args = ["--config", config.to_str().unwrap()];
    place.start(&args).end();
    let image = place.state().join("volumes/a.img");
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(512).unwrap();
    let mut daemon = place.start(&args);
    let volumes = daemon.call("volume.list", &json!({}))["volumes"].clone();
    assert_eq!(volumes[0]["state"], "failed");
    let reason = volumes[0]["reason"].as_str().unwrap();
    assert!(reason.contains("a.img was truncated: it has 512 bytes"), "{reason}");
    assert_eq!(volumes[1]["state"], "served");
    let targets = daemon.call("target.list", &json!({}))["targets"].clone();
    assert_eq!(targets[0]["luns"][0]["served"], false);
    assert_eq!(targets[0]["luns"][1]["served"], true);
    daemon.end();
}

/// The start waited 15 s for it, silently, and then it was not served until somebody noticed.
#[test]
fn a_volume_in_use_is_served_when_it_is_free_and_the_others_at_once() {
    let place = Place::new();
    let volume =
        |name| format!("[[volume]]\nname = \"{name}\"\nkind = \"file\"\nsize = \"1MiB\"\n");
    let config = place.file("p.toml", &(volume("a") + &volume("b")));
    let args = ["--config", config.to_str().unwrap()];
    place.start(&args).end();
    let image = std::fs::File::open(place.state().join("volumes/a.img")).unwrap();
    flock(&image, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut daemon = place.start(&args);
    let status = daemon.call("status", &json!({}));
    assert_eq!(status["volumes"][1]["state"], "served");
    assert_eq!(status["volumes"][0]["state"], "failed");
    let reason = "it is in use or does not open yet; it is served as soon as it is open";
    assert_eq!(status["volumes"][0]["reason"], reason);
    let log = std::fs::read_to_string(place.path().join("log")).unwrap();
    assert!(log.contains("waiting for volumes that are in use or do not open: a ("), "{log}");
    let operations = daemon.call("operation.list", &json!({}))["operations"].clone();
    assert_eq!(
        (&operations[0]["method"], &operations[0]["subject"]),
        (&json!("volume.open"), &json!("a"))
    );
    drop(image);
    let status = daemon.wait_for_status(|status| status["volumes"][0]["state"] == "served");
    assert_eq!(status["generation"], 2);
    assert!(!status["warnings"].to_string().contains("in use or does not open"), "{status}");
    daemon.end();
}

#[test]
fn a_lost_catalog_or_record_is_refused_and_nothing_is_made_in_its_place() {
    let place = Place::new();
    place.start(&[]).end();
    let catalog = place.state().join("catalog.toml");
    let text = std::fs::read(&catalog).unwrap();
    std::fs::remove_file(&catalog).unwrap();
    let (code, _, err) = place.run(&[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("catalog.toml is missing, but the state directory was used"), "{err}");
    assert!(!catalog.exists());
    std::fs::write(&catalog, "").unwrap();
    let (code, _, err) = place.run(&[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("catalog.toml is empty; restore it from a backup"), "{err}");
    std::fs::write(&catalog, &text).unwrap();
    let record = place.state().join("volumes/demo.toml");
    std::fs::remove_file(&record).unwrap();
    let mut daemon = place.start(&[]);
    let volume = daemon.call("volume.list", &json!({}))["volumes"][0].clone();
    assert_eq!(volume["state"], "failed");
    let reason = volume["reason"].as_str().unwrap();
    assert!(reason.contains("volumes/demo.toml is missing"), "{reason}");
    assert!(!record.exists());
    // The volume can be given up by deleting it, and its name is free then.
    let target = "iqn.2026-11.local.pollux:demo";
    daemon.call("lun.unmap", &json!({"target": target, "lun": 0}));
    daemon.call("volume.delete", &json!({"name": "demo"}));
    let volume = json!({"name": "demo", "kind": "file", "size": "1GiB"});
    assert_eq!(daemon.call("volume.create", &volume)["state"], "served");
    daemon.end();
}

#[test]
fn bad_lines_are_answered_and_the_connection_goes_on() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    assert_eq!(daemon.exchange("hello\n")["error"]["code"], -32700);
    assert_eq!(daemon.exchange("{}\n")["error"]["code"], -32600);
    assert_eq!(daemon.refused("format", &json!({})).0, -32601);
    assert_eq!(daemon.refused("stats", &json!({"x": 1})).0, -32602);
    daemon.call("status", &json!({}));
    daemon.end();
}

/// Connections that said nothing kept everybody else out for as long as they liked.
#[test]
fn silent_clients_give_way_to_those_that_ask() {
    let place = Place::new();
    let mut daemon = place.start(&[]);
    let connect = || UnixStream::connect(place.state().join("control.sock")).unwrap();
    // One of the 32 places is that of `daemon` itself.
    let silent: Vec<UnixStream> = (0..31).map(|_| connect()).collect();
    // Not the one that is idle for the longest time: it came first, but has asked since.
    daemon.call("status", &json!({}));
    let mut newcomers = Vec::new();
    for mut displaced in silent {
        let mut newcomer = connect();
        newcomer.write_all(b"hello\n").unwrap();
        assert!(read_some(&mut newcomer).contains("-32700"));
        newcomers.push(newcomer);
        let mut told = String::new();
        displaced.read_to_string(&mut told).unwrap();
        assert!(told.contains("was idle for the longest time"), "{told}");
        daemon.call("status", &json!({}));
    }
    daemon.end();
}

fn read_some(stream: &mut UnixStream) -> String {
    let mut told = [0; 256];
    let n = stream.read(&mut told).unwrap();
    String::from_utf8(told[..n].to_vec()).unwrap()
}

#[test]
fn half_a_request_does_not_keep_a_connection() {
    let place = Place::new();
    let daemon = place.start(&[]);
    let mut client = UnixStream::connect(place.state().join("control.sock")).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.write_all(b"{\"jsonrpc\":").unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).unwrap();
    assert!(told.contains("the request was not complete within 10 s"), "{told}");
    daemon.end();
}

#[test]
fn the_service_manager_hears_of_each_step() {
    let place = Place::new();
    let path = place.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let hear = || {
        let mut said = [0; 256];
        let n = manager.recv(&mut said).unwrap();
        String::from_utf8(said[..n].to_vec()).unwrap()
    };
    let daemon = place.start_with(&[], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(hear(), "READY=1\n");
    daemon.signal(Signal::HUP);
    let reloading = hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(hear(), "READY=1\n");
    daemon.end();
    assert_eq!(hear(), "STOPPING=1\n");
}

/// It never got to its first call, nor did a signal end it.
#[test]
fn nobody_reads_the_startup_message_and_the_node_serves() {
    let place = Place::new();
    let path = place.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut command = place.command(&[]);
    command.env("NOTIFY_SOCKET", &path).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = Ended(command.spawn().unwrap());
    let mut said = [0; 128];
    let n = manager.recv(&mut said).unwrap();
    assert_eq!(&said[..n], b"READY=1\n");
    let mut control = UnixStream::connect(place.state().join("control.sock")).unwrap();
    control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    control.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"volume.list\"}\n").unwrap();
    let n = control.read(&mut said).unwrap();
    assert!(said[..n].starts_with(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\""));
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(child.0.wait().unwrap().success());
    drop(reader);
}

/// A process that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already where the test came to its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian 12 has systemd 252, which ignores the type `notify-reload`, and a reload did not wait.
#[test]
fn the_unit_is_one_for_systemd_252_and_its_reload_waits_for_the_result() {
    let unit = include_str!("../../polluxd.service");
    let value = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.next().unwrap_or_else(|| panic!("no {key}"))
    };
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("ExecReload"), "/usr/bin/perfctl reload");
}
