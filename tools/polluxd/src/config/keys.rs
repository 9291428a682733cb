//! The keys of `[node]` as one table.
//!
//! A row is everything that is known about a key: its name, type, default, range, when a change
//! takes effect, its flag, and its label in `perfctl status`. [`super::key`] derives the parser,
//! the checks, the command line, the difference of two configurations, `--print-config` and the
//! status from it, and a test holds `pollux.example.toml` to it. A new key is a row here, a
//! paragraph there, and the line of code that reads [`NodeConfig`].

use super::key::{Applies, Field, Flag, Key, Kind};
use super::values::Poll;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use units::{PoolLayout, limits};

/// Makes [`NodeConfig`], its defaults and [`NODE_KEYS`] of the rows below.
macro_rules! node_keys {
    ($(
        $(#[$doc:meta])*
        $name:ident: $type:ty = $default:expr,
        $kind:ident($($argument:expr),*), $applies:ident,
        $flag:expr, $status:expr;
    )*) => {
        /// How the node runs: the checked values of `[node]`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct NodeConfig {
            $($(#[$doc])* pub(crate) $name: $type,)*
        }

        impl Default for NodeConfig {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// Every key, in the order of `--help` and `--print-config`.
        pub(crate) static NODE_KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            kind: $kind(
                Field { of: |node| &node.$name, of_mut: |node| &mut node.$name },
                $($argument),*
            ),
            applies: Applies::$applies,
            flag: $flag,
            status: $status,
            copy: |from, to| to.$name = from.$name.clone(),
            differs: |old, new| old.$name != new.$name,
        },)*];
    };
}

// name: type = default,
//     kind(range or meaning when unset), when a change takes effect,
//     flag, label in the status;
#[rustfmt::skip]
node_keys! {
    /// The state directory.
    state_dir: Option<PathBuf> = None,
        path("/var/lib/pollux for root, otherwise $XDG_STATE_HOME/pollux or ~/.local/state/pollux"),
        AtRestart, flag("state-dir", "DIR", "Directory for all persistent state"), None;
    /// The control socket.
    control: Option<PathBuf> = None,
        path("control.sock in the state directory"), AtRestart,
        flag("control", "PATH", "Control socket that perfctl connects to"), None;
    /// The cores, one reactor each.
    cores: Option<Vec<u16>> = None,
        cores("the first core that the process may use"), AtRestart,
        flag("cores", "LIST", "Run one reactor, pinned, on each of these cores, for example 0,1"),
        None;
    /// Entries of each ring. Below the least, a single connection fills it; above the most, the
    /// completions of all entries exceed the kernel's largest queue.
    queue_depth: u32 = 1024,
        number(64..=8192, ""), AtRestart,
        flag("queue-depth", "N", "Submission queue entries of each reactor's io_uring"),
        Some("queue depth");
    /// What a reactor does when it is idle.
    poll: Poll = Poll::Adaptive,
        poll(), AtRestart,
        flag("poll", "MODE", "What a reactor does when it is idle"), Some("poll");
    /// How long an idle reactor spins in mode adaptive: a second is as good as mode busy.
    spin_us: u32 = 50,
        number(0..=1_000_000, "us"), AtRestart,
        flag("spin-us", "N", "How long an idle reactor spins in mode adaptive before it sleeps, \
            in microseconds"),
        Some("spin");
    /// The buffer pool of each reactor.
    buffers: PoolLayout = reactor::default_layout(1),
        buffers(), AtRestart,
        flag("buffers", "SIZE:COUNT,...", "Buffer pool of each reactor"), Some("buffers");
    /// A reactor that waits only for the disk sleeps in every mode, because the kernel's workers
    /// may need its core.
    sleep_on_disk: bool = true,
        switch(), AtRestart, None, Some("sleep on disk");
    /// Bytes of the kernel's send and receive buffers of each connection. The least holds the
    /// header and the data of a few small commands; more than the most is a typing error.
    socket_buffer: Option<u32> = None,
        size(16 << 10..=1 << 30, "sized by the kernel"), AtRestart,
        flag("socket-buffer", "SIZE", "Kernel send and receive buffers of each connection, for \
            example 4MiB"),
        Some("socket buffers");
    /// How long the kernel polls network cards when a reactor begins to wait; 0 is never.
    napi_busy_poll_us: u32 = 0,
        number(0..=1_000_000, "us"), AtRestart,
        flag("napi-busy-poll-us", "N", "How long the kernel polls the network cards for a waiting \
            reactor before it sleeps, in microseconds; 0 is never. No effect in mode busy, which \
            never waits"),
        Some("NAPI busy poll");
    /// Whether the cards' interrupts stay off while the kernel polls them.
    napi_prefer_busy_poll: bool = false,
        switch(), AtRestart,
        flag("napi-prefer-busy-poll", "", "Keep the interrupts of the network cards off while \
            the kernel polls them"),
        Some("NAPI preferred");
    /// How long a connection may take to log in. More than five minutes would let connections
    /// that never log in hold the places of those that do.
    login_timeout_s: u32 = 15,
        number(1..=300, "s"), AtRestart, None, Some("login timeout");
    /// Sessions of one address that each registrar admits. More than all reactors hold is no cap.
    sessions_per_address: u32 = limits::SESSIONS_PER_ADDRESS_MAX,
        number(1..=65_535, ""), AtRestart, None, None;
    /// Sessions of one initiator name.
    sessions_per_initiator: u32 = limits::SESSIONS_PER_INITIATOR_MAX,
        number(1..=65_535, ""), AtRestart, None, None;
    /// The IEEE OUI of the NAA 6 names of new volumes.
    naa_oui: Option<[u8; 3]> = None,
        oui("none; new volumes get NAA 3 names"), AtOnce, None, Some("OUI");
}

