//! The PDUs that initiators send.

use crate::login::window;
use crate::rng::{size, word};
use crate::session::{Command, Kind, Management, Pending, Phase, Sequence};
use crate::world::{Live, World};
use iscsi::pdu::{
    DataOut, LogoutReason, LogoutRequest, NopOut, ScsiCommand, SnackKind, SnackRequest,
    TaskAttribute, TaskManagementFunction, TaskManagementRequest, TextRequest,
};
use iscsi::{Bhs, InitiatorTaskTag, TargetTransferTag};
use units::{Lun, Serial32};

impl World {
    /// Sends a PDU of a session; `spoil` makes its data digest wrong.
    pub(crate) fn send_pdu(&mut self, session: usize, header: &[u8; 48], data: &[u8], spoil: bool) {
        let state = &self.sessions[session];
        let full = state.phase != Phase::Login;
        let digests = (full && state.terms.header_digest, full && state.terms.data_digest);
        let bytes = crate::link::encode(header, data, digests, spoil);
        let link = state.link;
        self.send_up(link, &bytes);
    }

    fn exp_stat_sn(&self, session: usize) -> Serial32 {
        Serial32(self.sessions[session].stat_sn.unwrap_or(0))
    }

    /// The CmdSN of the next request; an immediate one takes none.
    fn take_cmd_sn(&mut self, session: usize, immediate: bool) -> Serial32 {
        let state = &mut self.sessions[session];
        let number = state.cmd_sn;
        if !immediate {
            state.cmd_sn = number.wrapping_add(1);
        }
        Serial32(number)
    }

    /// Sends a command with as much of its data as it may bring.
    pub(crate) fn send_command(&mut self, session: usize, mut command: Command) {
        let terms = self.sessions[session].terms;
        let tag = self.sessions[session].new_tag();
        if command.immediate && self.sessions[session].immediate_count() > 10 {
            command.immediate = false;
        }
        command.cmd_sn = self.take_cmd_sn(session, command.immediate).0;
        command.sent = self.tick();
        command.initiator = self.sessions[session].initiator;
        // A reset that this session has asked for only ends what came before it.
        let resets_of_others =
            self.resets_open[command.volume] - self.sessions[session].resets_of(command.volume);
        command.maybe_aborted = resets_of_others > 0;
        let out_len = word(command.out.len());
        let first_burst = out_len.min(terms.first_burst);
        let mut immediate_len = 0;
        if terms.immediate_data && self.rng.chance(800) {
            let most = first_burst.min(terms.target_segment_max);
            let some = word(self.rng.below(u64::from(most) + 1));
            immediate_len = self.rng.pick(&[most, most, some]);
        }
        let follows = !terms.initial_r2t && immediate_len < first_burst && self.rng.chance(700);
        command.unasked = follows || immediate_len > 0;
        command.requested = if follows { first_burst } else { immediate_len };
        if follows {
            let (next, end) = (immediate_len, first_burst);
            let transfer_tag = TargetTransferTag::RESERVED.0;
            let sequence = Sequence { tag, transfer_tag, next, end, data_sn: 0 };
            self.sessions[session].unsolicited.push_back(sequence);
        }
        self.begin_changes(&command);
        let header = self.command_header(session, (&command, tag), immediate_len, !follows);
        let data = window(&command.out, 0, immediate_len).to_vec();
        let spoil =
            terms.data_digest && immediate_len > 0 && self.rng.chance(self.plan.faults.bad_digest);
        if spoil {
            command.spoiled = true;
            self.sessions[session].rejects_due += 1;
        }
        self.trace(|_| {
            let Command { op, kind, span, cmd_sn, expected, .. } = &command;
            let (volume, first, count) = (command.volume, span.first, span.count);
            format!(
                "session {session}: {tag:x} op {op} {kind:?} volume {volume} {first}+{count} \
                 CmdSN {cmd_sn:x} length {expected} immediate {immediate_len} {follows}"
            )
        });
        self.report.commands += 1;
        self.begin_writes(session, tag, &command);
        self.sessions[session].pending.insert(tag, Pending::Command(Box::new(command)));
        self.send_pdu(session, &header, &data, spoil);
    }

