//! What flags and configuration mean together: the settings with which the daemon runs.

use crate::config::{
    Config, Fault, NodeConfig, RawConfig, SecretFault, Source, check, check_cores, effective_text,
};
use crate::flags::Flags;
use crate::start_fault::StartFault;
use control_api::{CONTROL_SOCKET_NAME, default_state_dir};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use volume::Portal;

/// The port of iSCSI (RFC 7143 4.2.7.1, IANA "iscsi-target").
const ISCSI_PORT: u16 = 3260;

/// A configuration, and the file that it came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The file.
    pub(crate) file: PathBuf,
    /// The file is the administrator's: the daemon never writes it.
    pub(crate) is_master: bool,
    /// As it is written.
    pub(crate) raw: RawConfig,
    /// As it is meant.
    pub(crate) config: Config,
}

/// A portal that the node wants to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortalWish {
    /// The portal.
    pub(crate) portal: Portal,
    /// Without it the node still serves: nobody asked for it by name.
    pub(crate) optional: bool,
}

/// How the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Cores, rings and buffers.
    pub(crate) node: NodeConfig,
    /// Where it listens.
    pub(crate) portals: Vec<PortalWish>,
    /// The control socket.
    pub(crate) control: PathBuf,
    /// Nobody said where the state is: perfctl finds the socket by itself.
    pub(crate) control_is_default: bool,
}

/// The state directory that flags, then configuration, then custom say.
pub(crate) fn state_dir(flags: &Flags, config: Option<&Config>) -> Result<PathBuf, StartFault> {
    let configured = config.and_then(|c| c.node.state_dir.as_ref());
    let named = flags.state_dir.as_ref().or(configured).cloned();
    let found = named.or_else(|| {
        let xdg = std::env::var_os("XDG_STATE_HOME");
        let home = std::env::var_os("HOME");
        let is_root = rustix::process::geteuid().is_root();
        default_state_dir(is_root, xdg.as_deref(), home.as_deref())
    });
    let found = found.ok_or(StartFault::NoStateDir)?;
    // Volumes are recorded with their paths, which must mean the same at the next start.
    std::path::absolute(&found).map_err(|source| StartFault::Step {
        step: "find the state directory",
        path: found.clone(),
        source,
    })
}

impl Settings {
    /// The settings of flags and configuration, for a state directory.
    pub(crate) fn new(flags: &Flags, config: &Config, state_dir: &Path) -> Self {
        let control = flags.control.clone().or_else(|| config.node.control.clone());
        let state_is_default = flags.state_dir.is_none() && config.node.state_dir.is_none();
        Self {
            node: with_flags(config.node.clone(), flags),
            portals: portals(flags, config),
            control_is_default: control.is_none() && state_is_default,
            control: control.unwrap_or_else(|| state_dir.join(CONTROL_SOCKET_NAME)),
        }
    }

    /// The configuration with these settings filled in, as text.
    pub(crate) fn text(&self, raw: &RawConfig, state_dir: &Path) -> Result<String, StartFault> {
        let mut node = self.node.clone();
        node.state_dir = Some(state_dir.to_owned());
        node.control = Some(self.control.clone());
        let portals: Vec<_> = self.portals.iter().map(|wish| wish.portal).collect();
        effective_text(raw, &node, &portals).map_err(StartFault::Unwritable)
    }
}

fn with_flags(mut node: NodeConfig, flags: &Flags) -> NodeConfig {
    node.cores = flags.cores.clone().or(node.cores);
    node.queue_depth = flags.queue_depth.unwrap_or(node.queue_depth);
    node.poll = flags.poll.unwrap_or(node.poll);
    node.spin = flags.spin_us.map_or(node.spin, |us| Duration::from_micros(us.into()));
    node.buffers = flags.buffers.clone().unwrap_or(node.buffers);
    node.socket_buffer_bytes = flags.socket_buffer.or(node.socket_buffer_bytes);
    node.napi_busy_poll =
        flags.napi_busy_poll_us.map_or(node.napi_busy_poll, |us| Duration::from_micros(us.into()));
    node.napi_prefer_busy_poll |= flags.napi_prefer_busy_poll;
    node
}