const fn flag(long: &'static str, value_name: &'static str, help: &'static str) -> Option<Flag> {
    Some(Flag { long, value_name, help })
}

const fn buffers(field: Field<PoolLayout>) -> Kind {
    Kind::Buffers { field }
}

const fn cores(field: Field<Option<Vec<u16>>>, unset: &'static str) -> Kind {
    Kind::Cores { field, unset }
}

const fn number(field: Field<u32>, range: RangeInclusive<u32>, unit: &'static str) -> Kind {
    Kind::Number { field, range, unit }
}

const fn oui(field: Field<Option<[u8; 3]>>, unset: &'static str) -> Kind {
    Kind::Oui { field, unset }
}

const fn path(field: Field<Option<PathBuf>>, unset: &'static str) -> Kind {
    Kind::Path { field, unset }
}

const fn poll(field: Field<Poll>) -> Kind {
    Kind::Poll { field }
}

const fn size(field: Field<Option<u32>>, range: RangeInclusive<u32>, unset: &'static str) -> Kind {
    Kind::Size { field, range, unset }
}

const fn switch(field: Field<bool>) -> Kind {
    Kind::Switch { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn each_key_has_one_row_and_a_flag_of_its_name() {
        let names: BTreeSet<_> = NODE_KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), NODE_KEYS.len());
        for key in NODE_KEYS {
            if let Some(flag) = &key.flag {
                assert_eq!(flag.long, key.name.replace('_', "-"));
            }
        }
    }

    #[test]
    fn a_label_of_the_status_fits_its_column() {
        for label in NODE_KEYS.iter().filter_map(|key| key.status) {
            assert!(label.len() <= 14, "{label}");
        }
    }

    #[test]
    fn each_default_is_valid_and_is_written_as_it_is_read() {
        let defaults = NodeConfig::default();
        for key in NODE_KEYS {
            let Some(written) = key.written(&defaults) else { continue };
            let mut read = defaults.clone();
            key.read(&written, Path::new(""), &mut read).unwrap();
            assert!(!(key.differs)(&defaults, &read), "{}", key.name);
        }
    }
}
