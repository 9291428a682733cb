//! The PDUs that a session sends.

use super::command::{Command, Management, Pending, Sequence};
use super::offer::draw_offer;
use super::session::{Phase, Session};
use crate::admin::lun_of;
use crate::framing::{Damage, Digests, encode};
use crate::rng::{Rng, byte, size, word};
use crate::scene::Scene;
use iscsi::pdu::{
    DataOut, LoginRequest, LogoutReason, LogoutRequest, NopOut, ScsiCommand, Stage as LoginStage,
    TaskManagementFunction, TaskManagementRequest, TextRequest,
};
use iscsi::{InitiatorTaskTag, TargetTransferTag};
use units::{Lun, Serial32};

/// A task management function to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) function: TaskManagementFunction,
    /// The task that it is about; `u32::MAX` where it is about none.
    pub(crate) referenced: u32,
    /// The volume, where it is about no task.
    pub(crate) volume: usize,
}

/// A ping, or the answer to one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ping {
    pub(crate) tag: u32,
    pub(crate) transfer_tag: u32,
    pub(crate) immediate: bool,
}

/// How much of a command's data comes unasked.
struct Unasked {
    immediate_len: u32,
    /// The length of the first burst, where Data-Out PDUs follow without an R2T.
    burst: Option<u32>,
}

impl Session {
    /// Sends a PDU.
    pub(crate) fn send_pdu(
        &self,
        header: &[u8; 48],
        data: &[u8],
        damage: Damage,
        scene: &mut Scene,
    ) {
        let full = self.phase != Phase::Login;
        let digests = Digests {
            header: full && self.terms.header_digest,
            data: full && self.terms.data_digest,
        };
        let bytes = encode(header, data, digests, damage);
        scene.wires.send_up(self.wire, &bytes, &mut scene.run);
    }

    /// Sends a command with as much of its data as it may bring.
    pub(crate) fn send_command(&mut self, mut command: Command, scene: &mut Scene) {
        let tag = self.new_tag();
        if command.immediate && self.immediate_count() > 10 {
            command.immediate = false;
        }
        command.cmd_sn = self.take_cmd_sn(command.immediate).0;
        command.sent = scene.run.tick();
        command.initiator = self.initiator;
        command.may_be_dormant = self.has_ordered(&command);
        // A reset that this session has asked for only ends what came before it.
        let resets_of_others =
            scene.ledger.resets_open(command.volume) - self.resets_of(command.volume);
        command.maybe_aborted = resets_of_others > 0;
        let Unasked { immediate_len, burst } =
            self.draw_unasked(word(command.out.len()), &mut scene.run.rng);
        command.unasked = burst.is_some() || immediate_len > 0;
        command.requested = burst.unwrap_or(immediate_len);
        if let Some(end) = burst {
            let transfer_tag = TargetTransferTag::RESERVED.0;
            let sequence = Sequence { tag, transfer_tag, next: immediate_len, end, data_sn: 0 };
            self.unsolicited.push_back(sequence);
        }
        let header = self.command_header(&command, tag, immediate_len, burst.is_none());
        let data = window(&command.out, 0, immediate_len).to_vec();
        let damage = self.draw_damage(immediate_len, scene);
        if damage != Damage::None {
            command.spoiled = true;
            self.rejects_due += 1;
        }
        let number = self.number;
        scene.run.trace(|| {
            let Command { op, kind, span, cmd_sn, expected, .. } = &command;
            let (volume, first, count) = (command.volume, span.first, span.count);
            format!(
                "session {number}: {tag:x} op {op} {kind:?} volume {volume} {first}+{count} \
                 CmdSN {cmd_sn:x} length {expected} immediate {immediate_len} {burst:?} {damage:?}"
            )
        });
        scene.run.report.commands += 1;
        scene.ledger.begin(number, tag, &command);
        self.pending.insert(tag, Pending::Command(Box::new(command)));
        self.send_pdu(&header, &data, damage, scene);
    }

    fn draw_unasked(&self, out_len: u32, rng: &mut Rng) -> Unasked {
        let terms = &self.terms;
        let first_burst = out_len.min(terms.first_burst);
        let mut immediate_len = 0;
        if terms.immediate_data && rng.chance(800) {
            let most = first_burst.min(terms.target_segment_max);
            let some = word(rng.below(u64::from(most) + 1));
            immediate_len = rng.pick(&[most, most, some]);
        }
        let follows = !terms.initial_r2t && immediate_len < first_burst && rng.chance(700);
        Unasked { immediate_len, burst: follows.then_some(first_burst) }
    }

    /// What becomes of a data segment on its way.
    fn draw_damage(&self, len: u32, scene: &mut Scene) -> Damage {
        let run = &mut scene.run;
        let may = self.terms.data_digest && len > 0;
        if may && run.rng.chance(run.plan.faults.bad_digest) {
            run.rng.pick(&[Damage::Data, Damage::Digest])
        } else {
            Damage::None
        }
    }

