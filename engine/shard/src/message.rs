//! What shards tell each other, and what a connection takes with it to another core.

use crate::session::Session;
use crate::session::census::Source;
use crate::session::nexus::{Holder, Nexus};
use crate::session::registry::{Applicant, DiscoveryEntered};
use iscsi::pdu::LoginStatus;
use scsi::ModeParameters;
use std::net::SocketAddr;
use units::{ConnId, Key, ReactorId, VolumeId};
use volume::ByteRange;

/// What a shard tells another one. Opaque to the reactor, which only carries it.
#[derive(Debug)]
pub struct Message(pub(crate) Note);

/// The content of a [`Message`].
#[derive(Debug)]
pub(crate) enum Note {
    /// A logical unit's home tells the asker how its job ended.
    Answer { ticket: Ticket, outcome: Outcome },
    /// A shard asks a logical unit's home for a job.
    Ask { volume: VolumeId, ticket: Option<Ticket>, job: Job },
    /// The task that asked for a job was aborted: a job that has not begun is not carried out.
    Cancel { volume: VolumeId, ticket: Ticket },
    /// The registrar's answer to [`Self::EnterDiscovery`].
    DiscoveryEntered(DiscoveryEntered),
    /// A discovery session has ended.
    DiscoveryOver { source: Source },
    /// The registrar tells the shard that holds a nexus's session to end it.
    Displace { nexus: Nexus, tsih: u16 },
    /// The home of a logical unit tells every shard to carry out a job.
    Do(Duty),
    /// A shard has carried it out.
    Done { volume: VolumeId, number: u64 },
    /// A login for a discovery session has come to its end: the registrar counts it.
    EnterDiscovery { conn: ConnId, source: Source },
    /// How many sessions the shard that sends this has.
    Load { sessions: u32 },
    /// A login has come to its end: register the session, displacing an older one, or join it to
    /// the session of a TSIH.
    Register { nexus: Nexus, applicant: Applicant },
    /// The answer: the session's TSIH, or why there is none.
    Registered { conn: ConnId, nexus: Nexus, outcome: Result<u16, LoginStatus> },
    /// The holder of a range gives it back: from the holder to the home, and on to all shards.
    ReleaseRange { volume: VolumeId, holder: Ticket },
    /// A session has ended, and with it all that it had under way.
    SessionOver { nexus: Nexus, tsih: u16 },
}

/// Names a task of a shard to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The shard.
    pub(crate) reactor: ReactorId,
    /// The task.
    pub(crate) task: Key,
}

/// A change to a logical unit that all cores must have made before it counts as done.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Hold a range for an atomic update: what overlaps it ends first or waits.
    HoldRange { range: ByteRange, holder: Ticket },
    /// Change the mode parameters.
    Mode { by: Nexus, parameters: ModeParameters },
    /// The nexus is lost: its reservation ends (SPC-2 5.5.1).
    NexusLost { holder: Holder },
    /// RELEASE.
    Release { by: Nexus },
    /// RESERVE.
    Reserve { by: Holder },
    /// LOGICAL UNIT RESET (SAM-5 7.7).
    Reset { asker: Ticket },
}

/// A job that every shard carries out.
#[derive(Clone, Debug)]
pub(crate) struct Duty {
    pub(crate) volume: VolumeId,
    /// The number that the home gave it.
    pub(crate) number: u64,
    pub(crate) job: Job,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every core has done it.
    Done,
    /// Another nexus holds the reservation.
    ReservationConflict,
}

/// A logged-in connection on its way to another core: all that the other shard needs to go on
/// where this one stopped. The socket and the bytes received already travel beside it.
#[derive(Debug)]
pub struct HandedOver {
    /// Headers carry CRC32C from now on.
    pub header_digest: bool,
    /// Data segments carry CRC32C from now on.
    pub data_digest: bool,
    /// Data segments that the initiator sends may be this long, in bytes.
    pub max_data_segment_length: u32,
    pub(crate) session: Box<Session>,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}