    fn command_header(
        &self,
        session: usize,
        (command, tag): (&Command, u32),
        immediate_len: u32,
        is_final: bool,
    ) -> [u8; 48] {
        let mut header = [0; 48];
        ScsiCommand {
            immediate: command.immediate,
            is_final,
            read: command.reads,
            write: !command.out.is_empty() || !is_final,
            attribute: TaskAttribute::Simple,
            total_ahs_length: 0,
            data_segment_length: immediate_len,
            lun: Self::lun_of(command.volume),
            initiator_task_tag: InitiatorTaskTag(tag),
            expected_data_transfer_length: command.expected,
            cmd_sn: Serial32(command.cmd_sn),
            exp_stat_sn: self.exp_stat_sn(session),
            cdb: command.cdb,
        }
        .emit(&mut header);
        header
    }

    fn begin_writes(&mut self, session: usize, tag: u32, command: &Command) {
        for &(span, value) in &command.writes {
            self.history.begin(span, command.op, value, command.sent);
        }
        let live = Live {
            session,
            tag,
            volume: command.volume,
            immediate: command.immediate,
            begun: command.sent,
            delivered: false,
            writes: command.writes.clone(),
        };
        self.live.insert(command.op, live);
        self.history.oldest = self.live.values().map(|l| l.begun).min().unwrap_or(command.sent);
    }

    fn begin_changes(&mut self, command: &Command) {
        let unit = &mut self.units[command.volume];
        match command.kind {
            Kind::Reserve | Kind::Release => unit.holder.begin(),
            Kind::Mode { .. } => unit.write_cache.begin(),
            Kind::CompareAndWrite
            | Kind::Flush
            | Kind::Inquiry
            | Kind::Read
            | Kind::TestUnitReady
            | Kind::Unmap
            | Kind::Verify { .. }
            | Kind::Write
            | Kind::WriteAndVerify
            | Kind::WriteSame => {}
        }
    }

    pub(crate) fn has_data_to_send(&self, session: usize) -> bool {
        let state = &self.sessions[session];
        !state.unsolicited.is_empty() || !state.solicited.is_empty()
    }

    /// Sends one Data-Out PDU of one of the sequences.
    pub(crate) fn send_data_out(&mut self, session: usize) {
        let state = &self.sessions[session];
        let unasked =
            !state.unsolicited.is_empty() && (state.solicited.is_empty() || self.rng.chance(500));
        // R2Ts of one task are served in their order.
        let place = if unasked { 0 } else { self.first_of_some_task(session) };
        let state = &self.sessions[session];
        let list = if unasked { &state.unsolicited } else { &state.solicited };
        let Some(mut sequence) = list.get(place).copied() else { return };
        let terms = state.terms;
        let left = sequence.end - sequence.next;
        let whole = left.min(terms.target_segment_max);
        let some = word(self.rng.between(1, u64::from(whole.max(1)))).min(whole);
        let len = self.rng.pick(&[whole, whole, whole, some]);
        let is_final = len == left;
        let data = match state.command(sequence.tag) {
            Some(c) => window(&c.out, sequence.next, sequence.next + len).to_vec(),
            // The task is over, but an announced sequence has to be ended.
            None => vec![0xcc; size(len)],
        };
        let header = self.data_out_header(session, &sequence, len, is_final);
        let spoil = self.spoils_digest(session, sequence.tag, len);
        self.send_pdu(session, &header, &data, spoil);
        sequence.next += len;
        sequence.data_sn += 1;
        let state = &mut self.sessions[session];
        let list = if unasked { &mut state.unsolicited } else { &mut state.solicited };
        if is_final {
            list.remove(place);
        } else {
            list[place] = sequence;
        }
    }

    fn spoils_digest(&mut self, session: usize, tag: u32, len: u32) -> bool {
        let state = &mut self.sessions[session];
        let may = state.terms.data_digest && len > 0 && state.command(tag).is_some();
        let spoil = may && self.rng.chance(self.plan.faults.bad_digest);
        if spoil {
            state.rejects_allowed += 1;
            if let Some(command) = state.command_mut(tag) {
                command.spoiled = true;
            }
        }
        spoil
    }

