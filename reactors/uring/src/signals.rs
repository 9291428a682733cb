//! Signals that must not end the process.

use std::io;

/// Ignores what would end the process by default although it goes on well: SIGXFSZ, which comes
/// with every write past the limit of file sizes and whose write fails with EFBIG too, and the
/// signals for users, which mean nothing here. Threads started later ignore them too.
pub fn ignore_harmless() -> io::Result<()> {
    for signal in [libc::SIGXFSZ, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: SIG_IGN runs no code of ours, and these signals have no other handler whose
        // invariants could depend on it.
        let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
        if before == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
