//! One connection: which phase it is in, and what the PDU is for that is coming in.

use crate::session::Session;
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
    /// A login request has come: until then the peer is not known to speak iSCSI.
    pub(crate) login_began: bool,
    /// The header of the PDU that comes in.
    pub(crate) header: Bhs,
    /// The buffer that its data segment goes into.
    pub(crate) filling: Option<BufId>,
    /// The data segment that comes in, if it is for the engine.
    pub(crate) segment: Vec<u8>,
    /// When the phase must be over: the login, or the wait for the peer to close.
    pub(crate) deadline: Instant,
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
    /// A SCSI command; its immediate data goes to the task.
    Command { task: Key, immediate_len: u32 },
    /// Data for a task.
    Data { task: Key, len: u32, is_final: bool, solicited: Option<iscsi::TargetTransferTag> },
    /// A PDU that is read and dropped.
    Dropped,
    /// A login request.
    Login(LoginRequest),
    /// A logout request.
    Logout(LogoutRequest),
    /// A ping, or the answer to one.
    NopOut(NopOut),
    /// A part of a task's parameter list; `end` tells what it is besides.
    Parameters { task: Key, end: ParametersEnd },
    /// A task management function.
    TaskManagement(TaskManagementRequest),
    /// A text request.
    Text(TextRequest),
}

/// Which PDU brings a part of a parameter list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParametersEnd {
    /// The command itself.
    Command { immediate_len: u32 },
    /// A Data-Out.
    Data { len: u32, is_final: bool, solicited: Option<iscsi::TargetTransferTag> },
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
            login_began: false,
            header: Bhs::new([0; 48]),
            filling: None,
            segment: Vec::new(),
            deadline,
        }
    }

    /// The session, in full feature phase.
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::FullFeature(session) => Some(session),
            Phase::Login(_) | Phase::Registering(_) | Phase::LoggedOut => None,
        }
    }

    /// The session, in full feature phase, to change it.
    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::FullFeature(session) => Some(session),
            Phase::Login(_) | Phase::Registering(_) | Phase::LoggedOut => None,
        }
    }
}
