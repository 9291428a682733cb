//! Initiators that attack: they log in like any other, and then hold on to what they can get.
//!
//! Nothing that comes back to them is checked, and nothing that they send changes a medium: a
//! WRITE of theirs never has its data. When the target drops one, it comes again.

use super::hear::Pdu;
use super::send::Ping;
use super::session::{Phase, Session};
use super::{Clients, Event};
use crate::admin::lun_of;
use crate::framing::{Damage, Digests, encode};
use crate::plan::Hostility;
use crate::rng::{size, word};
use crate::run::Stage;
use crate::scene::Scene;
use crate::wires::Pace;
use iscsi::pdu::{NopIn, ScsiCommand, TaskAttribute};
use iscsi::{InitiatorTaskTag, Opcode, TargetTransferTag};
use units::Serial32;

/// A hostile initiator in its turn.
pub(super) struct Attacker<'a> {
    pub(super) clients: &'a mut Clients,
    pub(super) scene: &'a mut Scene,
    pub(super) initiator: usize,
    pub(super) hostility: Hostility,
}

/// A command that moves data.
#[derive(Clone, Copy)]
enum Wanted {
    Nothing,
    Read { blocks: u32, bytes: u32 },
    Write { blocks: u32, bytes: u32 },
}

impl Attacker<'_> {
    /// Its turn.
    pub(super) fn act(&mut self) {
        let run = &self.scene.run;
        match self.clients.initiators[self.initiator].current {
            None if run.stage >= Stage::Farewell => return,
            None if run.now < self.clients.initiators[self.initiator].not_before => {}
            None => self.clients.log_in(self.initiator, self.scene),
            Some(session) => self.act_in(session),
        }
        let delay = self.scene.run.rng.between(10_000_000, TURN_NS_MAX);
        self.scene.run.after(delay, Event::Act { initiator: self.initiator });
    }

    fn act_in(&mut self, session: usize) {
        let state = &self.clients.sessions[session];
        let leaves = self.scene.run.stage >= Stage::Farewell && !self.scene.run.plan.shutdown;
        let dropped = self.scene.wires.get(state.wire).down_closed;
        match state.phase {
            // Who does not read does not see that its connection has ended.
            Phase::Login | Phase::Full | Phase::LoggingOut if leaves || dropped => {
                self.end(session)
            }
            Phase::Over => self.end(session),
            Phase::Login | Phase::LoggingOut => {}
            Phase::Full => self.attack(session),
        }
    }

    /// Its session is over; it comes again soon.
    fn end(&mut self, session: usize) {
        self.clients.session_over(session, self.scene);
        let again = self.scene.run.now + self.scene.run.rng.below(RETRY_NS_MAX);
        let initiator = &mut self.clients.initiators[self.initiator];
        (initiator.current, initiator.not_before) = (None, again);
    }

    fn attack(&mut self, session: usize) {
        let is_first = !std::mem::replace(&mut self.clients.sessions[session].wild, true);
        if is_first {
            self.begin(session);
        }
        match self.hostility {
            Hostility::HalfPdu if is_first => self.send_half(session),
            Hostility::Mute if is_first => self.send_commands(session, 3),
            Hostility::HalfPdu | Hostility::Mute => {}
            Hostility::ReadsNothing | Hostility::ReadsSlowly | Hostility::SendsNoData => {
                self.send_commands(session, usize::MAX);
            }
        }
    }

    fn begin(&mut self, session: usize) {
        let Self { clients, scene, hostility, .. } = self;
        scene.run.report.attacks += 1;
        scene.run.trace(|| format!("session {session} attacks: {hostility:?}"));
        let pace = match hostility {
            Hostility::ReadsNothing => Pace::Stopped,
            Hostility::ReadsSlowly => Pace::Slow,
            Hostility::HalfPdu | Hostility::Mute | Hostility::SendsNoData => Pace::Normal,
        };
        let state = &mut clients.sessions[session];
        scene.wires.set_pace(state.wire, pace);
        // The unit attentions of a new session would answer the commands that follow.
        for volume in 0..scene.run.plan.volumes.len() {
            let header = command(state, volume, Wanted::Nothing);
            state.send_pdu(&header, &[], Damage::None, scene);
        }
    }

    /// Sends commands as long as the window has room.
    fn send_commands(&mut self, session: usize, most: usize) {
        for _ in 0..most {
            let state = &mut self.clients.sessions[session];
            if !state.window_is_open() {
                return;
            }
            let (volume, wanted) = draw(self.hostility, self.scene);
            let header = command(state, volume, wanted);
            state.send_pdu(&header, &[], Damage::None, self.scene);
        }
    }

    /// Sends the first half of a WRITE with immediate data, or of less.
    fn send_half(&mut self, session: usize) {
        let (volume, wanted) = draw(self.hostility, self.scene);
        let state = &mut self.clients.sessions[session];
        let mut header = command(state, volume, wanted);
        let most = state.terms.target_segment_max.min(state.terms.first_burst);
        let length = match wanted {
            Wanted::Write { bytes, .. } if state.terms.immediate_data => bytes.min(most),
            Wanted::Nothing | Wanted::Read { .. } | Wanted::Write { .. } => 0,
        };
        header[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        let digests = Digests { header: state.terms.header_digest, data: state.terms.data_digest };
        let data = vec![0xab; size(length)];
        let bytes = encode(&header, &data, digests, Damage::None);
        let half = &bytes[..bytes.len() / 2];
        self.scene.wires.send_up(state.wire, half, &mut self.scene.run);
    }
}

