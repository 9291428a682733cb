//! One connection: which phase it is in, and what the PDU is for that is coming in.

use crate::action::Placement;
use crate::event::{Ending, Refusal};
use crate::session::Session;
use crate::task::data_out::Part;
use iscsi::pdu::{LoginRequest, LogoutRequest, NopOut, TaskManagementRequest, TextRequest};
use iscsi::{Bhs, Login, SessionRequest};
use std::net::SocketAddr;
use units::{BufId, Instant, Key, ReactorId};

/// One connection of the shard.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// The address that the initiator connected to.
    pub(crate) local: SocketAddr,
    pub(crate) phase: Phase,
    pub(crate) incoming: Incoming,
    /// Its address has too many logins in progress, or the core is full: its first request is
    /// refused.
    pub(crate) is_surplus: bool,
    /// A login request has come: until then the peer is not known to speak iSCSI.
    pub(crate) login_began: bool,
    /// The header of the PDU that comes in.
    pub(crate) header: Bhs,
    /// The buffer that its data segment goes into.
    pub(crate) filling: Option<BufId>,
    /// The data segment that comes in, if it is for the engine.
    pub(crate) segment: Vec<u8>,
    /// When the phase must be over: the login, the wait for the peer to close, or a discovery
    /// session without a text request.
    pub(crate) deadline: Instant,
    /// Why its session ends: the first reason counts.
    pub(crate) ending: Option<Ending>,
    /// Why its login was refused, with what exactly is wrong.
    pub(crate) refused: Option<(Refusal, Option<String>)>,
}

/// The phases of a connection (RFC 7143 8).
///
/// ```text
///   Login -> Registering -> FullFeature -> LoggedOut
/// ```
#[derive(Debug)]
pub(crate) enum Phase {
    /// Keys are negotiated.
    Login(Box<Login>),
    /// All is negotiated; the registrar decides about the session.
    Registering(Box<Registering>),
    /// The session is open.
    FullFeature(Box<Session>),
    /// The logout is answered; whatever still comes is dropped.
    LoggedOut,
}

/// A login whose session is being registered.
#[derive(Debug)]
pub(crate) struct Registering {
    pub(crate) login: Login,
    pub(crate) request: SessionRequest,
    /// The core where the session will live.
    pub(crate) place: ReactorId,
}

/// What the present PDU is for, from its header to its end.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A PDU whose data segment, if any, is read and dropped.
    Dropped,
    /// A login request.
    Login(LoginRequest),
    /// A logout request.
    Logout(LogoutRequest),
    /// A ping, or the answer to one.
    NopOut(NopOut),
    /// A part of a task's parameter list.
    Parameters { task: Key, part: Part },
    /// Data for a task's buffers, or for nothing.
    Task { task: Key, part: Part },
    /// A task management function.
    TaskManagement(TaskManagementRequest),
    /// A text request.
    Text(TextRequest),
}

/// The session of a PDU that comes in, and the place to note what the PDU is for.
pub(crate) struct Inlet<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) incoming: &'a mut Incoming,
}

impl Incoming {
    /// A PDU that brings `part` for a task, and whose data segment goes to `placement`.
    pub(crate) const fn for_task(task: Key, part: Part, placement: Placement) -> Self {
        match placement {
            Placement::Engine => Self::Parameters { task, part },
            Placement::Buffer(_) | Placement::Discard | Placement::Wait => {
                Self::Task { task, part }
            }
        }
    }
}

impl Phase {
    /// The session, in full feature phase.
    #[inline]
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Self::FullFeature(session) => Some(session),
            Self::Login(_) | Self::Registering(_) | Self::LoggedOut => None,
        }
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub(crate) fn new(
        peer: SocketAddr,
        local: SocketAddr,
        deadline: Instant,
        stat_sn: u32,
    ) -> Self {
        let login = Login::new(iscsi::Policy::default(), peer, units::Serial32(stat_sn));
        Self {
            peer,
            local,
            phase: Phase::Login(Box::new(login)),
            incoming: Incoming::Dropped,
            is_surplus: false,
            login_began: false,
            header: Bhs::new([0; 48]),
            filling: None,
            segment: Vec::new(),
            deadline,
            ending: None,
            refused: None,
        }
    }

    /// The session, in full feature phase.
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::FullFeature(session) => Some(session),
            Phase::Login(_) | Phase::Registering(_) | Phase::LoggedOut => None,
        }
    }
}
