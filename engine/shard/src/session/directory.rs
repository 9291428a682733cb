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
            // RFC 7143 11.13.5: there is no such target at this address.
            Some(t) if !self.is_reached_here(t) => Admission::NotFound,
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
            // Without an address an initiator would look for the target at this one.
            if !portals.is_empty() || self.is_reached_here(target) {
                visit(&target.name, &portals);
            }
        }
    }
}

impl View<'_> {
    /// Whether the portal that the initiator came by is one of the target's group.
    fn is_reached_here(&self, target: &TargetRecord) -> bool {
        // A node that serves has portals. A shard without any is one by itself, in a test.
        self.catalog.portals().is_empty()
            || self.catalog.portal_group_at(self.local) == Some(target.portal_group_tag)
    }

    /// The portals of a target. A wildcard stands for the address that the initiator came by.
    fn portals_of(&self, target: &TargetRecord) -> Vec<(SocketAddr, u16)> {
        let mut portals = Vec::new();
        for portal in self.catalog.portals() {
            if portal.portal_group_tag != target.portal_group_tag {
                continue;
            }
            let local = self.local.ip().to_canonical();
            let address = if portal.address.ip().is_unspecified() {
                if portal.address.is_ipv4() && local.is_ipv6() {
                    // It takes no connection to that address.
                    continue;
                }
                SocketAddr::new(local, portal.address.port())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use volume::{Access, Portal};

    fn target(name: &str, portal_group_tag: u16) -> TargetRecord {
        TargetRecord {
            name: name.into(),
            alias: None,
            portal_group_tag,
            relative_port: portal_group_tag,
            luns: BTreeMap::new(),
            access: Access::Any,
            chap: None,
        }
    }

    fn catalog() -> Catalog {
        let portals = [("192.0.2.1:3260", 1), ("0.0.0.0:3261", 2)].map(|(address, tag)| Portal {
            address: address.parse().unwrap(),
            portal_group_tag: tag,
        });
        let targets = [("iqn.a", 1), ("iqn.b", 2), ("iqn.c", 3)].map(|(n, tag)| target(n, tag));
        Catalog::new(1, vec![], targets.into(), portals.into()).unwrap()
    }

    fn view<'a>(catalog: &'a Catalog, local: &str) -> View<'a> {
        View { catalog, local: local.parse().unwrap(), shutting_down: false }
    }

    /// A target of group 2 was served through a portal of group 1.
    #[test]
    fn a_target_is_reached_through_the_portals_of_its_group_only() {
        let catalog = catalog();
        let peer = IpAddr::from([192, 0, 2, 9]);
        let finds = |local: &str, name: &str| {
            let admission = view(&catalog, local).admit(name, "iqn.host", peer);
            assert!(matches!(admission, Admission::Admitted { .. } | Admission::NotFound));
            admission != Admission::NotFound
        };
        let at_group_1 = ["iqn.a", "iqn.b", "iqn.c"].map(|name| finds("192.0.2.1:3260", name));
        assert_eq!(at_group_1, [true, false, false]);
        let at_group_2 = ["iqn.a", "iqn.b", "iqn.c"].map(|name| finds("192.0.2.7:3261", name));
        assert_eq!(at_group_2, [false, true, false]);
    }

    #[test]
    fn discovery_reports_each_target_with_the_portals_of_its_group() {
        let catalog = catalog();
        let peer = IpAddr::from([192, 0, 2, 9]);
        let mut found = Vec::new();
        view(&catalog, "192.0.2.1:3260").visit_targets("iqn.host", peer, &mut |name, portals| {
            found.push((name.to_owned(), portals.to_vec()));
        });
        let expected = [("iqn.a", "192.0.2.1:3260", 1), ("iqn.b", "192.0.2.1:3261", 2)];
        let expected =
            expected.map(|(n, address, tag)| (n.to_owned(), vec![(address.parse().unwrap(), tag)]));
        assert_eq!(found, expected);
    }
}
