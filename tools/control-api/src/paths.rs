//! Default paths shared by daemon and client.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The control socket's name in the state directory.
pub const CONTROL_SOCKET_NAME: &str = "control.sock";

/// The default state directory: `/var/lib/pollux` for root, for others
/// `$XDG_STATE_HOME/pollux` or `~/.local/state/pollux`. `None` if neither is set.
///
/// An empty or relative `XDG_STATE_HOME` is ignored, as the XDG base directory specification
/// asks.
pub fn default_state_dir(
    is_root: bool,
    xdg_state_home: Option<&OsStr>,
    home: Option<&OsStr>,
) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from("/var/lib/pollux"));
    }
    let xdg = xdg_state_home.map(Path::new).filter(|p| p.is_absolute());
    let home = home.map(Path::new).filter(|p| p.is_absolute());
    let base = xdg.map(Path::to_owned).or_else(|| home.map(|h| h.join(".local/state")))?;
    Some(base.join("pollux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(is_root: bool, xdg: Option<&str>, home: Option<&str>) -> Option<String> {
        default_state_dir(is_root, xdg.map(OsStr::new), home.map(OsStr::new))
            .map(|p| p.display().to_string())
    }

    #[test]
    fn root_has_the_system_directory() {
        assert_eq!(find(true, Some("/x"), Some("/root")).as_deref(), Some("/var/lib/pollux"));
    }

    #[test]
    fn others_have_one_of_their_own() {
        assert_eq!(find(false, Some("/x"), Some("/h")).as_deref(), Some("/x/pollux"));
        assert_eq!(find(false, None, Some("/h")).as_deref(), Some("/h/.local/state/pollux"));
        assert_eq!(find(false, Some(""), Some("/h")).as_deref(), Some("/h/.local/state/pollux"));
        assert_eq!(find(false, None, None), None);
    }
}