    fn command_header(
        &self,
        command: &Command,
        tag: u32,
        immediate_len: u32,
        is_final: bool,
    ) -> [u8; 48] {
        let mut header = [0; 48];
        ScsiCommand {
            immediate: command.immediate,
            is_final,
            read: command.reads,
            write: !command.out.is_empty() || !is_final,
            attribute: command.attribute,
            total_ahs_length: 0,
            data_segment_length: immediate_len,
            lun: lun_of(command.volume),
            initiator_task_tag: InitiatorTaskTag(tag),
            expected_data_transfer_length: command.expected,
            cmd_sn: Serial32(command.cmd_sn),
            exp_stat_sn: self.exp_stat_sn(),
            cdb: command.cdb,
        }
        .emit(&mut header);
        header
    }

    pub(crate) fn has_data_to_send(&self) -> bool {
        !self.unsolicited.is_empty() || !self.solicited.is_empty()
    }

    /// Sends one Data-Out PDU of one of the sequences.
    pub(crate) fn send_data_out(&mut self, scene: &mut Scene) {
        let rng = &mut scene.run.rng;
        let unasked =
            !self.unsolicited.is_empty() && (self.solicited.is_empty() || rng.chance(500));
        // R2Ts of one task are served in their order.
        let place = if unasked { 0 } else { self.first_of_some_task(rng) };
        let list = if unasked { &self.unsolicited } else { &self.solicited };
        let Some(mut sequence) = list.get(place).copied() else { return };
        let left = sequence.end - sequence.next;
        let whole = left.min(self.terms.target_segment_max);
        let some = word(rng.between(1, u64::from(whole.max(1)))).min(whole);
        let len = rng.pick(&[whole, whole, whole, some]);
        let is_final = len == left;
        let data = match self.command(sequence.tag) {
            Some(c) => window(&c.out, sequence.next, sequence.next + len).to_vec(),
            // The task is over, but an announced sequence has to be ended.
            None => vec![0xcc; size(len)],
        };
        let header = self.data_out_header(&sequence, len, is_final);
        let damage = self.damage_data_out(sequence.tag, len, scene);
        self.send_pdu(&header, &data, damage, scene);
        sequence.next += len;
        sequence.data_sn += 1;
        let list = if unasked { &mut self.unsolicited } else { &mut self.solicited };
        if is_final {
            list.remove(place);
        } else {
            list[place] = sequence;
        }
    }

    fn damage_data_out(&mut self, tag: u32, len: u32, scene: &mut Scene) -> Damage {
        if self.command(tag).is_none() {
            return Damage::None;
        }
        let damage = self.draw_damage(len, scene);
        if damage != Damage::None {
            self.rejects_allowed += 1;
            if let Some(command) = self.command_mut(tag) {
                command.spoiled = true;
            }
        }
        damage
    }

    fn first_of_some_task(&self, rng: &mut Rng) -> usize {
        let list = &self.solicited;
        let Some(sequence) = list.get(rng.place(list.len())) else { return 0 };
        list.iter().position(|s| s.tag == sequence.tag).unwrap_or(0)
    }

    fn data_out_header(&self, sequence: &Sequence, len: u32, is_final: bool) -> [u8; 48] {
        let volume = self.command(sequence.tag).map_or(0, |c| c.volume);
        let mut header = [0; 48];
        DataOut {
            is_final,
            data_segment_length: len,
            lun: lun_of(volume),
            initiator_task_tag: InitiatorTaskTag(sequence.tag),
            target_transfer_tag: TargetTransferTag(sequence.transfer_tag),
            exp_stat_sn: self.exp_stat_sn(),
            data_sn: Serial32(sequence.data_sn),
            buffer_offset: sequence.next,
        }
        .emit(&mut header);
        header
    }

    /// A ping with some data.
    pub(crate) fn send_nop(&mut self, scene: &mut Scene) -> bool {
        if self.immediate_count() > 10 {
            return false;
        }
        let immediate = scene.run.rng.chance(500);
        if !immediate && !self.window_is_open() {
            return false;
        }
        let most = self.terms.segment_max.min(512);
        let data = vec![0x5a; size(scene.run.rng.below(u64::from(most) + 1))];
        let tag = self.new_tag();
        self.send_nop_out(Ping { tag, transfer_tag: u32::MAX, immediate }, &data, scene);
        self.pending.insert(tag, Pending::Nop(data));
        true
    }

    /// A NOP-Out: a ping, or the answer to one.
    pub(crate) fn send_nop_out(&mut self, ping: Ping, data: &[u8], scene: &mut Scene) {
        let mut header = [0; 48];
        NopOut {
            immediate: ping.immediate,
            data_segment_length: word(data.len()),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(ping.tag),
            target_transfer_tag: TargetTransferTag(ping.transfer_tag),
            cmd_sn: self.take_cmd_sn(ping.immediate),
            exp_stat_sn: self.exp_stat_sn(),
        }
        .emit(&mut header);
        self.send_pdu(&header, data, Damage::None, scene);
    }

