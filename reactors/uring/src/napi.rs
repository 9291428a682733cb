//! Polling of network cards by the kernel while a reactor waits in its ring.

use crate::errors::Warning;
use crate::ring::Ring;
use std::time::Duration;

/// How the kernel polls the cards of a ring's sockets (NAPI busy polling) before it sleeps.
///
/// It does so only while the thread waits in the ring: a thread that never sleeps polls its ring,
/// and interrupts bring the packets. Loopback has no card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Napi {
    /// How long it polls, to the microsecond.
    pub busy_poll: Duration,
    /// Whether the card's interrupts stay off meanwhile, where the interface has
    /// `napi_defer_hard_irqs` and `gro_flush_timeout` set.
    pub prefer_busy_poll: bool,
}

/// Switches it on; a kernel that cannot is a warning.
pub(crate) fn switch_on(ring: &Ring, napi: Napi, warnings: &mut Vec<Warning>) {
    // The field ends at 71 minutes; nobody polls a card for longer before sleeping.
    let micros = u32::try_from(napi.busy_poll.as_micros()).unwrap_or(u32::MAX);
    let mut wanted = io_uring::types::Napi::new()
        .set_busy_poll_timeout(micros)
        .set_prefer_busy_poll(napi.prefer_busy_poll);
    if let Err(source) = ring.submitter().register_napi(&mut wanted) {
        warnings.push(Warning::NoNapi { source });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_what_was_asked_for_or_a_sentence_says_what_is_missing() {
        for prefer_busy_poll in [true, false] {
            let mut warnings = Vec::new();
            let ring = Ring::new(8, &mut warnings).unwrap();
            warnings.clear();
            let napi = Napi { busy_poll: Duration::from_micros(40), prefer_busy_poll };
            switch_on(&ring, napi, &mut warnings);
            if let [warning] = &*warnings {
                assert!(warning.to_string().contains("it needs Linux 6.9"), "{warning}");
                continue;
            }
            // Disabling it returns the previous setting.
            let mut was = io_uring::types::Napi::new();
            ring.submitter().unregister_napi(&mut was).unwrap();
            assert_eq!((was.busy_poll_timeout(), was.prefer_busy_poll()), (40, prefer_busy_poll));
        }
    }
}
