//! PDUs that no initiator should send.

use super::command::Command;
use super::session::Session;
use crate::framing::Damage;
use crate::rng::{size, word};
use crate::scene::Scene;
use iscsi::pdu::{ScsiCommand, SnackKind, SnackRequest, TaskAttribute};
use iscsi::{Bhs, InitiatorTaskTag, TargetTransferTag};
use units::{Lun, Serial32};

/// An initiator that does not keep to the rules.
pub(crate) struct Prankster<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) scene: &'a mut Scene,
}

impl Prankster<'_> {
    /// Sends something; false where there is nothing to do it with.
    pub(crate) fn send_garbage(&mut self) -> bool {
        self.scene.run.report.garbage += 1;
        match self.scene.run.rng.below(7) {
            0 => self.send_snack(),
            1 => self.send_unknown_opcode(),
            2 | 3 => self.send_outside_window(),
            4 => return self.send_doubled_tag(),
            5 => return self.send_malformed_command(),
            _ => self.send_noise(),
        }
        true
    }

    fn send(&mut self, header: &[u8; 48]) {
        self.session.send_pdu(header, &[], Damage::None, self.scene);
    }

    fn send_unknown_opcode(&mut self) {
        let mut header = [0; 48];
        header[0] = 0x5c;
        header[1] = 0x80;
        self.session.rejects_due += 1;
        self.send(&header);
    }

    fn send_snack(&mut self) {
        let mut header = [0; 48];
        SnackRequest {
            kind: SnackKind::DataOrR2t,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(77),
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_stat_sn: self.session.exp_stat_sn(),
            beg_run: Serial32(0),
            run_length: 0,
        }
        .emit(&mut header);
        self.session.rejects_due += 1;
        self.send(&header);
    }

    fn test_unit_ready(&self, tag: u32, cmd_sn: u32) -> [u8; 48] {
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
            exp_stat_sn: self.session.exp_stat_sn(),
            cdb: [0; 16],
        }
        .emit(&mut header);
        header
    }

    /// CmdSNs outside of the window are ignored without a word (RFC 7143 4.2.2.1).
    fn send_outside_window(&mut self) {
        let distance = word(self.scene.run.rng.between(129, 5000));
        let wrong = if self.scene.run.rng.chance(500) {
            // However far the window has moved since, it is no wider than 128.
            self.session.cmd_sn.wrapping_add(distance)
        } else {
            self.session.exp_cmd_sn.wrapping_sub(distance)
        };
        let tag = self.session.new_tag();
        let header = self.test_unit_ready(tag, wrong);
        self.send(&header);
    }

    /// A tag that is in use, unless its task has ended meanwhile.
    fn send_doubled_tag(&mut self) -> bool {
        let plain = |c: &Command| !c.immediate && !c.aborting && !c.maybe_aborted;
        let tags = self.session.tags_of(plain);
        if tags.is_empty() || !self.session.window_is_open() {
            return false;
        }
        let tag = self.scene.run.rng.pick(&tags);
        let cmd_sn = self.session.take_cmd_sn(false).0;
        let header = self.test_unit_ready(tag, cmd_sn);
        self.session.doubled.push(tag);
        // If the first one has ended, this one is a command.
        self.session.attentions.lose_track();
        self.send(&header);
        true
    }

    /// F and W both clear: refused, but its CmdSN is used up.
    fn send_malformed_command(&mut self) -> bool {
        if !self.session.window_is_open() {
            return false;
        }
        let tag = self.session.new_tag();
        let cmd_sn = self.session.take_cmd_sn(false).0;
        let mut header = self.test_unit_ready(tag, cmd_sn);
        header[1] = 0;
        self.session.rejects_due += 1;
        self.send(&header);
        true
    }

    /// Noise where a PDU should be. After that the session proves nothing but that it ends.
    fn send_noise(&mut self) {
        let number = self.session.number;
        self.scene.run.trace(|| format!("session {number} sends noise"));
        self.session.wild = true;
        for _ in 0..self.scene.run.rng.between(1, 6) {
            self.send_noisy_pdu();
        }
    }

    fn send_noisy_pdu(&mut self) {
        let rng = &mut self.scene.run.rng;
        let mut header = [0; 48];
        for byte in &mut header {
            *byte = rng.byte();
        }
        let opcode = rng.pick(&[0x00, 0x40, 0x01, 0x01, 0x42, 0x04, 0x05, 0x05, 0x46]);
        header[0] = opcode;
        // Noise must not do what only commands of the history may do.
        header[32] = rng.pick(&[0x00, 0x03, 0x12, 0x28, 0x88, 0xa0, 0xff]);
        if opcode == 0x42 {
            header[1] = rng.pick(&[0x81, 0x82, 0x83, 0x88, 0x89, 0xff]);
        }
        header[4] = rng.pick(&[0, 0, 0, 1]);
        // Sometimes more data than anybody may send.
        let too_much = rng.chance(50);
        header[5..7].fill(if too_much { 0xff } else { 0 });
        let tag = word(rng.below(u64::from(self.session.next_tag) + 2));
        header[16..20].copy_from_slice(&tag.to_be_bytes());
        if rng.chance(700) {
            header[24..28].copy_from_slice(&self.session.cmd_sn.to_be_bytes());
        }
        let len = Bhs::new(header).data_segment_length();
        let data = vec![0xab; if too_much { 64 } else { size(len) }];
        let damage = if rng.chance(50) { Damage::Digest } else { Damage::None };
        self.session.send_pdu(&header, &data, damage, self.scene);
    }
}
