//! The settings of the daemon: its flags over its configuration.

use crate::config::{
    Applies, Config, Fault, Key, NODE_KEYS, NodeConfig, RawConfig, ReadSecret, SecretFault, Source,
    check, effective_text,
};
use crate::files::{ReadFault, open_regular, read_at_most, read_text};
use crate::flags::{Flags, NodeFlags};
use crate::start_fault::StartFault;
use control_api::{CONTROL_SOCKET_NAME, Setting, default_state_dir};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use units::limits::CONFIG_FILE_BYTES_MAX;
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
    /// The configuration as it is written.
    pub(crate) raw: RawConfig,
    /// The configuration, checked.
    pub(crate) config: Config,
    /// The secrets in force.
    pub(crate) secrets: Secrets,
}

/// A portal that the node wants to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortalWish {
    /// The portal.
    pub(crate) portal: Portal,
    /// The node serves without it, because it was not asked for by name.
    pub(crate) optional: bool,
}

/// How the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The keys of `[node]`.
    pub(crate) node: NodeConfig,
    /// The portals to listen on.
    pub(crate) portals: Vec<PortalWish>,
    /// The control socket.
    pub(crate) control: PathBuf,
    /// The control socket is where perfctl looks for it by default.
    pub(crate) control_is_default: bool,
    /// The keys that were given as flags.
    flags: NodeFlags,
}

/// The state directory: of the flags, else of the configuration, else the user's default one.
pub(crate) fn state_dir(flags: &Flags, config: Option<&Config>) -> Result<PathBuf, StartFault> {
    let configured = config.map(|c| c.node.clone()).unwrap_or_default();
    let found = flags.node.over(configured).state_dir.or_else(|| {
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
        let node = flags.node.over(config.node.clone());
        let control = node.control.clone();
        Self {
            portals: portals(flags, config),
            control_is_default: control.is_none() && node.state_dir.is_none(),
            control: control.unwrap_or_else(|| state_dir.join(CONTROL_SOCKET_NAME)),
            node,
            flags: flags.node.clone(),
        }
    }

    /// Takes over the keys of a configuration that need no restart. Flags still win.
    pub(crate) fn follow(&mut self, config: &Config) {
        let wanted = self.flags.over(config.node.clone());
        for key in NODE_KEYS.iter().filter(|key| key.applies == Applies::AtOnce) {
            (key.copy)(&wanted, &mut self.node);
        }
    }

    /// The keys of `[node]` that the status shows.
    pub(crate) fn shown(&self) -> Vec<Setting> {
        let setting = |key: &Key| {
            Some(Setting {
                key: key.name.to_owned(),
                label: key.status?.to_owned(),
                // Strings, numbers, switches and lists all have a form in JSON.
                value: key.written(&self.node).and_then(|v| serde_json::to_value(v).ok()),
                text: key.text(&self.node),
            })
        };
        NODE_KEYS.iter().filter_map(setting).collect()
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

fn portals(flags: &Flags, config: &Config) -> Vec<PortalWish> {
    let of_group_1 = |address| Portal { address, portal_group_tag: 1 };
    let wanted = |portal| PortalWish { portal, optional: false };
    if !flags.listen.is_empty() {
        return flags.listen.iter().map(|&address| wanted(of_group_1(address))).collect();
    }
    if !config.portals.is_empty() {
        return config.portals.iter().map(|&portal| wanted(portal)).collect();
    }
    // Loopback only: a node is reachable from the network only if that is configured.
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, ISCSI_PORT));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, ISCSI_PORT));
    vec![wanted(of_group_1(v4)), PortalWish { portal: of_group_1(v6), optional: true }]
}

/// The secrets that a configuration names, by their files, as they were read.
#[derive(Clone, Default)]
pub(crate) struct Secrets(BTreeMap<PathBuf, Result<Vec<u8>, SecretFault>>);

impl fmt::Debug for Secrets {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads all secrets that a text names which stands in this file. May block.
    pub(crate) fn read(file: &Path, text: &str) -> Self {
        check_with(file, text, &read_secret).0
    }

    /// The secret of a file, where it was read.
    pub(crate) fn find(&self, file: &Path) -> Option<Result<Vec<u8>, SecretFault>> {
        self.0.get(file).cloned()
    }
}

