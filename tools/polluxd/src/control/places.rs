//! Who has a place where more want to be connected than there are places.
//!
//! A connection whose call is under way keeps its place. Of the others the one goes that has been
//! idle, or has followed an operation, for the longest time: connections which only wait never keep
//! out one that asks.

use std::time::Instant;
use units::limits::{CONTROL_CLIENTS_KEPT, CONTROL_CLIENTS_MAX};

/// A connection, as far as its place is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// It is of root, or of the user of the daemon.
    pub(super) is_privileged: bool,
    /// Since when it has done nothing but wait; `None` while its call is under way.
    pub(super) idle_since: Option<Instant>,
}

/// Whether there is a place for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<K> {
    /// There is.
    Free,
    /// All are taken by connections whose calls are under way.
    None,
    /// That of this connection, which goes.
    Of(K),
}

/// The place of a newcomer among the connections that are there. The last places are for the
/// privileged; the others displace no privileged connection.
pub(super) fn place<K>(
    is_privileged: bool,
    taken: impl ExactSizeIterator<Item = (K, Standing)>,
) -> Place<K> {
    let kept = if is_privileged { 0 } else { CONTROL_CLIENTS_KEPT };
    if taken.len() + kept < CONTROL_CLIENTS_MAX {
        return Place::Free;
    }
    let weaker = taken.filter(|(_, there)| is_privileged || !there.is_privileged);
    let idle = weaker.filter_map(|(key, there)| Some((there.idle_since?, key)));
    idle.min_by_key(|(since, _)| *since).map_or(Place::None, |(_, key)| Place::Of(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Connections by what they are: privileged or not, and since when they are idle, in seconds.
    fn place_among(is_privileged: bool, taken: &[(bool, Option<u64>)]) -> Place<usize> {
        let start = Instant::now();
        let standing = |&(is_privileged, idle): &(bool, Option<u64>)| {
            let idle_since = idle.map(|seconds| start + Duration::from_secs(seconds));
            Standing { is_privileged, idle_since }
        };
        place(is_privileged, taken.iter().map(standing).enumerate())
    }

    #[test]
    fn the_connection_that_is_idle_for_the_longest_time_goes() {
        let mut taken = vec![(true, Some(7)); 31];
        assert_eq!(place_among(true, &taken), Place::Free);
        taken.insert(12, (true, Some(3)));
        assert_eq!(place_among(true, &taken), Place::Of(12));
        taken[5].1 = Some(2);
        assert_eq!(place_among(true, &taken), Place::Of(5));
    }

    #[test]
    fn a_connection_whose_call_is_under_way_stays() {
        let mut taken = vec![(true, None); 32];
        assert_eq!(place_among(true, &taken), Place::None);
        taken[31].1 = Some(9);
        assert_eq!(place_among(true, &taken), Place::Of(31));
    }

    #[test]
    fn the_last_place_is_for_root_and_the_user_of_the_daemon() {
        let taken = vec![(false, None); 31];
        assert_eq!(place_among(false, &taken), Place::None);
        assert_eq!(place_among(true, &taken), Place::Free);
        assert_eq!(place_among(false, &taken[..30]), Place::Free);
    }

    #[test]
    fn others_displace_no_privileged_connection() {
        let mut taken = vec![(true, Some(1)); 31];
        assert_eq!(place_among(false, &taken), Place::None);
        taken[30] = (false, Some(2));
        assert_eq!(place_among(false, &taken), Place::Of(30));
        taken.push((true, Some(3)));
        assert_eq!(place_among(true, &taken), Place::Of(0));
    }
}
