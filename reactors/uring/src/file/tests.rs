use super::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

const DIRECT: OpenOptions = OpenOptions { read_only: false, buffered_allowed: false };
const ANY: OpenOptions = OpenOptions { read_only: false, buffered_allowed: true };

fn volume(bytes: u64) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume");
    create(&path, bytes, false).unwrap();
    (directory, path)
}

#[test]
fn a_volume_that_was_made_is_opened_with_its_size() {
    let (_directory, path) = volume(1 << 20);
    let file = open_direct(&path, ANY).unwrap();
    assert_eq!(file.size, 1 << 20);
    assert!(!file.is_block_device);
    assert!(file.dio_mem_align.is_power_of_two());
    assert!(file.dio_offset_align.is_power_of_two());
    assert!(file.logical_block_size.is_power_of_two());
}

#[test]
fn a_volume_cannot_be_opened_twice() {
    let (_directory, path) = volume(4096);
    let first = open_direct(&path, ANY).unwrap();
    let error = open_direct(&path, ANY).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(": in use. "));
    drop(first);
    open_direct(&path, ANY).unwrap();
}

#[test]
fn making_a_volume_never_overwrites() {
    let (_directory, path) = volume(4096);
    let error = create(&path, 8192, true).unwrap_err();
    assert!(matches!(error, OpenError::Exists { .. }));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
}

#[test]
fn what_is_no_volume_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let missing = open_direct(&directory.path().join("missing"), DIRECT).unwrap_err();
    assert!(matches!(missing, OpenError::NotFound { .. }));
    let not_a_file = open_direct(directory.path(), DIRECT).unwrap_err();
    assert!(matches!(not_a_file, OpenError::NotAVolume { .. }));
    let device = open_direct(Path::new("/dev/null"), DIRECT).unwrap_err();
    assert!(matches!(device, OpenError::NotAVolume { .. }));
}

#[test]
fn a_file_system_without_direct_io_is_named_and_the_cache_can_be_allowed() {
    // Files of procfs are regular and never take O_DIRECT.
    let path = Path::new("/proc/self/coredump_filter");
    let error = open_direct(path, DIRECT).unwrap_err();
    assert!(matches!(error, OpenError::NoDirectIo { .. }));
    let file = open_direct(path, ANY).unwrap();
    assert!(!file.is_direct);
    assert_eq!((file.dio_mem_align, file.dio_offset_align), (1, 1));
}

#[test]
fn a_preallocated_volume_is_all_data_or_unwritten_and_a_sparse_one_a_hole() {
    let (_directory, path) = volume(1 << 20);
    let file = open_direct(&path, ANY).unwrap();
    let end = file.size;
    let hole = Extent { is_allocated: false, end };
    assert_eq!(extent_at(&file.fd, 0, end).unwrap(), Some(hole));
    assert_eq!(extent_at(&file.fd, end, end).unwrap(), None);
    let writer = File::options().write(true).open(&path).unwrap();
    writer.write_all_at(&[1; 65_536], 131_072).unwrap();
    writer.sync_all().unwrap();
    let before = extent_at(&file.fd, 0, end).unwrap().unwrap();
    assert_eq!(before, Extent { is_allocated: false, end: 131_072 });
    let data = extent_at(&file.fd, 131_072, end).unwrap().unwrap();
    assert_eq!(data, Extent { is_allocated: true, end: 196_608 });
}

#[test]
fn a_read_only_volume_knows_its_size_and_takes_no_write() {
    let (_directory, path) = volume(8192);
    let options = OpenOptions { read_only: true, buffered_allowed: true };
    let file = open_direct(&path, options).unwrap();
    assert_eq!(file.size, 8192);
    assert_eq!(rustix::io::pwrite(&file.fd, &[0; 512], 0), Err(Errno::BADF));
}