    fn first_of_some_task(&mut self, session: usize) -> usize {
        let list = &self.sessions[session].solicited;
        let Some(sequence) = list.get(self.rng.place(list.len())) else { return 0 };
        list.iter().position(|s| s.tag == sequence.tag).unwrap_or(0)
    }

    fn data_out_header(
        &self,
        session: usize,
        sequence: &Sequence,
        len: u32,
        is_final: bool,
    ) -> [u8; 48] {
        let volume = self.sessions[session].command(sequence.tag).map_or(0, |c| c.volume);
        let mut header = [0; 48];
        DataOut {
            is_final,
            data_segment_length: len,
            lun: Self::lun_of(volume),
            initiator_task_tag: InitiatorTaskTag(sequence.tag),
            target_transfer_tag: TargetTransferTag(sequence.transfer_tag),
            exp_stat_sn: self.exp_stat_sn(session),
            data_sn: Serial32(sequence.data_sn),
            buffer_offset: sequence.next,
        }
        .emit(&mut header);
        header
    }

    /// A ping with some data.
    pub(crate) fn send_nop(&mut self, session: usize) -> bool {
        if self.sessions[session].immediate_count() > 10 {
            return false;
        }
        let immediate = self.rng.chance(500);
        if !immediate && !self.sessions[session].window_is_open() {
            return false;
        }
        let most = self.sessions[session].terms.segment_max.min(512);
        let data = vec![0x5a; size(self.rng.below(u64::from(most) + 1))];
        let tag = self.sessions[session].new_tag();
        self.send_nop_out(session, (tag, u32::MAX), immediate, &data);
        self.sessions[session].pending.insert(tag, Pending::Nop(data));
        true
    }

