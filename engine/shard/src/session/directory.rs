//! The catalog as login and discovery see it, and as administrators see the sessions.

use iscsi::directory::{Admission, TargetVisitor};
use iscsi::{Authentication, ChapAlgorithm, ChapPolicy, Credentials, Directory};
use std::net::{IpAddr, SocketAddr};
use units::ConnId;
use volume::{Catalog, Chap, TargetRecord};

/// The catalog, seen from one connection.
pub(crate) struct View<'a> {
    pub(crate) catalog: &'a Catalog,
    /// The address that the initiator connected to: it stands in for wildcard portals.
    pub(crate) local: SocketAddr,
    pub(crate) shutting_down: bool,
}

impl Directory for View<'_> {
    fn admit(&self, target: &str, initiator: &str, _peer: IpAddr) -> Admission {
        if self.shutting_down {
            return Admission::ServiceUnavailable;
        }
        match self.catalog.target(target) {
            None => Admission::NotFound,
            Some(t) if !t.access.admits(initiator) => Admission::Forbidden,
            Some(t) => Admission::Admitted {
                portal_group_tag: t.portal_group_tag,
                alias: t.alias.clone(),
                authentication: authentication(t.chap.as_ref()),
            },
        }
    }

    fn discovery_authentication(&self) -> Authentication {
        authentication(self.catalog.discovery_chap())
    }

    fn visit_targets(&self, initiator: &str, _peer: IpAddr, visit: &mut TargetVisitor<'_>) {
        for target in self.catalog.targets().iter().filter(|t| t.access.admits(initiator)) {
            let portals = self.portals_of(target);
            visit(&target.name, &portals);
        }
    }
}

impl View<'_> {
    /// The portals of a target. A wildcard stands for the address that the initiator came by.
    fn portals_of(&self, target: &TargetRecord) -> Vec<(SocketAddr, u16)> {
        let mut portals = Vec::new();
        for portal in self.catalog.portals() {
            if portal.portal_group_tag != target.portal_group_tag {
                continue;
            }
            let address = if portal.address.ip().is_unspecified() {
                SocketAddr::new(self.local.ip(), portal.address.port())
            } else {
                portal.address
            };
            if !portals.contains(&(address, portal.portal_group_tag)) {
                portals.push((address, portal.portal_group_tag));
            }
        }
        portals
    }
}

fn authentication(chap: Option<&Chap>) -> Authentication {
    let credentials =
        |s: &volume::ChapSecret| Credentials { name: s.name.clone(), secret: s.secret.clone() };
    match chap {
        None => Authentication::None,
        Some(chap) => Authentication::Chap(ChapPolicy {
            algorithms: ChapAlgorithm::ALL.to_vec(),
            initiator: credentials(&chap.initiator),
            target: chap.target.as_ref().map(credentials),
        }),
    }
}

/// One session, for administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The connection on its reactor.
    pub conn: ConnId,
    /// The target, or `None` for a discovery session.
    pub target: Option<String>,
    /// The initiator's name.
    pub initiator: String,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// The target's part.
    pub tsih: u16,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Headers carry CRC32C.
    pub header_digest: bool,
    /// Data segments carry CRC32C.
    pub data_digest: bool,
    /// Commands in flight.
    pub commands: u32,
    /// Commands that the window has room for when none is in flight.
    pub window: u32,
}