/// Reads and checks a file.
pub(crate) fn load(file: &Path, is_master: bool) -> Result<Loaded, StartFault> {
    let text = read_text(file, CONFIG_FILE_BYTES_MAX)
        .map_err(|fault| StartFault::Read { path: file.to_owned(), fault })?;
    load_text(file, is_master, &text).map_err(StartFault::Config)
}

/// Checks a text as that of this file.
pub(crate) fn load_text(file: &Path, is_master: bool, text: &str) -> Result<Loaded, Vec<Fault>> {
    load_text_with(file, is_master, text, &read_secret)
}

/// The same with secrets that come from elsewhere.
pub(crate) fn load_text_with(
    file: &Path,
    is_master: bool,
    text: &str,
    read_secret: ReadSecret<'_>,
) -> Result<Loaded, Vec<Fault>> {
    let (secrets, checked) = check_with(file, text, read_secret);
    let (raw, config) = checked?;
    Ok(Loaded { file: file.to_owned(), is_master, raw, config, secrets })
}

/// Checks a text, and keeps the secrets that were read for it, each once.
fn check_with(
    file: &Path,
    text: &str,
    read_secret: ReadSecret<'_>,
) -> (Secrets, Result<(RawConfig, Config), Vec<Fault>>) {
    let secrets = RefCell::new(Secrets::default());
    let once = |path: &Path| {
        let mut secrets = secrets.borrow_mut();
        secrets.0.entry(path.to_owned()).or_insert_with(|| read_secret(path)).clone()
    };
    let checked = check(Source { file, text }, &once);
    (secrets.into_inner(), checked)
}

/// A file of a secret is short; more than this is another file.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// The secret in a file, if only its owner can read and write it.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, SecretFault> {
    let unreadable = |fault: ReadFault| match fault {
        ReadFault::Long { .. } => SecretFault::Long,
        ReadFault::NotRegular(_) | ReadFault::Refused(_) => {
            SecretFault::Unreadable(fault.to_string())
        }
    };
    let file = open_regular(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(|error| SecretFault::Unreadable(error.to_string()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFault::Open(mode));
    }
    let mut secret = read_at_most(&file, SECRET_FILE_BYTES_MAX).map_err(unreadable)?;
    // Editors end a file with a newline, which is not part of the secret.
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
    fn by_default_the_node_listens_on_loopback() {
        let settings = settings(&Flags::default(), "");
        let shown: Vec<_> =
            settings.portals.iter().map(|w| (w.portal.address.to_string(), w.optional)).collect();
        assert_eq!(shown, [("127.0.0.1:3260".into(), false), ("[::1]:3260".into(), true)]);
        assert_eq!(settings.control, Path::new("/state/control.sock"));
        assert!(settings.control_is_default);
    }

    #[test]
    fn flags_win_over_the_configuration() {
        let flags = ["--listen", "127.0.0.1:1", "--queue-depth", "64", "--control", "/c"];
        let flags = Flags::of(&flags);
        let text = "[node]\nqueue_depth = 512\nspin_us = 7\n[[portal]]\naddress = \"[::]:3260\"\n";
        let settings = settings(&flags, text);
        assert_eq!(settings.node.queue_depth, 64);
        assert_eq!(settings.node.spin_us, 7);
        assert_eq!(settings.portals.len(), 1);
        assert_eq!(settings.portals[0].portal.address.to_string(), "127.0.0.1:1");
        assert_eq!(settings.control, Path::new("/c"));
        assert!(!settings.control_is_default);
    }

    #[test]
    fn only_keys_that_need_no_restart_are_followed() {
        let mut settings = settings(&Flags::default(), "");
        let text = "[node]\nqueue_depth = 512\nnaa_oui = \"00a0b1\"\n";
        settings.follow(&load_text(Path::new("/etc/p.toml"), true, text).unwrap().config);
        assert_eq!(settings.node.queue_depth, 1024);
        assert_eq!(settings.node.naa_oui, Some([0x00, 0xa0, 0xb1]));
    }

    #[test]
    fn what_is_printed_is_what_would_run() {
        let flags = Flags::of(&["--queue-depth", "64"]);
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
