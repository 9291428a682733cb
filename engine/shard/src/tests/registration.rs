//! Logins and the registrar of their nexus, over several cores.

use super::initiator::{Initiator, UNASKED, write_10};
use super::sessions::login_status;
use super::world::World;
use std::time::Duration;

/// SERVICE UNAVAILABLE (RFC 7143 11.13.5).
const SERVICE_UNAVAILABLE: [u8; 2] = [3, 1];

/// The registrar of a nexus has to refuse a login that waits too long. A core without
/// connections did not look at the clock, and left the login waiting for ever.
#[test]
fn a_login_behind_a_hung_backend_is_refused_in_bounded_time() {
    // Names whose nexus is registered with each of the three cores.
    for name in ["a", "b", "c"] {
        let mut world = World::new(3);
        let mut old = Initiator::log_in(&mut world, 0, name, UNASKED);
        world.backend_is_held = true;
        old.start(&mut world, write_10(0, 1).with(&[1; 512]));
        let new = Initiator::knock(&mut world, 0, name, UNASKED);
        world.pass(Duration::from_secs(12));
        assert_eq!(login_status(&mut world, &new), Some(SERVICE_UNAVAILABLE), "{name}");
        assert!(world.is_closed(new.place));
        world.release_backend();
        let again = Initiator::knock(&mut world, 0, name, UNASKED);
        assert_eq!(login_status(&mut world, &again), Some([0, 0]));
        world.assert_at_rest();
    }
}
