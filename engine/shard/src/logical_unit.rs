//! A logical unit as one core sees it: its shape, its reservation, the ranges held in it.

use crate::message::{Job, Note, Outcome, Ticket};
use crate::nexus::{Holder, Nexus};
use scsi::{Identity, Limits, ModePages, ModeParameters, NaaDesignator, Rotation, TargetPort};
use std::collections::VecDeque;
use units::{Key, VolumeId};
use volume::{Capabilities, Geometry, Naa, RangeSet, TargetRecord, VolumeRecord};

/// A logical unit on this core. All cores have the same, but for the moments in which a
/// [`Job`] is on its way.
#[derive(Debug)]
pub(crate) struct LogicalUnit {
    pub(crate) volume: VolumeId,
    pub(crate) geometry: Geometry,
    pub(crate) capabilities: Capabilities,
    /// What the device server knows. The target port in it is a stand-in: INQUIRY puts in that
    /// of the session's target.
    pub(crate) unit: scsi::UnitModel,
    /// Who holds a reservation by RESERVE.
    pub(crate) reserved_by: Option<Holder>,
    /// Ranges that COMPARE AND WRITE holds, on any core.
    pub(crate) held: RangeSet<TicketKey>,
    /// Tasks that wait for a held range.
    pub(crate) waiting: VecDeque<Key>,
    /// Its volume has gone from the catalog: no new command reaches it.
    pub(crate) removed: bool,
    /// The jobs, where this core is the unit's home.
    pub(crate) home: Home,
}

/// A [`Ticket`] as a plain value to compare.
pub(crate) type TicketKey = (u8, Key);

/// The key of a ticket.
pub(crate) const fn ticket_key(ticket: Ticket) -> TicketKey {
    (ticket.reactor.0, ticket.task)
}

impl LogicalUnit {
    /// The logical unit of a volume, as after a power on.
    pub(crate) fn new(record: &VolumeRecord) -> Self {
        Self {
            volume: record.id,
            geometry: record.geometry,
            capabilities: record.capabilities,
            unit: unit_of(record),
            reserved_by: None,
            held: RangeSet::new(),
            waiting: VecDeque::new(),
            removed: false,
            home: Home::default(),
        }
    }

    /// Takes over what the administrator changed; tells whether the capacity did.
    pub(crate) fn refresh(&mut self, record: &VolumeRecord) -> bool {
        let resized = self.geometry != record.geometry;
        let mode = self.unit.mode;
        self.geometry = record.geometry;
        self.capabilities = record.capabilities;
        self.unit = unit_of(record);
        self.unit.mode = mode;
        resized
    }

    /// Whether a command of `nexus` meets the reservation of another one.
    pub(crate) fn is_reserved_from(&self, nexus: &Nexus) -> bool {
        self.reserved_by.as_ref().is_some_and(|holder| holder.nexus != *nexus)
    }

    /// Whether writes must be durable one by one: the write cache is off, though the backend
    /// has one.
    pub(crate) const fn writes_through(&self) -> bool {
        self.capabilities.volatile_write_cache && !self.unit.mode.current.write_cache
    }
}

/// The jobs of a logical unit at its home: one at a time, so that all cores see them in the
/// same order.
#[derive(Debug, Default)]
pub(crate) struct Home {
    queue: VecDeque<(Option<Ticket>, Job)>,
    running: Option<Running>,
    held: RangeSet<TicketKey>,
    number: u64,
    /// Jobs are being started, further up in this call.
    pub(crate) is_polled: bool,
}

#[derive(Debug)]
struct Running {
    ticket: Option<Ticket>,
    /// Shards that have not answered yet.
    missing: u8,
}

/// What the home of a logical unit decided.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Every shard carries out this job.
    Broadcast { number: u64, job: Job },
    /// The asker gets this answer at once.
    Reply { ticket: Ticket, outcome: Outcome },
}

impl Home {
    /// A job has been asked for.
    pub(crate) fn enqueue(&mut self, ticket: Option<Ticket>, job: Job) {
        self.queue.push_back((ticket, job));
    }

    /// Forgets the job of an asker, unless it has begun; tells whether there was one.
    pub(crate) fn cancel(&mut self, asker: Ticket) -> bool {
        let before = self.queue.len();
        self.queue.retain(|(ticket, _)| *ticket != Some(asker));
        self.queue.len() != before
    }

