//! The hosts and the media that buffers are lent for. Each has a bound of its own, whatever the
//! sessions are through which it holds them.
//!
//! A host is charged from the loan to the return, also when the session that lent has ended. What
//! hangs as one (a file system, a block device) is charged while a buffer waits for it.

use crate::session::census::Source;
use units::{Instant, VolumeId, limits};

/// Names a party: the place of its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartyId(u32);

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Host(Source),
    /// A file system or block device.
    Device(u64),
    /// A volume that shares its fate with no other.
    Volume(VolumeId),
}

/// For whom a buffer is lent: a host and, where the task has a volume, what that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sides {
    pub(super) host: PartyId,
    pub(super) medium: Option<PartyId>,
}

impl Sides {
    /// Before all others.
    pub(super) const FIRST: Self = Self { host: PartyId(0), medium: None };
}

/// The parties. The place of one that is gone and holds nothing is used again.
#[derive(Debug)]
pub(super) struct Parties {
    classes: usize,
    table: Vec<Party>,
    /// Of each party, how many buffers of each class are charged to it.
    held: Vec<u32>,
}

#[derive(Debug)]
struct Party {
    name: Name,
    /// Its sessions, or its volumes.
    users: u32,
    /// When a buffer of its came back the last time while a task waited for one.
    returned_at: Instant,
}

impl Parties {
    /// Nobody.
    pub(super) const fn new(classes: usize) -> Self {
        Self { classes, table: Vec::new(), held: Vec::new() }
    }

    /// A session of a host comes, or a volume of a medium.
    #[cold]
    pub(super) fn enter(&mut self, name: Name) -> PartyId {
        let known = self.table.iter().position(|party| party.name == name);
        let place = known.or_else(|| (0..self.table.len()).find(|&place| self.is_unused(place)));
        let place = place.unwrap_or(self.table.len());
        if place == self.table.len() {
            self.table.push(Party { name, users: 0, returned_at: Instant(0) });
            self.held.resize(self.table.len() * self.classes, 0);
        }
        let party = &mut self.table[place];
        if party.name != name {
            *party = Party { name, users: 0, returned_at: Instant(0) };
        }
        party.users += 1;
        let Ok(first) = u32::try_from(place * self.classes) else {
            unreachable!("there are fewer parties than sessions, buffers and volumes together")
        };
        PartyId(first)
    }

    fn is_unused(&self, place: usize) -> bool {
        let counts = place * self.classes..(place + 1) * self.classes;
        self.table[place].users == 0 && self.held[counts].iter().all(|&held| held == 0)
    }

    /// A session of a host has ended, or a volume is gone. What is charged to it stays so.
    pub(super) fn leave(&mut self, party: PartyId) {
        let party = self.party_mut(party);
        assert!(party.users > 0, "a party is left once for each time that it was entered");
        party.users -= 1;
    }

    fn party_mut(&mut self, PartyId(first): PartyId) -> &mut Party {
        &mut self.table[first as usize / self.classes]
    }

    /// How many buffers of a class are charged to a party.
    #[inline]
    pub(super) fn held(&self, PartyId(first): PartyId, class: usize) -> usize {
        self.held[first as usize + class] as usize
    }

    /// One more.
    #[inline]
    pub(super) fn charge(&mut self, PartyId(first): PartyId, class: usize) {
        self.held[first as usize + class] += 1;
    }

    /// One fewer.
    #[inline]
    pub(super) fn discharge(&mut self, PartyId(first): PartyId, class: usize) {
        let held = &mut self.held[first as usize + class];
        debug_assert!(*held > 0, "what comes back was charged");
        *held -= 1;
    }

    /// Whether a buffer of a class, of which so many are free, may be lent for these.
    #[inline]
    pub(super) fn allow(&self, sides: Sides, class: usize, free: usize) -> bool {
        !self.is_full_host(sides, class, free) && !self.is_full_medium(sides, class, free)
    }

    /// Whether the host holds as many as are free.
    fn is_full_host(&self, sides: Sides, class: usize, free: usize) -> bool {
        self.held(sides.host, class) >= free
    }

    /// Whether so many wait for the medium that others would be left without.
    fn is_full_medium(&self, sides: Sides, class: usize, free: usize) -> bool {
        let held = sides.medium.map_or(0, |medium| self.held(medium, class));
        free == 0 || held * limits::MEDIUM_LEAVES >= free
    }

    /// A buffer came back that was lent for these, while a task waited for one.
    #[cold]
    pub(super) fn note_return(&mut self, sides: Sides, now: Instant) {
        self.party_mut(sides.host).returned_at = now;
        if let Some(medium) = sides.medium {
            self.party_mut(medium).returned_at = now;
        }
    }

    /// When a buffer came back the last time to those of them that hold all that they may of the
    /// larger ones of these classes. `None` where none does.
    pub(super) fn last_return(&self, sides: Sides, free: &[(usize, usize)]) -> Option<Instant> {
        let all = |is_full: fn(&Self, Sides, usize, usize) -> bool| {
            free.iter().all(|&(class, free)| is_full(self, sides, class, free))
        };
        let host = all(Self::is_full_host).then_some(sides.host);
        let medium = sides.medium.filter(|_| all(Self::is_full_medium));
        let at = |PartyId(first): PartyId| self.table[first as usize / self.classes].returned_at;
        host.into_iter().chain(medium).map(at).min()
    }

    /// How many buffers the hosts hold, and how many wait for media, in all.
    pub(super) fn totals(&self) -> [u32; 2] {
        let mut totals = [0; 2];
        for (party, held) in self.table.iter().zip(self.held.chunks(self.classes)) {
            let is_medium = !matches!(party.name, Name::Host(_));
            totals[usize::from(is_medium)] += held.iter().sum::<u32>();
        }
        totals
    }
}
