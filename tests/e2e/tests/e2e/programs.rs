//! Real initiators against the embedded default: libiscsi's tools, QEMU and fio.

use e2e::{Daemon, Program, Setup, Subject};

/// Target and LUN of the embedded default as a URL.
fn url(subject: &Subject) -> String {
    format!("iscsi://{}/{}/{}", subject.portal, subject.target, subject.lun)
}

/// The size of the demo volume in bytes (1 GiB).
const DEMO_BYTES: u64 = 1 << 30;

#[test]
fn iscsi_ls_lists_the_target_and_its_disk() {
    let Some(program) = Program::find("iscsi-ls", None) else { return };
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let text = program.run_well(&["-s", &format!("iscsi://{}", subject.portal)]);
    assert!(text.contains(&format!("Target:{}", subject.target)), "{text}");
    assert!(text.contains("Lun:0") && text.contains("DIRECT_ACCESS"), "{text}");
    assert!(text.contains("Size:1023M") || text.contains("Size:1G"), "{text}");
}

#[test]
fn iscsi_inq_reads_inquiry_data_and_its_pages() {
    let Some(program) = Program::find("iscsi-inq", None) else { return };
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let text = program.run_well(&[&url(&subject)]);
    assert!(text.contains("DIRECT_ACCESS"), "{text}");
    for page in ["0x00", "0x80", "0x83", "0xb0", "0xb1", "0xb2"] {
        let text = program.run_well(&["-e", "1", "-c", page, &url(&subject)]);
        assert!(!text.trim().is_empty(), "page {page} is empty");
    }
}

#[test]
fn iscsi_readcapacity16_reads_the_size() {
    let Some(program) = Program::find("iscsi-readcapacity16", None) else { return };
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let text = program.run_well(&[&url(&subject)]);
    assert!(text.contains(&DEMO_BYTES.to_string()), "{text}");
    assert!(text.contains("512"), "{text}");
}

/// QEMU's tools, if they have the iSCSI driver.
fn qemu_tools() -> Option<(Program, Program)> {
    let image = Program::find("qemu-img", Some("QEMU_IMG"))?;
    let io = Program::find("qemu-io", Some("QEMU_IO"))?;
    // The formats that the tool knows are in the last paragraph of its help.
    let (_, help) = image.run(&["--help"]);
    let (_, refusal) = image.run(&["info", "iscsi://127.0.0.1:1/iqn.2026-11.local.pollux:none/0"]);
    if refusal.contains("Unknown protocol") || help.is_empty() {
        Program::skip("qemu-img has no iSCSI driver (Debian: qemu-block-extra)");
        return None;
    }
    Some((image, io))
}

#[test]
fn qemu_writes_and_reads_back() {
    let Some((image, io)) = qemu_tools() else { return };
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let url = url(&subject);
    let text = image.run_well(&["info", &url]);
    assert!(text.contains(&DEMO_BYTES.to_string()), "{text}");
    let text = io.run_well(&[
        "-f",
        "raw",
        "-c",
        "write -P 0xa5 1M 3M",
        "-c",
        "write -P 0x5a 2M 64k",
        "-c",
        "flush",
        "-c",
        "read -P 0xa5 1M 1M",
        "-c",
        "read -P 0x5a 2M 64k",
        "-c",
        "write -z 8M 1M",
        "-c",
        "read -P 0 8M 1M",
        "-c",
        "discard 1M 1M",
        &url,
    ]);
    assert!(!text.contains("verification failed"), "{text}");
    assert!(!text.contains("error"), "{text}");
}

#[test]
fn qemu_copies_an_image_there_and_back() {
    let Some((image, _)) = qemu_tools() else { return };
    let Some(subject) = Subject::start_own(Setup::demo()) else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let (there, back) = (scratch.path().join("there.raw"), scratch.path().join("back.raw"));
    std::fs::write(&there, e2e::pattern(24 << 20, 61)).expect("an image is written");
    let (there, back) = (there.display().to_string(), back.display().to_string());
    let url = url(&subject);
    image.run_well(&["convert", "-n", "-f", "raw", "-O", "raw", &there, &url]);
    image.run_well(&["convert", "-f", "raw", "-O", "raw", &url, &back]);
    let copied = std::fs::read(&back).expect("the copy is there");
    assert_eq!(copied.len() as u64, DEMO_BYTES);
    assert!(copied[..24 << 20] == e2e::pattern(24 << 20, 61), "the copy differs");
}

/// The words that make fio write with checksums and read back over four connections.
fn fio_arguments(daemon: &Daemon) -> Vec<String> {
    let portal = daemon.portal().to_string().replace(':', "\\:");
    let filename = format!("iscsi\\://{portal}/iqn.2026-11.local.pollux\\:demo/0");
    let mut arguments = [
        "--name=verify",
        "--ioengine=libiscsi",
        "--thread=1",
        "--rw=randwrite",
        "--bsrange=512-128k",
        "--blockalign=512",
        "--verify=crc32c",
        "--verify_state_save=0",
        "--verify_fatal=1",
        "--do_verify=1",
        "--verify_state_save=0",
        "--iodepth=16",
        "--numjobs=4",
        "--size=48m",
        "--offset_increment=64m",
        "--group_reporting=1",
        "--randseed=7",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--filename={filename}"));
    arguments
}

#[test]
fn fio_verifies_what_it_wrote_over_four_connections() {
    let Some(program) = Program::named_by("FIO_ISCSI") else { return };
    let daemon = Daemon::demo();
    let arguments = fio_arguments(&daemon);
    let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let text = program.run_well(&arguments);
    assert!(text.contains("err= 0"), "{text}");
    assert!(!text.contains("verify: bad"), "{text}");
}