    /// SendTargets: in a normal session it asks for the session's own target.
    pub(crate) fn send_text(&mut self, session: usize) -> bool {
        let state = &mut self.sessions[session];
        let busy = state.pending.values().any(|p| matches!(p, Pending::Text));
        if busy || !state.window_is_open() {
            return false;
        }
        let tag = state.new_tag();
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
            cmd_sn: self.take_cmd_sn(session, false),
            exp_stat_sn: self.exp_stat_sn(session),
        }
        .emit(&mut header);
        self.sessions[session].pending.insert(tag, Pending::Text);
        self.send_pdu(session, &header, text, false);
        true
    }

    /// A NOP-Out: a ping, or the answer to one.
    pub(crate) fn send_nop_out(
        &mut self,
        session: usize,
        (tag, transfer_tag): (u32, u32),
        immediate: bool,
        data: &[u8],
    ) {
        let mut header = [0; 48];
        NopOut {
            immediate,
            data_segment_length: word(data.len()),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(tag),
            target_transfer_tag: TargetTransferTag(transfer_tag),
            cmd_sn: self.take_cmd_sn(session, immediate),
            exp_stat_sn: self.exp_stat_sn(session),
        }
        .emit(&mut header);
        self.send_pdu(session, &header, data, false);
    }

    pub(crate) fn send_logout(&mut self, session: usize) {
        let tag = self.sessions[session].new_tag();
        let immediate = true;
        let mut header = [0; 48];
        LogoutRequest {
            immediate,
            reason: LogoutReason::CloseSession,
            initiator_task_tag: InitiatorTaskTag(tag),
            cid: 7,
            cmd_sn: self.take_cmd_sn(session, immediate),
            exp_stat_sn: self.exp_stat_sn(session),
        }
        .emit(&mut header);
        self.trace(|_| format!("session {session} logs out"));
        self.reservations_may_end();
        self.send_pdu(session, &header, &[], false);
        let state = &mut self.sessions[session];
        state.phase = Phase::LoggingOut;
        state.pending.insert(tag, Pending::Logout);
        state.unsolicited.clear();
        state.solicited.clear();
    }

    /// A task management function for the task `referenced`, or for `volume`, or for any.
    pub(crate) fn send_management(
        &mut self,
        session: usize,
        function: TaskManagementFunction,
        referenced: Option<u32>,
        volume: Option<usize>,
    ) {
        let tag = self.sessions[session].new_tag();
        let any = volume.unwrap_or_else(|| self.rng.place(self.plan.volumes.len()));
        let referenced = referenced.unwrap_or(u32::MAX);
        let command = self.sessions[session].command(referenced);
        let volume = command.map_or(any, |c| c.volume);
        let ref_cmd_sn = Serial32(command.map_or(0, |c| c.cmd_sn));
        let mut header = [0; 48];
        TaskManagementRequest {
            immediate: true,
            function,
            lun: Self::lun_of(volume),
            initiator_task_tag: InitiatorTaskTag(tag),
            referenced_task_tag: InitiatorTaskTag(referenced),
            cmd_sn: self.take_cmd_sn(session, true),
            exp_stat_sn: self.exp_stat_sn(session),
            ref_cmd_sn,
            exp_data_sn: Serial32(0),
        }
        .emit(&mut header);
        let sent = self.tick();
        let ends = Vec::new();
        let cmd_sn = self.sessions[session].cmd_sn;
        let management = Management { function, volume, referenced, cmd_sn, sent, ends };
        self.trace(|_| format!("session {session}: {tag:x} {function:?} of {referenced:x}"));
        self.begin_reset(&management);
        if function == TaskManagementFunction::AbortTaskSet {
            // An ABORT TASK behind it may find its task ended.
            for pending in self.sessions[session].pending.values_mut() {
                if let Pending::Command(command) = pending
                    && command.volume == volume
                {
                    command.maybe_aborted = true;
                }
            }
        }
        if function == TaskManagementFunction::AbortTask
            && let Some(command) = self.sessions[session].command_mut(referenced)
        {
            command.aborting = true;
        }
        self.sessions[session].pending.insert(tag, Pending::Management(management));
        self.send_pdu(session, &header, &[], false);
        self.report.management += 1;
    }

    /// A reset may end the tasks of others without a word to them.
    fn begin_reset(&mut self, management: &Management) {
        for volume in 0..self.units.len() {
            if !management.resets(volume) {
                continue;
            }
            self.resets_open[volume] += 1;
            if management.resets_state() {
                self.units[volume].holder.begin();
                self.units[volume].write_cache.begin();
            }
            for state in &mut self.sessions {
                for pending in state.pending.values_mut() {
                    if let Pending::Command(command) = pending
                        && command.volume == volume
                    {
                        command.maybe_aborted = true;
                    }
                }
            }
        }
    }

    /// A reset of a volume has ended, or will not happen any more.
    pub(crate) fn reset_ends(&mut self, volume: usize, changes: bool, happened: bool) {
        self.resets_open[volume] -= 1;
        if !changes {
            return;
        }
        let default = self.plan.volumes[volume].volatile;
        let unit = &mut self.units[volume];
        unit.holder.end(happened.then_some(None));
        unit.write_cache.end(happened.then_some(default));
    }

    /// A PDU that no initiator should send.
    pub(crate) fn send_garbage(&mut self, session: usize) -> bool {
        self.report.garbage += 1;
        match self.rng.below(7) {
            0 => self.send_snack(session),
            1 => {
                let mut header = [0; 48];
                header[0] = 0x5c;
                header[1] = 0x80;
                self.sessions[session].rejects_due += 1;
                self.send_pdu(session, &header, &[], false);
            }
            2 | 3 => self.send_outside_window(session),
            4 => return self.send_doubled_tag(session),
            5 => return self.send_malformed_command(session),
            _ => self.send_noise(session),
        }
        true
    }

    fn send_snack(&mut self, session: usize) {
        let mut header = [0; 48];
        SnackRequest {
            kind: SnackKind::DataOrR2t,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(77),
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_stat_sn: self.exp_stat_sn(session),
            beg_run: Serial32(0),
            run_length: 0,
        }
        .emit(&mut header);
        self.sessions[session].rejects_due += 1;
        self.send_pdu(session, &header, &[], false);
    }

    fn test_unit_ready(&self, session: usize, tag: u32, cmd_sn: u32) -> [u8; 48] {
        let mut header = [0; 48];
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: false,
            attribute: TaskAttribute::Simple,
            total_ahs_length: 0,
            data_segment_length: 0,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(tag),
            expected_data_transfer_length: 0,
            cmd_sn: Serial32(cmd_sn),
            exp_stat_sn: self.exp_stat_sn(session),
            cdb: [0; 16],
        }
        .emit(&mut header);
        header
    }

    /// CmdSNs outside of the window are ignored without a word (RFC 7143 4.2.2.1).
    fn send_outside_window(&mut self, session: usize) {
        let distance = word(self.rng.between(129, 5000));
        let cmd_sn = self.sessions[session].cmd_sn;
        let wrong = if self.rng.chance(500) {
            // However far the window has moved since, it is no wider than 128.
            cmd_sn.wrapping_add(distance)
        } else {
            self.sessions[session].exp_cmd_sn.wrapping_sub(distance)
        };
        let tag = self.sessions[session].new_tag();
        let header = self.test_unit_ready(session, tag, wrong);
        self.send_pdu(session, &header, &[], false);
    }

    /// A tag that is in use, unless its task has ended meanwhile.
    fn send_doubled_tag(&mut self, session: usize) -> bool {
        let tags = self.abortable_tags(session);
        if tags.is_empty() || !self.sessions[session].window_is_open() {
            return false;
        }
        let tag = self.rng.pick(&tags);
        let cmd_sn = self.take_cmd_sn(session, false).0;
        let header = self.test_unit_ready(session, tag, cmd_sn);
        self.sessions[session].doubled.push(tag);
        self.send_pdu(session, &header, &[], false);
        true
    }

    fn abortable_tags(&self, session: usize) -> Vec<u32> {
        let state = &self.sessions[session];
        let plain = |t: &&u32| {
            let command = state.command(**t);
            command.is_some_and(|c| !c.immediate && !c.aborting && !c.maybe_aborted)
        };
        state.pending.keys().filter(plain).copied().collect()
    }

    /// F and W both clear: refused, but its CmdSN is used up.
    fn send_malformed_command(&mut self, session: usize) -> bool {
        if !self.sessions[session].window_is_open() {
            return false;
        }
        let tag = self.sessions[session].new_tag();
        let cmd_sn = self.take_cmd_sn(session, false).0;
        let mut header = self.test_unit_ready(session, tag, cmd_sn);
        header[1] = 0;
        self.sessions[session].rejects_due += 1;
        self.send_pdu(session, &header, &[], false);
        true
    }

    /// Noise where a PDU should be. After that the session proves nothing but that it ends.
    fn send_noise(&mut self, session: usize) {
        self.trace(|_| format!("session {session} sends noise"));
        self.sessions[session].wild = true;
        for _ in 0..self.rng.between(1, 6) {
            let mut header = [0; 48];
            for byte in &mut header {
                *byte = self.rng.next().to_le_bytes()[0];
            }
            let opcode = self.rng.pick(&[0x00, 0x40, 0x01, 0x01, 0x42, 0x04, 0x05, 0x05, 0x46]);
            header[0] = opcode;
            // Noise must not do what only commands of the history may do.
            header[32] = self.rng.pick(&[0x00, 0x03, 0x12, 0x28, 0x88, 0xa0, 0xff]);
            if opcode == 0x42 {
                header[1] = self.rng.pick(&[0x81, 0x82, 0x83, 0x88, 0x89, 0xff]);
            }
            header[4] = self.rng.pick(&[0, 0, 0, 1]);
            // Sometimes more data than anybody may send.
            let too_much = self.rng.chance(50);
            header[5..7].fill(if too_much { 0xff } else { 0 });
            let tag = word(self.rng.below(u64::from(self.sessions[session].next_tag) + 2));
            header[16..20].copy_from_slice(&tag.to_be_bytes());
            let cmd_sn = self.sessions[session].cmd_sn;
            if self.rng.chance(700) {
                header[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
            }
            let len = Bhs::new(header).data_segment_length();
            let data = vec![0xab; if too_much { 64 } else { size(len) }];
            let spoil = self.rng.chance(50);
            self.send_pdu(session, &header, &data, spoil);
        }
    }
}