    /// Starts the next job, if none runs and none is in its way. Call again until `None`.
    pub(crate) fn poll(&mut self, reserved_by: Option<&Holder>, shards: u8) -> Option<Decision> {
        if self.running.is_some() {
            return None;
        }
        let (_, job) = self.queue.front()?;
        if let Job::HoldRange { extent, .. } = job
            && self.held.overlaps(*extent)
        {
            return None;
        }
        let (ticket, job) = self.queue.pop_front()?;
        if let Job::Reserve { by: Holder { nexus: by, .. } } | Job::Release { by } = &job
            && reserved_by.is_some_and(|holder| holder.nexus != *by)
        {
            // A RELEASE by somebody else does nothing and is no error (SPC-2 7.16.1).
            let outcome = if matches!(job, Job::Release { .. }) {
                Outcome::Done
            } else {
                Outcome::ReservationConflict
            };
            return ticket.map(|ticket| Decision::Reply { ticket, outcome });
        }
        if let Job::HoldRange { extent, holder } = &job {
            self.held.hold(*extent, ticket_key(*holder));
        }
        self.number += 1;
        self.running = Some(Running { ticket, missing: shards });
        Some(Decision::Broadcast { number: self.number, job })
    }

    /// A shard has carried out job `number`. Returns the asker once all have.
    pub(crate) fn handle_done(&mut self, number: u64) -> Option<Ticket> {
        if number != self.number {
            return None;
        }
        let running = self.running.as_mut()?;
        running.missing = running.missing.saturating_sub(1);
        if running.missing > 0 {
            return None;
        }
        self.running.take().and_then(|r| r.ticket)
    }

    /// The holder of a range gives it back.
    pub(crate) fn release_range(&mut self, holder: Ticket) {
        self.held.release(ticket_key(holder));
    }
}

/// The note that asks the home of `volume` for `job`.
pub(crate) const fn ask(volume: VolumeId, ticket: Option<Ticket>, job: Job) -> Note {
    Note::Ask { volume, ticket, job }
}

/// What the SCSI device server needs to know about a volume.
fn unit_of(record: &VolumeRecord) -> scsi::UnitModel {
    let geometry = record.geometry;
    let capabilities = record.capabilities;
    let mut limits = Limits::new(geometry.block_size, geometry.physical_block_exponent);
    let granularity = capabilities.unmap_granularity_bytes >> geometry.block_size.shift();
    if granularity > 0 {
        limits.unmap_granularity = granularity;
    }
    if !capabilities.unmap {
        limits.unmap_blocks_max = 0;
        limits.unmap_descriptors_max = 0;
    }
    let default = ModeParameters {
        write_cache: capabilities.volatile_write_cache,
        descriptor_sense: false,
        software_write_protect: false,
    };
    scsi::UnitModel {
        identity: Identity {
            vendor: *b"POLLUX  ",
            product: *b"Virtual Disk    ",
            revision: REVISION,
            serial: record.wwid.serial.clone(),
            naa: match record.wwid.naa {
                Naa::LocallyAssigned(b) => NaaDesignator::LocallyAssigned(b),
                Naa::RegisteredExtended(b) => NaaDesignator::RegisteredExtended(b),
            },
        },
        block_size: geometry.block_size,
        blocks: geometry.blocks,
        physical_block_exponent: geometry.physical_block_exponent,
        lowest_aligned_lba: 0,
        limits,
        thin: capabilities.unmap,
        reads_zero_after_unmap: capabilities.reads_zero_after_unmap,
        rotation: if capabilities.rotational {
            Rotation::NotReported
        } else {
            Rotation::NonRotating
        },
        read_only: record.read_only,
        mode: ModePages {
            current: default,
            default,
            write_cache_changeable: capabilities.volatile_write_cache,
        },
        target_port: TargetPort {
            device_name: String::new(),
            name: String::new(),
            relative_port: 1,
            port_group: 1,
        },
    }
}

/// The port through which sessions of `target` see its logical units.
pub(crate) fn target_port(target: &TargetRecord) -> TargetPort {
    TargetPort {
        device_name: target.name.clone(),
        name: format!("{},t,0x{:04x}", target.name, target.portal_group_tag),
        relative_port: target.relative_port,
        port_group: target.portal_group_tag,
    }
}

/// PRODUCT REVISION LEVEL: the first two numbers of the version.
const REVISION: [u8; 4] = *b"0.1 ";
