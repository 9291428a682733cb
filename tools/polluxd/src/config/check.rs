//! Raw -> checked. All faults are collected, in the order of the file.

use super::fault::{Fault, Problem};
use super::position::{Position, key_at};
use super::raw::{RawConfig, RawCredential, RawPortal};
use super::{Config, check_iscsi_name};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use units::limits;
use volume::{Chap, ChapSecret, Portal};

/// A configuration to check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The file, for messages. Relative paths are relative to its directory.
    pub(crate) file: &'a Path,
    /// Its text.
    pub(crate) text: &'a str,
}

/// Why a secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretFault {
    /// It is too long for a CHAP exchange.
    Long,
    /// Others than its owner can read or write it. The file's mode.
    Open(u32),
    /// It is too short to withstand guessing.
    Short(usize),
    /// It cannot be read. The words of the operating system.
    Unreadable(String),
}

/// The shortest secret: RFC 7143 9.2.1 asks for 96 bits at least without IPsec.
const SECRET_BYTES_MIN: usize = 12;

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long => write!(
                f,
                "the secret is longer than {} bytes; use a shorter one",
                limits::KEY_VALUE_BYTES_MAX
            ),
            Self::Open(mode) => write!(
                f,
                "others than its owner can read or write it (mode {mode:04o}); run chmod 600"
            ),
            Self::Short(bytes) => write!(
                f,
                "the secret has {bytes} bytes; use at least {SECRET_BYTES_MIN} random bytes \
                 (RFC 7143 9.2.1)"
            ),
            Self::Unreadable(words) => write!(f, "cannot read the secret: {words}"),
        }
    }
}

/// Reads the secret that a file holds, without the newline at its end.
pub(crate) type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<Vec<u8>, SecretFault>;

/// Checks a configuration.
///
/// # Errors
/// All its faults; there is at least one.
pub(crate) fn check(
    source: Source<'_>,
    read_secret: ReadSecret<'_>,
) -> Result<(RawConfig, Config), Vec<Fault>> {
    let mut checker = Checker { source, read_secret, faults: Vec::new() };
    let raw = match toml::from_str::<RawConfig>(source.text) {
        Ok(raw) => raw,
        Err(error) => return Err(vec![checker.syntax_fault(&error)]),
    };
    let node = checker.check_node(&raw.node);
    let portals = checker.check_portals(&raw.portals);
    let volumes = checker.check_volumes(&raw.volumes);
    let names: Vec<_> = raw.volumes.iter().map(|v| v.name.get_ref().as_str()).collect();
    let targets = checker.check_targets(&raw.targets, &names, &portals);
    let discovery_chap = raw
        .discovery
        .as_ref()
        .and_then(|d| checker.check_chap("discovery", d.chap.as_ref(), d.mutual_chap.as_ref()));
    let mut faults = checker.faults;
    if faults.is_empty() {
        return Ok((raw, Config { node, portals, volumes, targets, discovery_chap }));
    }
    faults.sort_by_key(|f| f.position);
    Err(faults)
}

/// A check that is under way.
pub(super) struct Checker<'a> {
    pub(super) source: Source<'a>,
    read_secret: ReadSecret<'a>,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    /// Records a fault of the key at a place.
    pub(super) fn fault(&mut self, span: Range<usize>, key: impl Into<String>, problem: Problem) {
        self.faults.push(Fault {
            file: self.source.file.to_owned(),
            position: Some(Position::of(self.source.text, span.start)),
            key: Some(key.into()),
            problem,
        });
    }

    fn syntax_fault(&self, error: &toml::de::Error) -> Fault {
        let start = error.span().map(|s| s.start);
        let words = error.message().trim_end().replace('\n', "; ");
        // The words of serde. It names an unknown key already.
        let words = words.replace("unknown field", "unknown key");
        let key = start.and_then(|s| key_at(self.source.text, s));
        let key = key.filter(|key| !words.contains(&format!("`{key}`")));
        Fault {
            file: self.source.file.to_owned(),
            position: start.map(|s| Position::of(self.source.text, s)),
            key: key.map(str::to_owned),
            problem: Problem::Syntax(words),
        }
    }

    /// A path of the file; relative ones are relative to the directory of the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }

    /// The directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.source.file.parent().unwrap_or_else(|| Path::new(""))
    }

    fn check_portals(&mut self, raw: &[RawPortal]) -> Vec<Portal> {
        let mut portals: Vec<Portal> = Vec::new();
        for portal in raw {
            let text = portal.address.get_ref();
            let Ok(address) = text.parse::<SocketAddr>() else {
                let problem = Problem::BadAddress(text.clone());
                self.fault(portal.address.span(), "portal.address", problem);
                continue;
            };
            if portals.iter().any(|p| p.address == address) {
                let problem = Problem::Duplicate(format!("address {address}"));
                self.fault(portal.address.span(), "portal.address", problem);
                continue;
            }
            let group = portal.group.as_ref().map_or(1, |g| *g.get_ref());
            portals.push(Portal { address, portal_group_tag: group });
        }
        portals
    }

    /// CHAP of a target or of discovery; `owner` is the prefix of its keys in messages.
    pub(super) fn check_chap(
        &mut self,
        owner: &str,
        initiator: Option<&RawCredential>,
        target: Option<&RawCredential>,
    ) -> Option<Chap> {
        let mutual = format!("{owner}.mutual_chap");
        let Some(initiator) = initiator else {
            if let Some(target) = target {
                self.fault(target.name.span(), mutual, Problem::MutualChapAlone);
            }
            return None;
        };
        let proven = self.check_credential(&format!("{owner}.chap"), initiator);
        let proof = target.and_then(|raw| Some((raw, self.check_credential(&mutual, raw)?)));
        let initiator = proven?;
        if let Some((raw, secret)) = &proof
            && secret.secret == initiator.secret
        {
            let key = format!("{mutual}.secret_file");
            self.fault(raw.secret_file.span(), key, Problem::SecretShared);
        }
        Some(Chap { initiator, target: proof.map(|(_, secret)| secret) })
    }

    fn check_credential(&mut self, key: &str, raw: &RawCredential) -> Option<ChapSecret> {
        let file = self.resolve(raw.secret_file.get_ref());
        let read = (self.read_secret)(&file).and_then(|secret| match secret.len() {
            short if short < SECRET_BYTES_MIN => Err(SecretFault::Short(short)),
            long if long > limits::KEY_VALUE_BYTES_MAX => Err(SecretFault::Long),
            _ => Ok(secret),
        });
        match read {
            Ok(secret) => Some(ChapSecret { name: raw.name.get_ref().clone(), secret }),
            Err(fault) => {
                let problem = Problem::Secret { file, fault };
                self.fault(raw.secret_file.span(), format!("{key}.secret_file"), problem);
                None
            }
        }
    }

    /// An iSCSI name, in lower case.
    pub(super) fn check_name(&mut self, key: &str, raw: &toml::Spanned<String>) -> Option<String> {
        match check_iscsi_name(raw.get_ref()) {
            Ok(name) => Some(name),
            Err(problem) => {
                self.fault(raw.span(), key, problem);
                None
            }
        }
    }
}
