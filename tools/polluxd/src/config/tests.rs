//! Configurations against their literal meaning, and faults against their literal sentences.

mod at_once;
mod example;
mod memory_volumes;

use super::*;
use std::path::Path;
use volume::{ChapSecret, Portal};

const FILE: &str = "/etc/pollux/pollux.toml";

/// Secrets by the last part of the file's name.
fn secret(path: &Path) -> Result<Vec<u8>, SecretFault> {
    match path.file_name().and_then(|n| n.to_str()) {
        Some("alice") => Ok(b"alice's long secret".to_vec()),
        Some("target") => Ok(b"the target's secret".to_vec()),
        Some("short") => Ok(b"elevenbytes".to_vec()),
        Some("open") => Err(SecretFault::Open(0o644)),
        Some(_) | None => Err(SecretFault::Unreadable("No such file or directory".into())),
    }
}

fn read(text: &str) -> Result<Config, Vec<String>> {
    let source = Source { file: Path::new(FILE), text };
    match check(source, &secret) {
        Ok((_, config)) => Ok(config),
        Err(faults) => Err(faults.iter().map(ToString::to_string).collect()),
    }
}

fn faults(text: &str) -> Vec<String> {
    read(text).unwrap_err()
}

/// The only fault of a text, without the name of the file.
fn fault(text: &str) -> String {
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].strip_prefix("/etc/pollux/pollux.toml:").unwrap().to_owned()
}

#[test]
fn an_empty_text_is_a_node_that_serves_nothing() {
    let config = read("").unwrap();
    assert_eq!(config.node, NodeConfig::default());
    assert!(config.portals.is_empty() && config.volumes.is_empty() && config.targets.is_empty());
}

const FULL: &str = r#"
[node]
cores = [2, 3]
queue_depth = 4096
poll = "busy"
spin_us = 20
buffers = "4KiB:8,256KiB:2"
sleep_on_disk = false
socket_buffer = "4MiB"
napi_busy_poll_us = 40
napi_prefer_busy_poll = true
naa_oui = "00:a0:b1"
state_dir = "/state"
control = "pollux.sock"

[[portal]]
address = "0.0.0.0:3260"
group = 7

[[volume]]
name = "disk"
kind = "block"
path = "/dev/vdb"
write_cache = false

[[volume]]
name = "image"
kind = "file"
size = "10GiB"
block_size = 4096

[[volume]]
name = "near"
kind = "file"
path = "images/near.img"
read_only = true

[[target]]
name = "iqn.2026-11.org.example:A"
alias = "first"
portal_group = 7
luns = { 0 = "disk", 300 = { volume = "image", read_only = true } }
initiators = ["iqn.1993-08.org.debian:01:ABC"]
chap = { name = "alice", secret_file = "/secrets/alice" }
mutual_chap = { name = "pollux", secret_file = "secrets/target" }
"#;

#[test]
fn a_full_text_means_what_it_says() {
    let config = read(FULL).unwrap();
    assert_eq!(config.node.cores, Some(vec![2, 3]));
    assert_eq!(config.node.queue_depth, 4096);
    assert_eq!(config.node.poll, Poll::Busy);
    assert_eq!(config.node.spin_us, 20);
    assert_eq!(config.node.socket_buffer, Some(4_194_304));
    assert_eq!(config.node.napi_busy_poll_us, 40);
    assert!(config.node.napi_prefer_busy_poll);
    assert_eq!(config.node.buffers.buffer_count(), 10);
    assert!(!config.node.sleep_on_disk);
    assert_eq!(config.node.naa_oui, Some([0x00, 0xa0, 0xb1]));
    assert_eq!(config.node.state_dir.as_deref(), Some(Path::new("/state")));
    assert_eq!(config.node.control.as_deref(), Some(Path::new("/etc/pollux/pollux.sock")));
    assert_eq!(
        config.portals,
        [Portal { address: "0.0.0.0:3260".parse().unwrap(), portal_group_tag: 7 }]
    );
    let paths: Vec<_> = config.volumes.iter().map(|v| v.path.as_deref()).collect();
    assert_eq!(
        paths,
        [Some(Path::new("/dev/vdb")), None, Some(Path::new("/etc/pollux/images/near.img"))]
    );
    assert_eq!(config.volumes[0].write_cache, Some(false));
    assert_eq!(config.volumes[1].size_bytes, Some(10_737_418_240));
    assert_eq!(config.volumes[1].block_size, BlockSize::B4096);
    assert!(config.volumes[2].read_only);
    let target = &config.targets[0];
    assert_eq!(target.name, "iqn.2026-11.org.example:a");
    assert_eq!(target.alias.as_deref(), Some("first"));
    assert_eq!(target.luns[&0], LunConfig { volume: "disk".into(), read_only: false });
    assert_eq!(target.luns[&300], LunConfig { volume: "image".into(), read_only: true });
    assert_eq!(target.access, Access::Initiators(vec!["iqn.1993-08.org.debian:01:abc".into()]));
    let chap = target.chap.as_ref().unwrap();
    assert_eq!(
        chap.initiator,
        ChapSecret { name: "alice".into(), secret: b"alice's long secret".to_vec() }
    );
    assert_eq!(chap.target.as_ref().unwrap().name, "pollux");
}

