//! One session: a nexus logged in, its command window, its tasks by tag, and what is still to be
//! reported to it. A session has one connection (MaxConnections=1), so the two live and end
//! together.

pub(crate) mod attentions;
pub(crate) mod census;
pub(crate) mod connection;
pub(crate) mod directory;
pub(crate) mod endings;
pub(crate) mod full_feature;
pub(crate) mod login;
pub(crate) mod nexus;
pub(crate) mod pings;
pub(crate) mod registry;
pub(crate) mod sessions;
pub(crate) mod stalls;
pub(crate) mod tags;

use crate::action::{Action, Placement, SendData};
use crate::task::order::TaskOrder;
use crate::task::overdue::Owed;
use crate::turn::Turn;
use attentions::Attentions;
use census::Source;
use iscsi::pdu::{Reject, RejectReason};
use iscsi::{
    Bhs, CmdSnVerdict, CommandWindow, Opcode, Parameters, TargetTransferTag, TextExchange,
};
use nexus::{Holder, Nexus};
use scsi::Sense;
use stalls::Moved;
use std::sync::Arc;
use tags::TaskTags;
use units::{ConnId, Instant, Mutant, Serial32, limits};
use volume::{LunMapping, TargetRecord};

/// What a session was logged in for.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// To find targets: SendTargets and nothing else. The address counts at the registrar.
    Discovery(Source),
    /// To use a target.
    Normal {
        /// The I_T nexus.
        nexus: Nexus,
        /// The target as the catalog had it last.
        target: Arc<TargetRecord>,
    },
}

/// A session in its full feature phase.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its connection on this core.
    pub(crate) conn: ConnId,
    pub(crate) purpose: Purpose,
    pub(crate) initiator_name: String,
    pub(crate) isid: [u8; 6],
    pub(crate) tsih: u16,
    pub(crate) cid: u16,
    pub(crate) parameters: Parameters,
    window: CommandWindow,
    immediate_in_flight: u32,
    /// The StatSN of the next response (RFC 7143 4.2.2.2).
    stat_sn: Serial32,
    pub(crate) tags: TaskTags,
    /// The ordered tasks, and who waits for them.
    pub(crate) order: TaskOrder,
    pub(crate) attentions: Attentions,
    pub(crate) text: TextExchange,
    pub(crate) ping: Ping,
    /// The data that its tasks wait for.
    pub(crate) owed: Owed,
    /// What is known of the bytes that its connection moves.
    pub(crate) moved: Moved,
    /// Data that nobody asked for has waited for a buffer in vain, while the session held so many.
    /// As long as it holds them it is refused at once.
    pub(crate) gave_up_on_buffers: Option<u32>,
    /// The initiator has asked for the end of the session.
    pub(crate) logging_out: bool,
    /// An async message has asked the initiator to log out.
    pub(crate) logout_requested: bool,
    next_transfer_tag: u32,
}

/// When the initiator last showed that it lives, and the ping that it has yet to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ping {
    /// The last PDU came, or its socket was last seen to move bytes.
    pub(crate) alive_at: Instant,
    pub(crate) outstanding: Option<(TargetTransferTag, Instant)>,
}

/// The serial numbers of a PDU to the initiator (RFC 7143 4.2.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) stat_sn: Serial32,
    pub(crate) exp_cmd_sn: Serial32,
    pub(crate) max_cmd_sn: Serial32,
}

/// Immediate requests that a session may have in flight.
const IMMEDIATE_PLACES: u32 = limits::IMMEDIATE_COMMANDS_MAX
    + limits::IMMEDIATE_FUNCTIONS_MAX
    + limits::IMMEDIATE_REQUESTS_MAX;

