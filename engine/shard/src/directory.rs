//! The catalog as login and discovery see it, and as administrators see the sessions.

use crate::logical_unit::LogicalUnit;
use crate::session::Purpose;
use crate::shard::{Shard, Turn};
use iscsi::directory::{Admission, TargetVisitor};
use iscsi::{Authentication, ChapAlgorithm, ChapPolicy, Credentials, Directory};
use scsi::Sense;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
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

impl Shard {
    /// The sessions of this core. For the control path: it allocates.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |(key, connection): (_, &crate::connection::Connection)| {
            let session = connection.session()?;
            Some(SessionInfo {
                conn: ConnId(key),
                target: session.target().map(|t| t.name.clone()),
                initiator: session.initiator_name.clone(),
                isid: session.isid,
                tsih: session.tsih,
                peer: connection.peer,
                local: connection.local,
                header_digest: session.parameters.header_digest,
                data_digest: session.parameters.data_digest,
                commands: u32::try_from(session.tags.keys().len()).unwrap_or(u32::MAX),
                window: units::limits::COMMAND_WINDOW_MAX,
            })
        };
        self.connections.iter().filter_map(info).collect()
    }

    /// Takes the first catalog.
    pub(crate) fn take_catalog(&mut self, catalog: Arc<Catalog>) {
        for record in catalog.volumes() {
            let place = usize::from(record.id.0);
            if self.units.len() <= place {
                self.units.resize_with(place + 1, || None);
            }
            self.units[place] = Some(Box::new(LogicalUnit::new(record)));
        }
        self.catalog = catalog;
    }

    /// Switches to a new catalog: units come, go or change size, and sessions whose target is
    /// gone, or no longer for their initiator, end. All others stay.
    pub(crate) fn switch_catalog(&mut self, catalog: Arc<Catalog>, turn: &mut Turn<'_>) {
        let mut resized = Vec::new();
        for (place, unit) in self.units.iter_mut().enumerate() {
            let id = u16::try_from(place).ok().map(units::VolumeId);
            match (id.and_then(|id| catalog.volume(id)), unit.as_mut()) {
                (Some(record), Some(known)) => {
                    if known.refresh(record) {
                        resized.push(record.id);
                    }
                }
                // Tasks of a unit that is gone end by themselves: the backend is closed only
                // when they have. So the unit stays, for its jobs and for tasks that wait.
                (None, Some(gone)) => gone.removed = true,
                (_, None) => {}
            }
        }
        for record in catalog.volumes() {
            let place = usize::from(record.id.0);
            if self.units.len() <= place {
                self.units.resize_with(place + 1, || None);
            }
            if self.units[place].is_none() {
                self.units[place] = Some(Box::new(LogicalUnit::new(record)));
            }
        }
        self.catalog = catalog;
        self.refresh_sessions(&resized, turn);
    }

    pub(crate) fn refresh_sessions(&mut self, resized: &[units::VolumeId], turn: &mut Turn<'_>) {
        let mut gone = Vec::new();
        for (key, connection) in self.connections.iter_mut() {
            let Some(session) = connection.session_mut() else { continue };
            let initiator = session.initiator_name.clone();
            let Purpose::Normal { target, .. } = &mut session.purpose else { continue };
            let Some(now) = self.catalog.target(&target.name) else {
                gone.push(ConnId(key));
                continue;
            };
            if !now.access.admits(&initiator) {
                gone.push(ConnId(key));
                continue;
            }
            let before = std::mem::replace(target, Arc::new(now.clone()));
            let (target, attentions) = (target.clone(), &mut session.attentions);
            let luns = || target.luns.keys().copied();
            if before.luns != target.luns {
                attentions.raise_everywhere(luns(), Sense::REPORTED_LUNS_DATA_HAS_CHANGED);
            }
            let grown = target.luns.iter().filter(|(_, m)| resized.contains(&m.volume));
            attentions
                .raise_everywhere(grown.map(|(&lun, _)| lun), Sense::CAPACITY_DATA_HAS_CHANGED);
        }
        for conn in gone {
            self.request_logout(conn, turn);
        }
    }
}
