//! Files through the driver, against pread and pwrite on a second file.

#![allow(clippy::unwrap_used, reason = "a test that cannot open its file fails")]

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use proptest::prelude::*;
use support::{driver, one, options, read, slice, wait_for, write};
use units::BufId;
use uring::{Completion, Driver, DriverOptions, Errno, Fallocate, FileRange, Refusal};

fn open(bytes: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    file
}

fn add(driver: &mut Driver, file: &File) -> uring::FileId {
    driver.add_file(Arc::new(file.try_clone().unwrap().into())).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let mut driver = driver();
    let file = open(8192);
    let id = add(&mut driver, &file);
    assert!(driver.pool().is_registered());
    assert!(driver.pool_mut().fill(slice(0, 0, 5), b"bytes"));
    driver.write(id, 1, write(4096, slice(0, 0, 5), true)).unwrap();
    assert!(!driver.pool_mut().fill(slice(0, 0, 5), b"other"));
    assert!(matches!(one(&mut driver), Completion::Written { token: 1, result: Ok(5), .. }));
    driver.fsync(id, 2, true).unwrap();
    assert!(matches!(one(&mut driver), Completion::Synced { token: 2, result: Ok(()) }));
    driver.read(id, 3, read(4094, slice(1, 0, 10))).unwrap();
    assert!(driver.pool().bytes(slice(1, 0, 10)).is_none());
    assert!(matches!(one(&mut driver), Completion::Read { token: 3, result: Ok(10), .. }));
    assert_eq!(driver.pool().bytes(slice(1, 0, 10)).unwrap(), b"\0\0bytes\0\0\0");
    let mut seen = [0; 5];
    file.read_exact_at(&mut seen, 4096).unwrap();
    assert_eq!(&seen, b"bytes");
}

#[test]
fn a_read_at_the_end_is_short() {
    let mut driver = driver();
    let id = add(&mut driver, &open(1000));
    driver.read(id, 1, read(900, slice(0, 0, 4096))).unwrap();
    assert!(matches!(one(&mut driver), Completion::Read { result: Ok(100), .. }));
    driver.read(id, 1, read(1000, slice(0, 0, 4096))).unwrap();
    assert!(matches!(one(&mut driver), Completion::Read { result: Ok(0), .. }));
}

#[test]
fn a_punched_hole_and_a_zeroed_range_read_as_zeros() {
    let mut driver = driver();
    let file = open(0);
    file.write_all_at(&[7; 65_536], 0).unwrap();
    let id = add(&mut driver, &file);
    driver.fallocate(id, 1, Fallocate::PunchHole, FileRange { offset: 4096, len: 8192 }).unwrap();
    assert!(matches!(one(&mut driver), Completion::Allocated { token: 1, result: Ok(()) }));
    driver.fallocate(id, 2, Fallocate::ZeroRange, FileRange { offset: 32_768, len: 512 }).unwrap();
    let Completion::Allocated { token: 2, result: zeroed } = one(&mut driver) else { panic!() };
    let mut all = vec![0; 65_536];
    file.read_exact_at(&mut all, 0).unwrap();
    assert!(all[..4096].iter().all(|&b| b == 7));
    assert!(all[4096..12_288].iter().all(|&b| b == 0));
    assert!(all[12_288..32_768].iter().all(|&b| b == 7));
    // tmpfs knows holes but no zeroed ranges.
    let kept = if zeroed == Err(Errno(libc::EOPNOTSUPP)) { 7 } else { 0 };
    assert!(all[32_768..33_280].iter().all(|&b| b == kept));
    assert!(all[33_280..].iter().all(|&b| b == 7));
    assert_eq!(file.metadata().unwrap().len(), 65_536);
}

#[test]
fn slices_that_name_no_bytes_are_refused() {
    let mut driver = driver();
    let id = add(&mut driver, &open(4096));
    for bad in [slice(0, 0, 4097), slice(0, 4096, 1), slice(20, 0, 1), slice(0, 0, 0)] {
        assert_eq!(driver.read(id, 1, read(0, bad)), Err(Refusal::InvalidBuffer));
        assert_eq!(driver.write(id, 1, write(0, bad, false)), Err(Refusal::InvalidBuffer));
    }
    assert_eq!(driver.in_flight(), 1, "only the waker's poll");
}

#[test]
fn a_file_in_use_stays_and_a_removed_one_is_not_known_any_more() {
    let mut driver = driver();
    let id = add(&mut driver, &open(4096));
    driver.read(id, 1, read(0, slice(0, 0, 4096))).unwrap();
    assert_eq!(driver.remove_file(id), Err(Refusal::Busy));
    assert!(matches!(one(&mut driver), Completion::Read { result: Ok(4096), .. }));
    driver.remove_file(id).unwrap();
    assert_eq!(driver.remove_file(id), Err(Refusal::Closed));
    let next = add(&mut driver, &open(4096));
    assert_ne!(id, next);
    assert_eq!(driver.read(id, 1, read(0, slice(0, 0, 1))), Err(Refusal::Closed));
    assert_eq!(driver.fsync(id, 1, false), Err(Refusal::Closed));
}

#[test]
fn a_full_table_refuses_and_books_nothing() {
    let mut driver = Driver::new(&DriverOptions { operations: 2, ..options() }).unwrap().0;
    let id = add(&mut driver, &open(4096));
    driver.read(id, 1, read(0, slice(0, 0, 4096))).unwrap();
    assert_eq!(driver.read(id, 2, read(0, slice(1, 0, 4096))), Err(Refusal::Full));
    assert_eq!(driver.write(id, 2, write(0, slice(2, 0, 4096), false)), Err(Refusal::Full));
    assert_eq!(driver.fsync(id, 2, false), Err(Refusal::Full));
    assert!(!driver.pool().is_in_kernel(BufId(1)));
    assert!(!driver.pool().is_in_kernel(BufId(2)));
    assert!(matches!(one(&mut driver), Completion::Read { token: 1, .. }));
}