/// What reaches a hostile initiator. It learns how many commands it may send, and most of them
/// answer pings to stay.
pub(super) fn hear(session: &mut Session, pdu: &Pdu, scene: &mut Scene) {
    let [.., exp_cmd_sn, max_cmd_sn, _, _, _] = pdu.bhs.raw().as_chunks::<4>().0 else {
        unreachable!("a header has twelve words")
    };
    session.exp_cmd_sn = u32::from_be_bytes(*exp_cmd_sn);
    let max_cmd_sn = u32::from_be_bytes(*max_cmd_sn);
    if Serial32(session.max_cmd_sn).is_before(Serial32(max_cmd_sn)) {
        session.max_cmd_sn = max_cmd_sn;
    }
    let hostility = scene.run.plan.hostile[session.initiator - scene.run.plan.initiators];
    let answers = match hostility {
        Hostility::ReadsSlowly | Hostility::SendsNoData => true,
        // Half of a PDU is on its way already.
        Hostility::HalfPdu | Hostility::Mute | Hostility::ReadsNothing => false,
    };
    if pdu.bhs.opcode() != Opcode::NopIn || !answers {
        return;
    }
    if let Ok(NopIn { target_transfer_tag, .. }) = NopIn::parse(&pdu.bhs)
        && target_transfer_tag != TargetTransferTag::RESERVED
    {
        let transfer_tag = target_transfer_tag.0;
        session.send_nop_out(Ping { tag: u32::MAX, transfer_tag, immediate: true }, &[], scene);
    }
}

/// A volume and a transfer of as many blocks of it as a command moves.
fn draw(hostility: Hostility, scene: &mut Scene) -> Drawn {
    let volume = scene.run.rng.place(scene.run.plan.volumes.len());
    let block_bytes = u64::from(scene.run.plan.volumes[volume].block_bytes);
    let bytes = scene.admin.sectors(volume) * crate::sectors::SECTOR_BYTES;
    let bytes = scene.run.rng.pick(&[bytes, bytes, bytes.min(65_536), bytes.min(4096)]);
    let (blocks, bytes) = (word(bytes / block_bytes), word(bytes / block_bytes * block_bytes));
    let wanted = match hostility {
        Hostility::HalfPdu | Hostility::SendsNoData => Wanted::Write { blocks, bytes },
        Hostility::Mute | Hostility::ReadsNothing | Hostility::ReadsSlowly => {
            Wanted::Read { blocks, bytes }
        }
    };
    (volume, wanted)
}

type Drawn = (usize, Wanted);

/// The header of a command of a session. The data of a WRITE must be asked for.
fn command(session: &mut Session, volume: usize, wanted: Wanted) -> [u8; 48] {
    let (code, blocks, bytes) = match wanted {
        Wanted::Nothing => (0, 0, 0),
        Wanted::Read { blocks, bytes } => (0x88, blocks, bytes),
        Wanted::Write { blocks, bytes } => (0x8a, blocks, bytes),
    };
    let mut cdb = [0; 16];
    cdb[0] = code;
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    let mut header = [0; 48];
    ScsiCommand {
        immediate: false,
        is_final: true,
        read: matches!(wanted, Wanted::Read { .. }),
        write: matches!(wanted, Wanted::Write { .. }),
        attribute: TaskAttribute::Simple,
        total_ahs_length: 0,
        data_segment_length: 0,
        lun: lun_of(volume),
        initiator_task_tag: InitiatorTaskTag(session.new_tag()),
        expected_data_transfer_length: bytes,
        cmd_sn: session.take_cmd_sn(false),
        exp_stat_sn: session.exp_stat_sn(),
        cdb,
    }
    .emit(&mut header);
    header
}

/// How long a hostile initiator waits between its turns at most.
const TURN_NS_MAX: u64 = 200_000_000;

/// How long it is away at most after the target has dropped it.
const RETRY_NS_MAX: u64 = 2_000_000_000;