#[test]
fn the_example_file_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pollux.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let config = read(&text).unwrap();
    assert!(!config.volumes.is_empty() && !config.targets.is_empty());
}

#[test]
fn a_text_that_is_not_toml_is_rejected_with_its_place() {
    assert_eq!(fault("[node]\ncores = [0, 1\n"), "2:14: cores: unclosed array, expected `]`");
}

#[test]
fn an_unknown_key_is_rejected_with_the_known_ones() {
    let fault_of_node = fault("[node]\nqueue-depth = 5\n");
    let (words, keys) = fault_of_node.split_once("; the keys are ").unwrap();
    assert_eq!(words, "2:1: node.queue-depth: unknown key");
    assert!(keys.split(", ").any(|key| key == "queue_depth"), "{keys}");
    assert_eq!(
        fault("[discovery]\nchop = 5\n"),
        "2:1: discovery.chop: unknown key; the keys are chap, mutual_chap"
    );
}

#[test]
fn all_faults_of_the_node_are_reported_those_of_type_too() {
    let text = "[node]\ncores = 0\nqueue_depth = \"64\"\npoll = \"fast\"\nspin_us = -1\n\
                sleep_on_disk = 1\nsocket_buffer = \"8KiB\"\nstate_dir = \"\"\nspin = 5\n";
    let shown: Vec<_> = faults(text)
        .iter()
        .map(|fault| fault.replace("/etc/pollux/pollux.toml:", "").replace("node.", ""))
        .collect();
    assert_eq!(
        shown[..7],
        [
            "2:9: cores: invalid value 0: use a list of cores, for example [0, 1]",
            "3:15: queue_depth: invalid value \"64\": use a number from 64 to 8192",
            "4:8: poll: invalid value \"fast\": use \"busy\", \"adaptive\" or \"interrupt\"",
            "5:11: spin_us: -1 is out of range; use a number from 0 to 1000000",
            "6:17: sleep_on_disk: invalid value 1: use true or false",
            "7:17: socket_buffer: 8KiB is out of range; use a size from 16KiB to 1GiB",
            "8:13: state_dir: invalid value \"\": use a path, for example \"/var/lib/pollux\"",
        ]
    );
    assert!(shown[7].starts_with("9:1: spin: unknown key; "), "{}", shown[7]);
}

#[test]
fn a_value_of_another_type_is_rejected_with_its_key() {
    assert_eq!(
        fault("[[volume]]\nname = \"a\"\nkind = \"file\"\nsize = true\n"),
        "4:8: volume \"a\".size: invalid value true: use a size, for example \"20GiB\""
    );
    assert_eq!(
        fault("[[volume]]\nname = \"a\"\nkind = \"flie\"\n"),
        "3:8: volume \"a\".kind: invalid value \"flie\": use \"file\", \"block\", \"memory\" or \
         \"null\""
    );
    assert_eq!(
        fault("[[target]]\nname = \"iqn.2026-11.a\"\nluns = { 0 = 5 }\n"),
        "3:14: target \"iqn.2026-11.a\".luns.0: invalid value 5: use the name of a volume, or \
         { volume = \"name\", read_only = true }"
    );
    assert_eq!(
        fault("[volume]\nname = \"a\"\n"),
        "1:1: volume: invalid value of type table: use tables, each with the header [[volume]]"
    );
}

