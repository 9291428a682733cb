//! All faults of a file are reported at once.

use super::*;

/// A fault of the name hid all others of the volume or target.
#[test]
fn all_faults_of_an_object_are_reported_at_once() {
    let text = "\
[[volume]]
name = \"b c\"
kind = \"memory\"
size = \"-5\"
block_size = 513
[[volume]]
kind = \"memory\"
size = \"-6\"
[[target]]
name = \"disk\"
luns = { 0 = \"none\" }
initiators = [\"host\"]
[[target]]
luns = { 300 = \"none\" }
";
    let places: Vec<_> = faults(text)
        .iter()
        .map(|fault| fault.replace("/etc/pollux/pollux.toml:", ""))
        .map(|fault| fault.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "2:8 volume.name",
            "4:8 volume \"b c\".size",
            "5:14 volume \"b c\".block_size",
            "6:1 volume.name",
            "8:8 volume.size",
            "10:8 target.name",
            "11:14 target \"disk\".luns.0",
            "12:15 target \"disk\".initiators",
            "13:1 target.name",
            "14:16 target.luns.300",
        ]
    );
}

/// Only the first was reported, so that a file with five errors took five attempts.
#[test]
fn all_faults_of_a_file_are_reported_at_once() {
    let text = "\
[node]
spin_us = \"fast\"
[nodes]
[[volume]]
kind = \"tape\"
[[volume]]
name = \"a\"
sise = \"1GiB\"
block_size = \"8k\"
[[volume]]
name = \"b\"
kind = \"tape\"
size = []
write_cache = false
[[volume]]
name = \"c\"
kind = \"block\"
path = 5
[[target]]
name = \"iqn.2026-11.t\"
luns = { 0 = \"b\", 1 = 7, 2 = { volum = \"a\" } }
initiators = [\"iqn.2026-11.i\", 5]
chap = \"my own secret\"
mutual_chap = { name = \"t\", secret_file = \"target\" }
[[portal]]
group = 70000
";
    let shown: Vec<_> =
        faults(text).iter().map(|f| f.replace("/etc/pollux/pollux.toml:", "")).collect();
    let kinds = "\"file\", \"block\", \"memory\" or \"null\"";
    assert_eq!(
        shown,
        [
            "2:11: node.spin_us: invalid value \"fast\": use a number from 0 to 1000000",
            "3:2: nodes: unknown key; the keys are node, discovery, portal, volume, target",
            "4:1: volume.name: missing key; set it to a name, for example \"vm-01\"",
            &format!("5:8: volume.kind: invalid value \"tape\": use {kinds}"),
            &format!("6:1: volume \"a\".kind: missing key; set it to {kinds}"),
            "8:1: volume \"a\".sise: unknown key; the keys are name, kind, path, size, \
             block_size, read_only, write_cache, adopt, whole_blocks",
            "9:14: volume \"a\".block_size: invalid block size 8192: use 512 or 4096",
            &format!("12:8: volume \"b\".kind: invalid value \"tape\": use {kinds}"),
            "13:8: volume \"b\".size: invalid value of type array: use a size, for example \
             \"20GiB\"",
            "18:8: volume \"c\".path: invalid value 5: use a path, for example \
             \"/srv/vm-01.img\"",
            "21:23: target \"iqn.2026-11.t\".luns.1: invalid value 7: use the name of a volume, \
             or { volume = \"name\", read_only = true }",
            "21:30: target \"iqn.2026-11.t\".luns.2.volume: missing key; set it to the name of a \
             volume",
            "21:32: target \"iqn.2026-11.t\".luns.2.volum: unknown key; the keys are volume, \
             read_only",
            "22:32: target \"iqn.2026-11.t\".initiators: invalid value 5: use an iSCSI name, for \
             example \"iqn.2026-11.org.example:disk1\"",
            "23:8: target \"iqn.2026-11.t\".chap: invalid value of type string: use { name = NAME, \
             secret_file = PATH }",
            "25:1: portal.address: missing key; set it to ADDRESS:PORT, for example \
             \"192.0.2.1:3260\"",
            "26:9: portal.group: invalid value 70000: use a number from 0 to 65535",
        ]
    );
}
