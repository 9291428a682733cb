//! What login and discovery ask of the catalog of targets.

use std::net::{IpAddr, SocketAddr};

use crate::chap::ChapPolicy;

/// The catalog of targets with its access rules; another crate has it.
///
/// All names are in the canonical form of [`crate::names::canonical_name`], and addresses are
/// never IPv4 addresses in IPv6 clothing.
pub trait Directory {
    /// Whether an initiator may log in to a target from an address.
    fn admit(&self, target: &str, initiator: &str, peer: IpAddr) -> Admission;

    /// How initiators prove who they are before they may look for targets.
    fn discovery_authentication(&self) -> Authentication;

    /// Shows every target that the initiator may see from its address, with its portals and
    /// their portal group tags.
    fn visit_targets(&self, initiator: &str, peer: IpAddr, visit: &mut TargetVisitor<'_>);
}

/// Is shown a target's name and its portals with their portal group tags.
pub type TargetVisitor<'a> = dyn FnMut(&str, &[(SocketAddr, u16)]) + 'a;

/// Whether an initiator may log in to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may, once it has proved who it is.
    Admitted {
        /// Of the portal group in which the target is reached (RFC 7143 13.9).
        portal_group_tag: u16,
        /// What people call the target (13.6).
        alias: Option<String>,
        /// The proof.
        authentication: Authentication,
    },
    /// It may not.
    Forbidden,
    /// Target not found.
    NotFound,
    /// The target is elsewhere.
    Redirect {
        /// `host:port` or `host`, IPv6 addresses in brackets (13.8).
        address: String,
        /// Whether it will stay there.
        permanent: bool,
    },
    /// There was such a target, and it will not come back.
    Removed,
    /// There is such a target, but not at present.
    ServiceUnavailable,
}

/// How an initiator proves who it is (RFC 7143 12.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// With CHAP.
    Chap(ChapPolicy),
    /// Not at all.
    None,
}