fn portals(flags: &Flags, config: &Config) -> Vec<PortalWish> {
    let of_group_1 = |address| Portal { address, portal_group_tag: 1 };
    let wanted = |portal| PortalWish { portal, optional: false };
    if !flags.listen.is_empty() {
        return flags.listen.iter().map(|&address| wanted(of_group_1(address))).collect();
    }
    if !config.portals.is_empty() {
        return config.portals.iter().map(|&portal| wanted(portal)).collect();
    }
    // Loopback only: whoever wants the network to reach the node says so.
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, ISCSI_PORT));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, ISCSI_PORT));
    vec![wanted(of_group_1(v4)), PortalWish { portal: of_group_1(v6), optional: true }]
}

/// The cores that flags name, checked as those of the configuration are.
pub(crate) fn check_flags(flags: &Flags) -> Result<(), StartFault> {
    match flags.cores.as_deref().map(check_cores) {
        Some(Err(problem)) => Err(StartFault::Flag { flag: "--cores", problem }),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Reads and checks a file.
pub(crate) fn load(file: &Path, is_master: bool) -> Result<Loaded, StartFault> {
    let text = std::fs::read_to_string(file).map_err(|source| StartFault::Step {
        step: "read the configuration",
        path: file.to_owned(),
        source,
    })?;
    load_text(file, is_master, &text).map_err(StartFault::Config)
}

/// Checks a text as if it stood in this file.
pub(crate) fn load_text(file: &Path, is_master: bool, text: &str) -> Result<Loaded, Vec<Fault>> {
    let (raw, config) = check(Source { file, text }, &read_secret)?;
    Ok(Loaded { file: file.to_owned(), is_master, raw, config })
}

/// A file of a secret is short; more than this is another file.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// The secret in a file, if only its owner can read and write it.
fn read_secret(path: &Path) -> Result<Vec<u8>, SecretFault> {
    let unreadable = |e: std::io::Error| SecretFault::Unreadable(e.to_string());
    let metadata = path.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFault::Open(mode));
    }
    if metadata.len() > SECRET_FILE_BYTES_MAX {
        return Err(SecretFault::Long);
    }
    let mut secret = std::fs::read(path).map_err(unreadable)?;
    // Editors end a file with a newline, which is not meant.
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings(flags: &Flags, text: &str) -> Settings {
        let loaded = load_text(Path::new("/etc/p.toml"), true, text).unwrap();
        Settings::new(flags, &loaded.config, Path::new("/state"))
    }

    #[test]
    fn without_words_the_node_listens_on_loopback() {
        let settings = settings(&Flags::default(), "");
        let shown: Vec<_> =
            settings.portals.iter().map(|w| (w.portal.address.to_string(), w.optional)).collect();
        assert_eq!(shown, [("127.0.0.1:3260".into(), false), ("[::1]:3260".into(), true)]);
        assert_eq!(settings.control, Path::new("/state/control.sock"));
        assert!(settings.control_is_default);
    }

    #[test]
    fn flags_win_over_the_configuration() {
        let flags = Flags {
            listen: vec!["127.0.0.1:1".parse().unwrap()],
            queue_depth: Some(64),
            control: Some("/c".into()),
            ..Flags::default()
        };
        let text = "[node]\nqueue_depth = 512\nspin_us = 7\n[[portal]]\naddress = \"[::]:3260\"\n";
        let settings = settings(&flags, text);
        assert_eq!(settings.node.queue_depth, 64);
        assert_eq!(settings.node.spin, Duration::from_micros(7));
        assert_eq!(settings.portals.len(), 1);
        assert_eq!(settings.portals[0].portal.address.to_string(), "127.0.0.1:1");
        assert_eq!(settings.control, Path::new("/c"));
        assert!(!settings.control_is_default);
    }

    #[test]
    fn what_is_printed_is_what_would_run() {
        let flags = Flags { queue_depth: Some(64), ..Flags::default() };
        let loaded = load_text(Path::new("/etc/p.toml"), true, "").unwrap();
        let settings = Settings::new(&flags, &loaded.config, Path::new("/state"));
        let text = settings.text(&loaded.raw, Path::new("/state")).unwrap();
        let again = load_text(Path::new("/elsewhere.toml"), true, &text).unwrap();
        let again = Settings::new(&Flags::default(), &again.config, Path::new("/x"));
        assert_eq!(again.node.queue_depth, 64);
        assert_eq!(again.control, Path::new("/state/control.sock"));
        assert_eq!(again.portals.len(), 2);
    }

    #[test]
    fn a_secret_is_read_only_from_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "twelve bytes and more\n").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(read_secret(&path), Err(SecretFault::Open(0o640)));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(read_secret(&path), Ok(b"twelve bytes and more".to_vec()));
    }
}
