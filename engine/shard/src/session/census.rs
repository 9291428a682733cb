//! How many logins and sessions each address and each initiator has: none of them may take the
//! places of all others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use units::limits;

/// How many sessions a registrar admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCaps {
    /// Of one address. The addresses of an IPv6 /64 have
    /// [`limits::ADDRESSES_PER_NETWORK`] times as many together.
    pub per_address: u32,
    /// Of one initiator name.
    pub per_initiator: u32,
}

impl Default for SessionCaps {
    fn default() -> Self {
        Self {
            per_address: limits::SESSIONS_PER_ADDRESS_MAX,
            per_initiator: limits::SESSIONS_PER_INITIATOR_MAX,
        }
    }
}

/// Where connections come from, as far as caps go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) const fn of(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The /64 of an IPv6 address: one host may have all of its addresses, but on a local network
    /// it is shared by all hosts. `None` for addresses that are valid on one link only, of which
    /// each host has one.
    fn network(self) -> Option<[u16; 4]> {
        match self.0 {
            IpAddr::V6(v6) if !v6.is_unicast_link_local() => {
                let [a, b, c, d, ..] = v6.segments();
                Some([a, b, c, d])
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

/// How many connections of each source there are.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    addresses: Tally<Source>,
    networks: Tally<[u16; 4]>,
}

impl Crowd {
    pub(crate) fn add(&mut self, source: Source) {
        self.addresses.add(source);
        if let Some(network) = source.network() {
            self.networks.add(network);
        }
    }

    pub(crate) fn remove(&mut self, source: Source) {
        self.addresses.remove(&source);
        if let Some(network) = source.network() {
            self.networks.remove(&network);
        }
    }

    /// What counts against the cap of an address: its own, or its part of what its network has.
    pub(crate) fn count(&self, source: Source) -> u32 {
        let of_network = source.network().map_or(0, |network| self.networks.count(&network));
        self.addresses.count(&source).max(of_network / limits::ADDRESSES_PER_NETWORK)
    }

    pub(crate) fn total(&self) -> u32 {
        self.addresses.total()
    }
}

/// How many of each key there are.
#[derive(Debug)]
pub(crate) struct Tally<K>(BTreeMap<K, u32>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Tally<K> {
    pub(crate) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.values().sum()
    }

    pub(crate) fn count<Q: Ord + ?Sized>(&self, key: &Q) -> u32
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// One fewer; forgets a key that has none left.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        let Some(count) = self.0.get_mut(key) else { unreachable!("it was counted when it came") };
        *count -= 1;
        if *count == 0 {
            self.0.remove(key);
        }
    }
}

/// The sessions of a registrar. Each is counted once by its address; normal ones by their
/// initiator, too.
#[derive(Debug)]
pub(crate) struct Census {
    caps: SessionCaps,
    initiators: Tally<String>,
    normal: Crowd,
    discovery: Crowd,
    discoveries: u32,
}

impl Census {
    pub(crate) fn new(caps: SessionCaps) -> Self {
        Self {
            caps,
            initiators: Tally::default(),
            normal: Crowd::default(),
            discovery: Crowd::default(),
            discoveries: 0,
        }
    }

    /// Whether there is room for one more normal session.
    pub(crate) fn has_room(&self, initiator: &str, source: Source) -> bool {
        self.normal.count(source) < self.caps.per_address
            && self.initiators.count(initiator) < self.caps.per_initiator
    }

    /// A normal session begins.
    pub(crate) fn enter(&mut self, initiator: &str, source: Source) {
        self.initiators.add(initiator.to_owned());
        self.normal.add(source);
    }

    /// A normal session is over.
    pub(crate) fn leave(&mut self, initiator: &str, source: Source) {
        self.initiators.remove(initiator);
        self.normal.remove(source);
    }

    /// A discovery session begins, if there is room for one more.
    pub(crate) fn try_enter_discovery(&mut self, source: Source) -> bool {
        let has_room = self.discoveries < limits::DISCOVERY_SESSIONS_MAX
            && self.discovery.count(source) < limits::DISCOVERY_SESSIONS_PER_ADDRESS_MAX;
        if has_room {
            self.discovery.add(source);
            self.discoveries += 1;
        }
        has_room
    }

    /// A discovery session is over.
    pub(crate) fn leave_discovery(&mut self, source: Source) {
        self.discovery.remove(source);
        self.discoveries -= 1;
    }

    /// Asserts that this many normal sessions are counted: for debug builds and tests.
    pub(crate) fn self_check(&self, normal: usize) {
        for counted in [self.initiators.total(), self.normal.total()] {
            assert_eq!(usize::try_from(counted), Ok(normal), "each session is counted once");
        }
        assert_eq!(self.discovery.total(), self.discoveries, "discoveries are counted by address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_one_source_however_it_is_written() {
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }

    #[test]
    fn an_ipv6_network_has_four_times_the_places_of_an_address() {
        let mut crowd = Crowd::default();
        let (here, there) = (source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        for _ in 0..40 {
            crowd.add(here);
        }
        assert_eq!((crowd.count(here), crowd.count(there)), (40, 10));
        assert_eq!(crowd.count(source("2001:db8:1:3::1")), 0);
        crowd.remove(here);
        assert_eq!((crowd.count(here), crowd.count(there), crowd.total()), (39, 9, 39));
    }

    #[test]
    fn hosts_of_one_link_do_not_count_for_each_other() {
        let mut crowd = Crowd::default();
        for _ in 0..40 {
            crowd.add(source("fe80::1"));
        }
        assert_eq!(crowd.count(source("fe80::2")), 0);
    }

    #[test]
    fn an_address_and_an_initiator_have_room_until_their_caps() {
        let mut census = Census::new(SessionCaps { per_address: 3, per_initiator: 2 });
        let (here, there) = (source("192.0.2.1"), source("192.0.2.2"));
        census.enter("a", here);
        census.enter("a", here);
        assert!(!census.has_room("a", here) && !census.has_room("a", there));
        assert!(census.has_room("b", here));
        census.enter("b", here);
        assert!(!census.has_room("c", here) && census.has_room("c", there));
        census.leave("a", here);
        assert!(census.has_room("a", here));
        census.self_check(2);
    }

    #[test]
    fn discovery_sessions_have_caps_of_their_own() {
        let mut census = Census::new(SessionCaps::default());
        let entered = |census: &mut Census, host: u32, tries: u32| {
            let source = Source::of(IpAddr::V4(host.into()));
            (0..tries).filter(|_| census.try_enter_discovery(source)).count()
        };
        assert_eq!(entered(&mut census, 0, 100), 64);
        for host in 1..8 {
            assert_eq!(entered(&mut census, host, 100), 64);
        }
        assert_eq!(entered(&mut census, 8, 1), 0, "the cap of all addresses");
        census.leave_discovery(Source::of(IpAddr::V4(3.into())));
        assert_eq!(entered(&mut census, 8, 2), 1);
    }
}