#[test]
fn all_lines_that_are_not_toml_are_reported_with_the_other_faults() {
    let text = "[node]\nspin_us = \nqueue_depth = 5\n[[volume]]\nname = \"a\n\
                [[target]]\nname = \"iqn.2026-11.t\"\nportal_group = x\n";
    let lines: Vec<_> =
        faults(text).iter().map(|f| f.split(':').nth(1).unwrap().parse::<u32>().unwrap()).collect();
    assert_eq!(lines, [2, 3, 5, 8]);
}

#[test]
fn sizes_are_texts_or_numbers_of_bytes() {
    let volume = |rest: &str| {
        let text = format!("[[volume]]\nname = \"a\"\nkind = \"null\"\n{rest}");
        read(&text).unwrap().volumes.remove(0)
    };
    assert_eq!(volume("size = \"1.5TiB\"\n").size_bytes, Some(1_649_267_441_664));
    assert_eq!(volume("size = \"20G\"\n").size_bytes, Some(21_474_836_480));
    assert_eq!(volume("size = 1048576\n").size_bytes, Some(1_048_576));
    let node = |size: &str| read(&format!("[node]\nsocket_buffer = {size}\n")).unwrap().node;
    assert_eq!(node("65536").socket_buffer, node("\"64k\"").socket_buffer);
    assert_eq!(volume("size = \"1M\"\nblock_size = \"4k\"\n").block_size, BlockSize::B4096);
}

#[test]
fn each_bad_node_key_is_named() {
    let text = "[node]\ncores = []\nqueue_depth = 5\nspin_us = 2000000\nbuffers = \"4K\"\n\
                naa_oui = \"pollux\"\n";
    assert_eq!(
        faults(text),
        [
            "/etc/pollux/pollux.toml:2:9: node.cores: empty list; name at least one core, for \
             example [0]",
            "/etc/pollux/pollux.toml:3:15: node.queue_depth: 5 is out of range; use a number \
             from 64 to 8192",
            "/etc/pollux/pollux.toml:4:11: node.spin_us: 2000000 is out of range; use a number \
             from 0 to 1000000",
            "/etc/pollux/pollux.toml:5:11: node.buffers: invalid buffers: \"4K\" is not \
             SIZE:COUNT; use for example \"4KiB:4096,64KiB:512,256KiB:256\"",
            "/etc/pollux/pollux.toml:6:11: node.naa_oui: invalid OUI \"pollux\": use the 6 \
             hexadecimal digits that the IEEE assigned to you, for example \"00a0b1\"",
        ]
    );
    assert_eq!(fault("[node]\ncores = [1, 0, 1]\n"), "2:9: node.cores: duplicate core 1");
}

#[test]
fn each_bad_portal_is_named() {
    let text = "[[portal]]\naddress = \"localhost\"\n[[portal]]\naddress = \"127.0.0.1:3260\"\n\
                [[portal]]\naddress = \"127.0.0.1:3260\"\n";
    assert_eq!(
        faults(text),
        [
            "/etc/pollux/pollux.toml:2:11: portal.address: invalid address \"localhost\": use \
             ADDRESS:PORT, for example \"192.0.2.1:3260\" or \"[2001:db8::1]:3260\"",
            "/etc/pollux/pollux.toml:6:11: portal.address: duplicate address 127.0.0.1:3260",
        ]
    );
}

#[test]
fn each_bad_volume_key_is_named() {
    let volume = |rest: &str| fault(&format!("[[volume]]\nname = \"a\"\n{rest}"));
    assert_eq!(
        volume("kind = \"file\"\nsize = \"20Q\"\n"),
        "4:8: volume \"a\".size: invalid size \"20Q\": use for example 20GiB"
    );
    assert_eq!(
        volume("kind = \"file\"\nsize = \"1000\"\n"),
        "4:8: volume \"a\".size: 1000 bytes is not a positive multiple of the block size, 512 \
         bytes"
    );
    assert_eq!(
        volume("kind = \"memory\"\n"),
        "3:8: volume \"a\".size: a memory volume needs a size, for example size = \"1GiB\""
    );
    assert_eq!(
        volume("kind = \"file\"\nblock_size = 1000\n"),
        "4:14: volume \"a\".block_size: invalid block size 1000: use 512 or 4096"
    );
    assert_eq!(
        volume("kind = \"block\"\n"),
        "3:8: volume \"a\".path: a block volume needs the path of its device, for example \
         \"/dev/sdb\""
    );
    assert_eq!(
        volume("kind = \"null\"\nsize = \"1GiB\"\npath = \"/dev/null\"\n"),
        "5:8: volume \"a\".path: a null volume has no path; remove the key"
    );
    assert_eq!(
        volume("kind = \"file\"\nwrite_cache = false\n"),
        "4:15: volume \"a\".write_cache: the write cache of a file volume is detected; remove the \
         key, which is for block volumes only"
    );
    assert_eq!(
        volume("kind = \"file\"\n[[volume]]\nname = \"a\"\nkind = \"file\"\n"),
        "5:8: volume.name: duplicate volume name \"a\""
    );
    assert_eq!(
        volume("kind = \"file\"\npath=\"x\"\n[[volume]]\nname=\"b\"\nkind=\"file\"\npath=\"x\"\n"),
        "8:6: volume \"b\".path: duplicate path /etc/pollux/x"
    );
    assert_eq!(
        fault("[[volume]]\nname = \"../a\"\nkind = \"file\"\n"),
        "2:8: volume.name: invalid volume name \"../a\": use up to 64 of a-z, A-Z, 0-9, '.', '_' \
         and '-', starting with a letter or a digit"
    );
}