/// How many immediate requests may be in flight where one of this kind is still admitted: SCSI
/// commands leave places to task management, and both leave some to NOP-Out, text and logout.
#[cold]
fn immediate_places(opcode: Opcode) -> u32 {
    match opcode {
        Opcode::ScsiCommand => limits::IMMEDIATE_COMMANDS_MAX,
        Opcode::TaskManagementRequest => {
            limits::IMMEDIATE_COMMANDS_MAX + limits::IMMEDIATE_FUNCTIONS_MAX
        }
        Opcode::NopOut | Opcode::TextRequest | Opcode::LogoutRequest => IMMEDIATE_PLACES,
        Opcode::AsyncMessage
        | Opcode::DataIn
        | Opcode::DataOut
        | Opcode::LoginRequest
        | Opcode::LoginResponse
        | Opcode::LogoutResponse
        | Opcode::NopIn
        | Opcode::ReadyToTransfer
        | Opcode::Reject
        | Opcode::ScsiResponse
        | Opcode::SnackRequest
        | Opcode::TaskManagementResponse
        | Opcode::TextResponse
        | Opcode::Unknown(_) => unreachable!("only requests take a place"),
    }
}

impl Session {
    /// A session that begins now on connection `conn`.
    pub(crate) fn new(
        request: &iscsi::SessionRequest,
        purpose: Purpose,
        tsih: u16,
        conn: ConnId,
        now: Instant,
    ) -> Self {
        let mut attentions = Attentions::default();
        if let Purpose::Normal { target, .. } = &purpose {
            // SAM-5 6.2: a nexus that begins has not seen what came before it.
            attentions.raise_everywhere(
                target.luns.keys().copied(),
                Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
            );
        }
        Self {
            conn,
            purpose,
            initiator_name: request.initiator_name.clone(),
            isid: request.isid,
            tsih,
            cid: request.cid,
            parameters: request.parameters,
            window: CommandWindow::new(request.exp_cmd_sn, limits::COMMAND_WINDOW_MAX),
            immediate_in_flight: 0,
            stat_sn: request.stat_sn,
            tags: TaskTags::default(),
            order: TaskOrder::default(),
            attentions,
            text: TextExchange::default(),
            ping: Ping { alive_at: now, outstanding: None },
            owed: Owed::default(),
            moved: Moved::default(),
            gave_up_on_buffers: None,
            logging_out: false,
            logout_requested: false,
            next_transfer_tag: 0,
        }
    }

    /// The nexus of a normal session.
    #[inline]
    pub(crate) const fn nexus(&self) -> Option<&Nexus> {
        match &self.purpose {
            Purpose::Normal { nexus, .. } => Some(nexus),
            Purpose::Discovery(_) => None,
        }
    }

    /// A normal session as the holder of a reservation.
    pub(crate) fn holder(&self) -> Option<Holder> {
        Some(Holder { nexus: self.nexus()?.clone(), tsih: self.tsih })
    }

    /// The target of a normal session.
    #[inline]
    pub(crate) const fn target(&self) -> Option<&Arc<TargetRecord>> {
        match &self.purpose {
            Purpose::Normal { target, .. } => Some(target),
            Purpose::Discovery(_) => None,
        }
    }

    /// The mapping of a LUN of the session's target.
    #[inline]
    pub(crate) fn mapping(&self, number: u16) -> Option<LunMapping> {
        self.target()?.luns.get(&number).copied()
    }

    /// Raises a unit attention at the LUNs that lead to `volume`.
    pub(crate) fn raise_at(&mut self, volume: units::VolumeId, sense: Sense) {
        let Purpose::Normal { target, .. } = &self.purpose else { return };
        let luns = target.luns.iter().filter(|(_, m)| m.volume == volume).map(|(&l, _)| l);
        self.attentions.raise_everywhere(luns, sense);
    }

    /// A transfer tag that this session has not used lately (RFC 7143 11.8.5).
    pub(crate) const fn new_transfer_tag(&mut self) -> TargetTransferTag {
        let tag = self.next_transfer_tag;
        self.next_transfer_tag = if tag >= 0xffff_fffe { 0 } else { tag + 1 };
        TargetTransferTag(tag)
    }

