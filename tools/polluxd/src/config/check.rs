//! Raw -> checked. All faults are collected, in the order of the file.

use super::fault::{Fault, Problem};
use super::faults::Faults;
use super::node::check_node;
use super::raw::{RawConfig, RawCredential, RawPortal};
use super::shape::read_shape;
use super::volumes::check_volumes;
use super::{Config, check_iscsi_name};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
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
    /// It has more than one line, or the line ends of another system.
    Lines,
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
            Self::Lines => f.write_str(
                "the secret has a line break; write it as one line without a carriage return",
            ),
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

/// Checks the length of a secret, and that it is one line.
///
/// # Errors
/// It is too short or too long, or has several lines.
pub(crate) fn check_secret(secret: &[u8]) -> Result<(), SecretFault> {
    match secret.len() {
        short if short < SECRET_BYTES_MIN => Err(SecretFault::Short(short)),
        long if long > limits::KEY_VALUE_BYTES_MAX => Err(SecretFault::Long),
        _ if secret.iter().any(|byte| matches!(byte, b'\n' | b'\r')) => Err(SecretFault::Lines),
        _ => Ok(()),
    }
}

/// Checks a configuration.
///
/// # Errors
/// All its faults; there is at least one.
pub(crate) fn check(
    source: Source<'_>,
    read_secret: ReadSecret<'_>,
) -> Result<(RawConfig, Config), Vec<Fault>> {
    let mut faults = Faults::new(source);
    let raw = read_shape(&mut faults, source.text);
    let node = check_node(&mut faults, &raw.node);
    let volumes = check_volumes(&mut faults, &raw.volumes);
    let mut checker = Checker { faults, read_secret };
    let portals = checker.check_portals(&raw.portals);
    let names: Vec<_> = raw.volumes.iter().map(|v| v.name.get_ref().as_str()).collect();
    let targets = checker.check_targets(&raw.targets, &names, &portals);
    let discovery_chap = raw
        .discovery
        .as_ref()
        .and_then(|d| checker.check_chap("discovery", d.chap.as_ref(), d.mutual_chap.as_ref()));
    let faults = checker.faults.into_sorted();
    if faults.is_empty() {
        return Ok((raw, Config { node, portals, volumes, targets, discovery_chap }));
    }
    Err(faults)
}

/// The check of what has names and secrets: portals, targets, CHAP.
pub(super) struct Checker<'a> {
    pub(super) faults: Faults<'a>,
    read_secret: ReadSecret<'a>,
}

impl Checker<'_> {
    fn check_portals(&mut self, raw: &[RawPortal]) -> Vec<Portal> {
        let mut portals: Vec<Portal> = Vec::new();
        for portal in raw {
            let text = portal.address.get_ref();
            let Ok(address) = text.parse::<SocketAddr>() else {
                let problem = Problem::BadAddress(text.clone());
                self.faults.add(portal.address.span(), "portal.address", problem);
                continue;
            };
            if portals.iter().any(|p| p.address == address) {
                let problem = Problem::Duplicate(format!("address {address}"));
                self.faults.add(portal.address.span(), "portal.address", problem);
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
            if let Some(target) = target.filter(|_| !self.faults.has(&format!("{owner}.chap"))) {
                self.faults.add(target.name.span(), mutual, Problem::MutualChapAlone);
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
            self.faults.add(raw.secret_file.span(), key, Problem::SecretShared);
        }
        Some(Chap { initiator, target: proof.map(|(_, secret)| secret) })
    }

    fn check_credential(&mut self, key: &str, raw: &RawCredential) -> Option<ChapSecret> {
        let file = self.faults.resolve(raw.secret_file.get_ref());
        let read = (self.read_secret)(&file);
        match read.and_then(|secret| check_secret(&secret).map(|()| secret)) {
            Ok(secret) => Some(ChapSecret { name: raw.name.get_ref().clone(), secret }),
            Err(fault) => {
                let problem = Problem::Secret { file, fault };
                self.faults.add(raw.secret_file.span(), format!("{key}.secret_file"), problem);
                None
            }
        }
    }

    /// An iSCSI name, in lower case.
    pub(super) fn check_name(&mut self, key: &str, raw: &toml::Spanned<String>) -> Option<String> {
        match check_iscsi_name(raw.get_ref()) {
            Ok(name) => Some(name),
            Err(problem) => {
                self.faults.add(raw.span(), key, problem);
                None
            }
        }
    }
}