    /// SendTargets: in a normal session it asks for the session's own target.
    pub(crate) fn send_text(&mut self, scene: &mut Scene) -> bool {
        let busy = self.pending.values().any(|p| matches!(p, Pending::Text));
        if busy || !self.window_is_open() {
            return false;
        }
        let tag = self.new_tag();
        let text = b"SendTargets=\0";
        let mut header = [0; 48];
        TextRequest {
            immediate: false,
            is_final: true,
            continues: false,
            data_segment_length: word(text.len()),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(tag),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: self.take_cmd_sn(false),
            exp_stat_sn: self.exp_stat_sn(),
        }
        .emit(&mut header);
        self.pending.insert(tag, Pending::Text);
        self.send_pdu(&header, text, Damage::None, scene);
        true
    }

    pub(crate) fn send_logout(&mut self, scene: &mut Scene) {
        let tag = self.new_tag();
        let immediate = true;
        let mut header = [0; 48];
        LogoutRequest {
            immediate,
            reason: LogoutReason::CloseSession,
            initiator_task_tag: InitiatorTaskTag(tag),
            cid: 7,
            cmd_sn: self.take_cmd_sn(immediate),
            exp_stat_sn: self.exp_stat_sn(),
        }
        .emit(&mut header);
        scene.run.trace(|| format!("session {} logs out", self.number));
        scene.ledger.reservations_may_end();
        self.send_pdu(&header, &[], Damage::None, scene);
        self.phase = Phase::LoggingOut;
        self.pending.insert(tag, Pending::Logout);
        self.unsolicited.clear();
        self.solicited.clear();
    }

    /// Asks for a task management function; returns what was asked for.
    pub(crate) fn send_management(&mut self, wish: Wish, scene: &mut Scene) -> Management {
        let Wish { function, referenced, volume } = wish;
        let tag = self.new_tag();
        let command = self.command(referenced);
        let volume = command.map_or(volume, |c| c.volume);
        let ref_cmd_sn = Serial32(command.map_or(0, |c| c.cmd_sn));
        let mut header = [0; 48];
        TaskManagementRequest {
            immediate: true,
            function,
            lun: lun_of(volume),
            initiator_task_tag: InitiatorTaskTag(tag),
            referenced_task_tag: InitiatorTaskTag(referenced),
            cmd_sn: self.take_cmd_sn(true),
            exp_stat_sn: self.exp_stat_sn(),
            ref_cmd_sn,
            exp_data_sn: Serial32(0),
        }
        .emit(&mut header);
        let sent = scene.run.tick();
        let cmd_sn = self.cmd_sn;
        let (delivered, ends) = (0, Vec::new());
        let asked = Management { function, volume, referenced, cmd_sn, sent, delivered, ends };
        let number = self.number;
        scene.run.trace(|| format!("session {number}: {tag:x} {function:?} of {referenced:x}"));
        scene.run.report.management += 1;
        let ends_set = [TaskManagementFunction::AbortTaskSet, TaskManagementFunction::ClearTaskSet];
        if ends_set.contains(&function) {
            // An ABORT TASK behind it may find its task ended.
            for command in self.commands_mut().filter(|c| c.volume == volume) {
                command.maybe_aborted = true;
            }
        }
        if function == TaskManagementFunction::AbortTask
            && let Some(command) = self.command_mut(referenced)
        {
            command.aborting = true;
        }
        self.pending.insert(tag, Pending::Management(asked.clone()));
        self.send_pdu(&header, &[], Damage::None, scene);
        asked
    }

    /// Draws what to negotiate; the keys that say so.
    pub(super) fn operational_keys(&mut self, scene: &mut Scene) -> Vec<String> {
        let (offer, keys) = draw_offer(&mut scene.run);
        self.terms = offer;
        keys
    }

    /// Sends a login request that ends its stage.
    pub(super) fn send_login(&self, stage: LoginStage, keys: &[String], scene: &mut Scene) {
        let mut text = Vec::new();
        for key in keys {
            text.extend_from_slice(key.as_bytes());
            text.push(0);
        }
        let number = byte(self.initiator);
        let next_stage = if stage == LoginStage::SecurityNegotiation {
            LoginStage::LoginOperationalNegotiation
        } else {
            LoginStage::FullFeaturePhase
        };
        let mut header = [0; 48];
        LoginRequest {
            transit: true,
            continues: false,
            current_stage: stage,
            next_stage,
            version_max: 0,
            version_min: 0,
            data_segment_length: word(text.len()),
            isid: [0x80, 0, 0, 0, 0, number],
            tsih: 0,
            initiator_task_tag: InitiatorTaskTag(1),
            cid: 7,
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: self.exp_stat_sn(),
        }
        .emit(&mut header);
        self.send_pdu(&header, &text, Damage::None, scene);
    }
}

/// The part of some bytes that is there.
fn window(bytes: &[u8], from: u32, to: u32) -> &[u8] {
    let to = size(to).min(bytes.len());
    &bytes[size(from).min(to)..to]
}
