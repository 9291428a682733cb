//! Tests that start the daemon and talk to it over TCP.
//!
//! Each test owns its daemon: free ports, a state directory of its own, killed by its process id
//! when the test ends. The environment decides what is tested:
//!
//! * `POLLUXD`: the daemon's binary; else `polluxd` in the release directory of the build.
//!   `perfctl` is taken from the same directory.
//! * `E2E_PORTAL`, `E2E_TARGET`, `E2E_LUN`: another target that runs already. Tests that need a
//!   daemon of their own are skipped, and breaches of the standard that only the session sees are
//!   printed instead of failing the test. Use `--test-threads=1`, because all share one disk.
//! * `POLLUX_REQUIRE_TOOLS=1`: a missing program fails its test instead of skipping it.
//! * `QEMU_IMG`, `QEMU_IO`, `FIO_ISCSI`: programs with an iSCSI driver.
//! * `POLLUX_CRASH_ROUNDS`: rounds of the crash test, 50.
//! * `POLLUX_GARBAGE_SEEDS`: spoilt streams of the garbage test, 200.
//! * `POLLUX_HOSTILE=full`: the attacks of the hostile tests with their full figures.
//! * `POLLUX_SEED`: start of the random choices; a failure prints the one it used.

mod blocks;
mod daemon;
mod dialogue;
mod held;
pub mod hostile;
mod outcome;
mod process;
mod programs;
mod random;
mod shaped_link;
mod subject;

pub use blocks::{BlockContent, fill_block, read_block};
pub use daemon::{Daemon, Setup, perfctl};
pub use dialogue::{inquiry_is_answered, pattern};
pub use held::{Held, HeldFiles};
pub use outcome::Outcome;
pub use process::{allow_open_files, tcp_socket};
pub use programs::{Program, limit_of_a_program};
pub use random::{Random, number_from_environment, seed};
pub use shaped_link::{Entrance, ShapedLink};
pub use subject::{Subject, settle};