#[test]
fn each_bad_target_key_is_named() {
    let target = |rest: &str| {
        fault(&format!(
            "[[volume]]\nname = \"v\"\nkind = \"file\"\n[[target]]\n\
             name = \"iqn.2026-11.a\"\n{rest}"
        ))
    };
    assert_eq!(
        target("luns = { 0 = \"w\" }\n"),
        "6:14: target \"iqn.2026-11.a\".luns.0: unknown volume \"w\"; existing volumes: v"
    );
    assert_eq!(
        target("luns = { 16384 = \"v\" }\n"),
        "6:10: target \"iqn.2026-11.a\".luns: invalid LUN \"16384\": use a number from 0 to 16383"
    );
    assert_eq!(
        target("luns = { 00 = \"v\" }\n"),
        "6:10: target \"iqn.2026-11.a\".luns: invalid LUN \"00\": use a number from 0 to 16383"
    );
    assert_eq!(
        target("initiators = []\n"),
        "6:14: target \"iqn.2026-11.a\".initiators: an empty list admits no initiator; list \
         initiators, or remove the key to admit any initiator"
    );
    assert_eq!(
        target("initiators = [\"host1\"]\n"),
        "6:15: target \"iqn.2026-11.a\".initiators: invalid iSCSI name \"host1\": a name starts \
         with iqn., eui. or naa."
    );
    assert_eq!(
        target("portal_group = 2\n"),
        "6:16: target \"iqn.2026-11.a\".portal_group: no [[portal]] has group 2; add one, or use \
         an existing group"
    );
    assert_eq!(
        target("[[target]]\nname = \"IQN.2026-11.A\"\n"),
        "7:8: target.name: duplicate target name \"iqn.2026-11.a\""
    );
}

#[test]
fn each_bad_secret_is_named_and_never_shown() {
    let chap = |rest: &str| fault(&format!("[[target]]\nname = \"iqn.2026-11.a\"\n{rest}"));
    assert_eq!(
        chap("chap = { name = \"a\", secret_file = \"gone\" }\n"),
        "3:36: target \"iqn.2026-11.a\".chap.secret_file: /etc/pollux/gone: cannot read the \
         secret: No such file or directory"
    );
    assert_eq!(
        chap("chap = { name = \"a\", secret_file = \"open\" }\n"),
        "3:36: target \"iqn.2026-11.a\".chap.secret_file: /etc/pollux/open: others than its owner \
         can read or write it (mode 0644); run chmod 600"
    );
    assert_eq!(
        chap("chap = { name = \"a\", secret_file = \"short\" }\n"),
        "3:36: target \"iqn.2026-11.a\".chap.secret_file: /etc/pollux/short: the secret has 11 \
         bytes; use at least 12 random bytes (RFC 7143 9.2.1)"
    );
    assert_eq!(
        chap("mutual_chap = { name = \"a\", secret_file = \"alice\" }\n"),
        "3:24: target \"iqn.2026-11.a\".mutual_chap: the target authenticates itself only to \
         initiators that have authenticated themselves; add the key chap"
    );
    assert_eq!(
        chap(
            "chap = { name = \"a\", secret_file = \"alice\" }\n\
             mutual_chap = { name = \"a\", secret_file = \"alice\" }\n"
        ),
        "4:43: target \"iqn.2026-11.a\".mutual_chap.secret_file: the target and the initiators \
         have the same secret, so whoever knows it can pose as either (RFC 7143 9.2.1); use \
         different secrets"
    );
}

