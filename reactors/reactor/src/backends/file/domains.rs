//! What hangs as one: the files of a file system, or a block device.
//!
//! What the kernel cannot do without waiting it leaves to one of its workers, of which a reactor
//! has a bounded number. A file system that hangs would soon hold all of them, and no flush, no
//! UNMAP and no allocating write of any other would be carried out. So each of them has a share of
//! the workers ([`WORKERS_PER_FILE_SYSTEM_MAX`]), the reactor has workers for all shares, and what
//! finds no place in its share waits here.

use super::Io;
use super::maps::Mapper;
use std::collections::VecDeque;
use units::limits::WORKERS_PER_FILE_SYSTEM_MAX;
use uring::FileId;

/// Names a domain of one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DomainId(usize);

/// The domains of one reactor. The place of one that has no files is used again.
#[derive(Debug, Default)]
pub(super) struct Domains {
    table: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    /// The number of the file system or block device.
    device: u64,
    files: u32,
    /// Operations that have a place at the workers.
    at_workers: u32,
    /// Operations that wait for one, oldest first.
    waiting: VecDeque<Io>,
    /// The file system does nothing without waiting.
    always_waits: bool,
    /// What finds out where its files have blocks, once somebody has asked.
    mapper: Option<Mapper>,
}

impl Domains {
    /// A file of a device comes. Returns its domain.
    pub(super) fn enter(&mut self, device: u64) -> DomainId {
        let known = self.table.iter().position(|d| d.device == device && !d.is_unused());
        let place = known.or_else(|| self.table.iter().position(Domain::is_unused));
        let place = place.unwrap_or_else(|| {
            self.table.push(Domain::new(device));
            self.table.len() - 1
        });
        let domain = &mut self.table[place];
        if domain.is_unused() {
            *domain = Domain::new(device);
        }
        domain.files += 1;
        DomainId(place)
    }

    /// A file is closed.
    pub(super) fn leave(&mut self, DomainId(place): DomainId) {
        let domain = &mut self.table[place];
        assert!(domain.files > 0, "a file leaves its domain once");
        domain.files -= 1;
    }

    /// The workers that all shares need together.
    pub(super) fn workers(&self) -> u32 {
        // There is one for each file at most.
        units::len_u32(self.table.len()).saturating_mul(WORKERS_PER_FILE_SYSTEM_MAX)
    }

    /// Whether reads and writes of a domain go to a worker in any case.
    #[inline]
    pub(super) fn always_waits(&self, DomainId(place): DomainId) -> bool {
        self.table[place].always_waits
    }

    /// The file system has refused to do anything without waiting.
    pub(super) fn note_always_waits(&mut self, DomainId(place): DomainId) {
        self.table[place].always_waits = true;
    }

    /// Takes a place at the workers for an operation, which waits here if there is none: then
    /// [`Self::give_back`] returns it.
    pub(super) fn take_place(&mut self, io: Io) -> Option<Io> {
        let domain = &mut self.table[io.domain.0];
        if domain.at_workers < WORKERS_PER_FILE_SYSTEM_MAX {
            domain.at_workers += 1;
            return Some(Io { has_place: true, ..io });
        }
        domain.waiting.push_back(io);
        None
    }

    /// An operation gives its place back. Returns the one that has it now.
    pub(super) fn give_back(&mut self, DomainId(place): DomainId) -> Option<Io> {
        let domain = &mut self.table[place];
        assert!(domain.at_workers > 0, "a place is given back once");
        let next = domain.waiting.pop_front();
        if next.is_none() {
            domain.at_workers -= 1;
        }
        next.map(|io| Io { has_place: true, ..io })
    }

    /// What finds out where the files of a domain have blocks.
    pub(super) fn mapper(&mut self, DomainId(place): DomainId) -> &mut Option<Mapper> {
        &mut self.table[place].mapper
    }

    /// Whether an operation of a file waits here.
    pub(super) fn has_waiting(&self, file: FileId) -> bool {
        self.table.iter().any(|domain| domain.waiting.iter().any(|io| io.file == file))
    }
}

impl Domain {
    const fn new(device: u64) -> Self {
        Self {
            device,
            files: 0,
            at_workers: 0,
            waiting: VecDeque::new(),
            always_waits: false,
            mapper: None,
        }
    }

    fn is_unused(&self) -> bool {
        self.files == 0 && self.at_workers == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_device_share_a_domain_and_an_empty_one_is_used_again() {
        let mut domains = Domains::default();
        let (one, two) = (domains.enter(7), domains.enter(8));
        assert_ne!(one, two);
        assert_eq!(domains.enter(7), one);
        assert_eq!(domains.workers(), 64);
        domains.note_always_waits(one);
        domains.leave(one);
        assert_eq!(domains.enter(9), DomainId(2));
        domains.leave(one);
        assert_eq!(domains.enter(10), one);
        assert!(!domains.always_waits(one), "that was another file system");
        assert_eq!(domains.workers(), 96);
    }
}