    /// The serial numbers of a PDU that uses up a StatSN.
    #[inline]
    pub(crate) fn stamp(&mut self) -> Stamp {
        let stat_sn = self.stat_sn.take_next();
        Stamp { stat_sn, ..self.stamp_without_status() }
    }

    /// The serial numbers of a PDU that carries no status: it shows the next StatSN.
    #[inline]
    pub(crate) const fn stamp_without_status(&self) -> Stamp {
        Stamp {
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.window.exp_cmd_sn(),
            max_cmd_sn: self.window.max_cmd_sn(),
        }
    }

    /// Queues a PDU that ends no command on a volume.
    pub(crate) fn send(&self, header: [u8; 48], data: Vec<u8>, turn: &mut Turn<'_>) {
        let data = if data.is_empty() { SendData::None } else { SendData::Bytes(data) };
        turn.push(Action::Send { conn: self.conn, header, data, sample: None });
    }

    /// Whether a request may be carried out: in order, or immediate and not one too many. What
    /// lies outside of the window is silently ignored (RFC 7143 4.2.2.1).
    #[inline]
    pub(crate) fn admit(&mut self, bhs: &Bhs, cmd_sn: Serial32, turn: &mut Turn<'_>) -> bool {
        if !bhs.immediate() {
            return self.window.admit(cmd_sn) == CmdSnVerdict::InOrder;
        }
        self.admit_immediate(bhs, turn)
    }

    #[cold]
    fn admit_immediate(&mut self, bhs: &Bhs, turn: &mut Turn<'_>) -> bool {
        if self.immediate_in_flight >= immediate_places(bhs.opcode()) {
            self.reject(bhs, RejectReason::ImmediateCommandReject, turn);
            return false;
        }
        self.immediate_in_flight += 1;
        true
    }

    /// A request is answered: its place is free for another one.
    #[inline]
    pub(crate) fn retire(&mut self, immediate: bool) {
        if immediate {
            assert!(self.immediate_in_flight > 0, "an immediate request is retired once");
            self.immediate_in_flight -= 1;
            return;
        }
        self.window.retire();
        if Mutant::WindowRetiredTwice.is_active() && self.window.in_flight() > 0 {
            self.window.retire();
        }
    }

    /// Data of a command waits for a buffer: the window does not open meanwhile.
    pub(crate) fn hold_window(&mut self) {
        self.window.hold();
    }

    /// The data that waited has its place, or is not wanted any more.
    pub(crate) const fn release_window(&mut self) {
        self.window.release();
    }

    /// A command is refused for want of buffers.
    pub(crate) fn narrow_window(&mut self) {
        self.window.refuse();
    }

    /// How many commands the window has room for.
    pub(crate) const fn window_size(&self) -> u32 {
        self.window.size()
    }

    /// Whether the initiator may send no command that takes part in the window.
    pub(crate) fn window_is_closed(&self) -> bool {
        self.window.is_closed()
    }

    /// Asserts what holds between two calls: for debug builds and tests.
    pub(crate) fn self_check(&self) {
        self.tags.self_check();
        assert!(self.immediate_in_flight <= IMMEDIATE_PLACES, "{self:?}");
        let requests = self.window.in_flight() + self.immediate_in_flight;
        assert!(self.tags.count() <= requests, "every task has its place in the window: {self:?}");
    }

    /// Sends a Reject with the header of the bad PDU, whose data segment is dropped.
    pub(crate) fn reject(
        &mut self,
        bhs: &Bhs,
        reason: RejectReason,
        turn: &mut Turn<'_>,
    ) -> Placement {
        let Stamp { stat_sn, exp_cmd_sn, max_cmd_sn } = self.stamp();
        let mut header = [0; 48];
        Reject {
            reason,
            data_segment_length: 48,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: Serial32(0),
        }
        .emit(&mut header);
        self.send(header, bhs.raw().to_vec(), turn);
        Placement::Discard
    }
}