#[test]
fn an_error_of_the_disk_comes_with_its_number() {
    let mut driver = driver();
    let path = tempfile::NamedTempFile::new().unwrap();
    let read_only = File::open(path.path()).unwrap();
    let id = add(&mut driver, &read_only);
    driver.write(id, 1, write(0, slice(0, 0, 10), false)).unwrap();
    assert!(matches!(
        one(&mut driver),
        Completion::Written { result: Err(Errno(libc::EBADF)), .. }
    ));
}

/// One access of the property below.
#[derive(Clone, Debug)]
enum Access {
    Read { offset: u64, len: u32 },
    Write { offset: u64, len: u32, tag: u8, durable: bool },
    Punch { offset: u64, len: u64 },
}

const FILE_BYTES: u64 = 100_000;

fn access() -> impl Strategy<Value = Access> {
    let place = (0..FILE_BYTES, 1..=4096_u32);
    prop_oneof![
        place.clone().prop_map(|(offset, len)| Access::Read { offset, len }),
        (place, any::<u8>(), any::<bool>()).prop_map(|((offset, len), tag, durable)| {
            Access::Write { offset, len, tag, durable }
        }),
        (0..FILE_BYTES, 1..=20_000_u64).prop_map(|(offset, len)| Access::Punch { offset, len }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_driver_and_pread_see_the_same_file(
        accesses in proptest::collection::vec(access(), 1..40),
    ) {
        let mut driver = driver();
        let (ours, oracle) = (open(FILE_BYTES), open(FILE_BYTES));
        let id = add(&mut driver, &ours);
        for access in accesses {
            match access {
                Access::Read { offset, len } => {
                    driver.read(id, 1, read(offset, slice(0, 0, len))).unwrap();
                    let completion = one(&mut driver);
                    let Completion::Read { result: Ok(read), .. } = completion else {
                        panic!("{completion:?}")
                    };
                    let mut expected = vec![0; len as usize];
                    let known = oracle.read_at(&mut expected, offset).unwrap();
                    prop_assert_eq!(read as usize, known);
                    let seen = driver.pool().bytes(slice(0, 0, read)).unwrap();
                    prop_assert_eq!(seen, &expected[..known]);
                }
                Access::Write { offset, len, tag, durable } => {
                    let place = slice(1, 0, len);
                    driver.pool_mut().bytes_mut(place).unwrap().fill(tag);
                    driver.write(id, 1, write(offset, place, durable)).unwrap();
                    let completion = one(&mut driver);
                    let Completion::Written { result: Ok(written), .. } = completion else {
                        panic!("{completion:?}")
                    };
                    prop_assert_eq!(written, len);
                    oracle.write_all_at(&vec![tag; len as usize], offset).unwrap();
                }
                Access::Punch { offset, len } => {
                    let range = FileRange { offset, len };
                    driver.fallocate(id, 1, Fallocate::PunchHole, range).unwrap();
                    let completion = one(&mut driver);
                    let Completion::Allocated { result: Ok(()), .. } = completion else {
                        panic!("{completion:?}")
                    };
                    let size = oracle.metadata().unwrap().len();
                    let end = (offset + len).min(size);
                    let zeros = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap()];
                    oracle.write_all_at(&zeros, offset).unwrap();
                }
            }
        }
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (file, bytes) in [(&ours, &mut left), (&oracle, &mut right)] {
            bytes.resize(usize::try_from(file.metadata().unwrap().len()).unwrap(), 0);
            file.read_exact_at(bytes, 0).unwrap();
        }
        prop_assert!(left == right);
    }
}

#[test]
fn many_reads_in_flight_come_back_each_with_its_own_bytes() {
    let mut driver = driver();
    let file = open(0);
    for block in 0..16_u8 {
        file.write_all_at(&[block; 4096], u64::from(block) * 4096).unwrap();
    }
    let id = add(&mut driver, &file);
    for block in 0..16_u32 {
        let offset = u64::from(block) * 4096;
        driver.read(id, u64::from(block), read(offset, slice(block, 0, 4096))).unwrap();
    }
    for completion in wait_for(&mut driver, 16) {
        let Completion::Read { token, slice, result: Ok(4096) } = completion else { panic!() };
        let bytes = driver.pool().bytes(slice).unwrap();
        assert!(bytes.iter().all(|&b| u64::from(b) == token));
    }
}

#[test]
fn payload_areas_are_aligned_for_direct_io() {
    // The directory of the build is on a disk, where /tmp may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("volume");
    uring::file::create(&path, 1 << 20, true).unwrap();
    let buffered_allowed = uring::file::OpenOptions { read_only: false, buffered_allowed: true };
    let file = uring::file::open_direct(&path, buffered_allowed).unwrap();
    let unit = file.dio_offset_align.max(512);
    let mut driver = driver();
    let id = driver.add_file(Arc::new(file.fd)).unwrap();
    let (from, to) = (slice(16, 0, unit * 3), slice(17, unit, unit * 3));
    driver.pool_mut().bytes_mut(from).unwrap().fill(0x5a);
    driver.write(id, 1, write(u64::from(unit), from, true)).unwrap();
    let written = one(&mut driver);
    assert!(matches!(written, Completion::Written { result: Ok(n), .. } if n == unit * 3));
    driver.read(id, 2, read(u64::from(unit), to)).unwrap();
    assert!(matches!(one(&mut driver), Completion::Read { result: Ok(n), .. } if n == unit * 3));
    assert!(driver.pool().bytes(to).unwrap().iter().all(|&b| b == 0x5a));
}