#[test]
fn faults_come_in_the_order_of_the_file() {
    let text = "[[target]]\nname = \"a\"\n[[volume]]\nname = \"/\"\nkind = \"file\"\n\
                [node]\ncores = []\n";
    let lines: Vec<_> =
        faults(text).iter().map(|f| f.split(':').nth(1).unwrap().parse::<u32>().unwrap()).collect();
    assert_eq!(lines, [2, 4, 7]);
}

const SMALL: &str = r#"
[[volume]]
name = "a"
kind = "file"
size = "1GiB"

[[target]]
name = "iqn.2026-11.t"
luns = { 0 = "a" }
"#;

fn changes(old: &str, new: &str) -> Vec<String> {
    difference(&read(old).unwrap(), &read(new).unwrap()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_configuration_does_not_differ_from_itself() {
    assert_eq!(changes(SMALL, SMALL), [""; 0]);
}

#[test]
fn the_difference_names_each_change() {
    let new = r#"
[node]
queue_depth = 512

[[portal]]
address = "127.0.0.1:3260"

[[volume]]
name = "a"
kind = "file"
size = "2GiB"
read_only = true

[[volume]]
name = "b"
kind = "null"
size = "1GiB"

[[target]]
name = "iqn.2026-11.t"
luns = { 0 = "a", 1 = { volume = "b", read_only = true } }
initiators = ["iqn.2026-11.i"]

[[target]]
name = "iqn.2026-11.u"
"#;
    assert_eq!(
        changes(SMALL, new),
        [
            "node.queue_depth: 1024 -> 512",
            "portal 127.0.0.1:3260 of group 1 added",
            "volume a: size: 1GiB -> 2GiB",
            "volume a: read_only: false -> true",
            "volume b added",
            "target iqn.2026-11.t: luns: 0 = a -> 0 = a, 1 = b (read-only)",
            "target iqn.2026-11.t: initiators: any -> iqn.2026-11.i",
            "target iqn.2026-11.u added",
        ]
    );
    assert_eq!(
        changes(new, "[discovery]\nchap = { name = \"a\", secret_file = \"alice\" }\n"),
        [
            "node.queue_depth: 512 -> 1024",
            "portal 127.0.0.1:3260 of group 1 removed",
            "discovery.chap: none -> name \"a\"",
            "volume a removed",
            "volume b removed",
            "target iqn.2026-11.t removed",
            "target iqn.2026-11.u removed",
        ]
    );
}

#[test]
fn a_new_secret_is_a_change_that_shows_neither_secret() {
    let target = |file: &str| {
        format!(
            "[[target]]\nname = \"iqn.2026-11.t\"\n\
             chap = {{ name = \"a\", secret_file = {file:?} }}\n"
        )
    };
    assert_eq!(
        changes(&target("alice"), &target("target")),
        ["target iqn.2026-11.t: chap: new secret"]
    );
    assert_eq!(
        changes(&target("alice"), "[[target]]\nname = \"iqn.2026-11.t\"\n"),
        ["target iqn.2026-11.t: chap: name \"a\" -> none"]
    );
}

#[test]
fn only_rings_pools_and_sockets_need_a_restart() {
    let old = read(SMALL).unwrap();
    let new = read("[node]\nspin_us = 1\n[[portal]]\naddress = \"[::1]:1\"\n").unwrap();
    let restart: Vec<_> =
        difference(&old, &new).iter().map(|c| (c.to_string(), c.needs_restart())).collect();
    assert_eq!(
        restart,
        [
            ("node.spin_us: 50 us -> 1 us".into(), true),
            ("portal [::1]:1 of group 1 added".into(), true),
            ("volume a removed".into(), false),
            ("target iqn.2026-11.t removed".into(), false),
        ]
    );
}

#[test]
fn a_written_configuration_reads_back_as_itself() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pollux.example.toml"))
            .unwrap();
    let source = |text| Source { file: Path::new(FILE), text };
    let (raw, config) = check(source(&text), &secret).unwrap();
    let written = to_text(&raw).unwrap();
    assert_eq!(check(source(&written), &secret).unwrap().1, config);
    let effective = effective_text(&raw, &config.node, &config.portals).unwrap();
    assert_eq!(check(source(&effective), &secret).unwrap().1, config);
}
