//! The commands that initiators send.

use super::command::{Command, Kind};
use super::offer::transfer_max;
use super::session::Terms;
use crate::ledger::Span;
use crate::plan::{Theme, VolumePlan};
use crate::rng::{Rng, byte, size, word};
use crate::run::Run;
use crate::scene::Scene;
use crate::sectors::{ANYWHERE, Mark, SECTOR, SECTOR_BYTES, ZEROS, sectors};
use iscsi::pdu::TaskAttribute;

/// A command before it has its place in a session.
struct Draft {
    kind: Kind,
    cdb: [u8; 16],
    span: Span,
    reads: u64,
    out: Vec<u8>,
    writes: Vec<(Span, u64)>,
    believes: Vec<Mark>,
    fua: bool,
    outside: bool,
}

impl Draft {
    const fn new(kind: Kind, cdb: [u8; 16], span: Span) -> Self {
        Self {
            kind,
            cdb,
            span,
            reads: 0,
            out: Vec::new(),
            writes: Vec::new(),
            believes: Vec::new(),
            fua: false,
            outside: false,
        }
    }
}

/// Some blocks of a volume.
#[derive(Clone, Copy)]
struct Blocks {
    volume: usize,
    lba: u64,
    count: u64,
    sectors_per_block: u64,
}

impl Blocks {
    const fn span(self) -> Span {
        let first = self.lba * self.sectors_per_block;
        Span { volume: self.volume, first, count: self.count * self.sectors_per_block }
    }

    const fn bytes(self) -> u64 {
        self.count * self.sectors_per_block * SECTOR_BYTES
    }
}

/// Composes the commands of a session.
pub(crate) struct Composer<'a> {
    pub(crate) terms: &'a Terms,
    pub(crate) scene: &'a mut Scene,
}

impl Composer<'_> {
    fn rng(&mut self) -> &mut Rng {
        &mut self.scene.run.rng
    }

    fn volumes(&self) -> &[VolumePlan] {
        &self.scene.run.plan.volumes
    }

    /// A command of a kind that the plan has chosen.
    pub(crate) fn compose(&mut self, kind: Kind) -> Command {
        let op = self.scene.ledger.new_op();
        let volume = self.scene.run.rng.place(self.volumes().len());
        let kind = self.possible(kind, volume);
        let mut draft = match kind {
            Kind::Read => self.draft_read(volume),
            Kind::Write => self.draft_write(volume, op),
            Kind::WriteAndVerify => self.draft_write_and_verify(volume, op),
            Kind::Verify { compares } => self.draft_verify(volume, compares),
            Kind::CompareAndWrite => self.draft_compare_and_write(volume, op),
            Kind::OrWrite => self.draft_or_write(volume),
            Kind::WriteSame => self.draft_write_same(volume, op),
            Kind::Unmap => self.draft_unmap(volume),
            Kind::Flush => self.draft_flush(volume),
            Kind::Mode { .. } => {
                let on = if self.scene.run.plan.theme == Theme::WriteThrough { 200 } else { 500 };
                let write_cache = self.rng().chance(on);
                draft_mode(volume, write_cache)
            }
            Kind::Inquiry => self.draft_inquiry(volume),
            Kind::Reserve => Draft::new(kind, cdb(&[0x16]), nowhere(volume)),
            Kind::Release => Draft::new(kind, cdb(&[0x17]), nowhere(volume)),
            Kind::TestUnitReady => Draft::new(kind, [0; 16], nowhere(volume)),
        };
        self.stay_inside(&mut draft);
        self.finish_draft(op, draft)
    }

    /// What can be done to the volume in place of what cannot.
    fn possible(&self, kind: Kind, volume: usize) -> Kind {
        let plan = self.volumes()[volume];
        if kind == Kind::Unmap && !plan.unmap {
            Kind::Write
        } else if matches!(kind, Kind::Mode { .. }) && !plan.volatile {
            Kind::Read
        } else {
            kind
        }
    }

    /// A READ of exactly these sectors: a part of the audit.
    pub(crate) fn compose_audit(&mut self, span: Span) -> Command {
        let op = self.scene.ledger.new_op();
        let sectors_per_block = self.volumes()[span.volume].sectors_per_block();
        let blocks = Blocks {
            volume: span.volume,
            lba: span.first / sectors_per_block,
            count: span.count / sectors_per_block,
            sectors_per_block,
        };
        let mut draft = Draft::new(Kind::Read, cdb_16(0x88, 0, blocks), blocks.span());
        draft.reads = blocks.bytes();
        let mut command = self.finish_draft(op, draft);
        command.immediate = false;
        command
    }

    /// The administrator may have made the volume smaller than the simulator's registers.
    fn stay_inside(&self, draft: &mut Draft) {
        let end = self.volumes()[draft.span.volume].sectors;
        draft.outside |= draft.span.first + draft.span.count > end;
        if draft.outside {
            draft.writes.clear();
        }
    }

    fn finish_draft(&mut self, op: u64, draft: Draft) -> Command {
        let volume = draft.span.volume;
        let reads = draft.reads > 0;
        let scsi_length = draft.reads.max(draft.out.len() as u64);
        let is_known = draft.kind != Kind::Inquiry;
        let mut command = Command {
            op,
            initiator: 0,
            kind: draft.kind,
            cdb: draft.cdb,
            volume,
            immediate: self.scene.run.rng.chance(self.scene.run.plan.weights.immediate),
            attribute: self.draw_attribute(),
            may_be_dormant: false,
            cmd_sn: 0,
            sent: 0,
            expected: word(scsi_length),
            scsi_length: is_known.then_some(scsi_length),
            reads,
            out: draft.out,
            unasked: false,
            span: draft.span,
            writes: draft.writes,
            believes: draft.believes,
            fua: draft.fua,
            outside: draft.outside,
            splits_block: false,
            spoiled: false,
            maybe_aborted: false,
            must_report: false,
            aborting: false,
            look: self.scene.ledger.units[volume].look(),
            input: Vec::new(),
            data_sn: 0,
            in_sequence: 0,
            r2t_sn: 0,
            requested: 0,
        };
        let may_differ = matches!(command.kind, Kind::Read | Kind::Write | Kind::Inquiry);
        if may_differ && self.scene.run.rng.chance(self.scene.run.plan.weights.odd_length) {
            self.make_length_odd(&mut command);
        }
        command
    }

    fn draw_attribute(&mut self) -> TaskAttribute {
        let Run { rng, plan, .. } = &mut self.scene.run;
        let is_rare = plan.weights.ordered > 0 && rng.chance(plan.weights.ordered);
        if !is_rare {
            return TaskAttribute::Simple;
        }
        rng.pick(&[TaskAttribute::Ordered, TaskAttribute::Ordered, TaskAttribute::HeadOfQueue])
    }

    /// The initiator expects more or less data than the CDB asks for.
    fn make_length_odd(&mut self, command: &mut Command) {
        let expected = u64::from(command.expected);
        let less = self.rng().below(expected + 1);
        let more = expected + self.rng().pick(&[1, 512, 700]);
        let odd = self.rng().pick(&[0, less, more]);
        command.expected = word(odd);
        if command.kind == Kind::Write {
            command.out.resize(size(odd), 0xee);
            let block = u64::from(self.volumes()[command.volume].block_bytes);
            let used = odd.min(expected);
            command.splits_block = used % block != 0;
            let whole = if command.splits_block { 0 } else { used / SECTOR_BYTES };
            if let Some((span, _)) = command.writes.first_mut() {
                span.count = span.count.min(whole);
            }
        }
    }

    /// Some blocks of a volume; `streams`: for a transfer that may be of several bursts.
    fn draw_blocks(&mut self, volume: usize, streams: bool) -> Blocks {
        let run = &mut self.scene.run;
        let plan = run.plan.volumes[volume];
        let sectors_per_block = plan.sectors_per_block();
        let there = self.scene.admin.sectors(volume) / sectors_per_block;
        let block_bytes = u64::from(plan.block_bytes);
        let mut most = run.plan.blocks;
        if streams {
            if run.rng.chance(run.plan.weights.big) {
                most = BIG_TRANSFER_BYTES / block_bytes;
            }
            most = most.min(transfer_max(self.terms) / block_bytes).max(1);
        }
        let usual = run.rng.between(1, most);
        let count = run.rng.pick(&[usual, usual, usual, usual, most, 1, 0]).min(there);
        let last = there - count;
        let hot = run.rng.below(run.plan.hot_blocks).min(last);
        let anywhere = run.rng.between(0, last);
        let lba = run.rng.pick(&[hot, hot, anywhere]);
        let outside = run.rng.chance(5);
        let lba = if outside { there - count / 2 } else { lba };
        Blocks { volume, lba, count, sectors_per_block }
    }

    fn draft_read(&mut self, volume: usize) -> Draft {
        let blocks = self.draw_blocks(volume, true);
        let cdb = self.access_cdb(Opcodes { six: 0x08, ten: 0x28, sixteen: 0x88 }, 0, blocks);
        let mut draft = Draft::new(Kind::Read, cdb, blocks.span());
        draft.reads = blocks.bytes();
        draft
    }

    fn draft_write(&mut self, volume: usize, op: u64) -> Draft {
        let blocks = self.draw_blocks(volume, true);
        let fua = self.rng().chance(300);
        let flags = if fua { 0x08 } else { 0 };
        let six = if fua { 0 } else { 0x0a };
        let cdb = self.access_cdb(Opcodes { six, ten: 0x2a, sixteen: 0x8a }, flags, blocks);
        let span = blocks.span();
        let mut draft = Draft::new(Kind::Write, cdb, span);
        draft.out = sectors(op, span.first, span.count);
        draft.writes.push((span, op));
        draft.fua = fua;
        draft
    }

    fn draft_write_and_verify(&mut self, volume: usize, op: u64) -> Draft {
        let blocks = self.draw_blocks(volume, true);
        let flags = self.rng().pick(&[0x00, 0x02]);
        let cdb = self.access_cdb(Opcodes { six: 0, ten: 0x2e, sixteen: 0x8e }, flags, blocks);
        let span = blocks.span();
        let mut draft = Draft::new(Kind::WriteAndVerify, cdb, span);
        draft.out = sectors(op, span.first, span.count);
        draft.writes.push((span, op));
        draft.fua = true;
        draft
    }

    fn draft_verify(&mut self, volume: usize, compares: bool) -> Draft {
        let blocks = self.draw_blocks(volume, true);
        let one_block = compares && blocks.count > 0 && self.rng().chance(300);
        let flags = if !compares {
            0x00
        } else if one_block {
            0x06
        } else {
            0x02
        };
        let cdb = self.access_cdb(Opcodes { six: 0, ten: 0x2f, sixteen: 0x8f }, flags, blocks);
        let span = blocks.span();
        let mut draft = Draft::new(Kind::Verify { compares }, cdb, span);
        if compares {
            draft.believes = self.scene.ledger.believed(span);
            if one_block {
                let block = size(blocks.sectors_per_block);
                let first: Vec<Mark> = draft.believes.iter().copied().take(block).collect();
                draft.believes = first.repeat(size(blocks.count));
                draft.out = first.iter().flat_map(|m| m.sector()).collect();
            } else {
                draft.out = draft.believes.iter().flat_map(|m| m.sector()).collect();
            }
        }
        draft
    }

    fn draft_compare_and_write(&mut self, volume: usize, op: u64) -> Draft {
        let mut blocks = self.draw_blocks(volume, false);
        blocks.count = blocks.count.min(self.rng().pick(&[1, 1, 4]));
        let fua = self.rng().chance(300);
        let span = blocks.span();
        let mut cdb = cdb_16(0x89, if fua { 0x08 } else { 0 }, blocks);
        cdb[10..14].fill(0);
        cdb[13] = byte(blocks.count);
        let mut draft = Draft::new(Kind::CompareAndWrite, cdb, span);
        draft.believes = self.scene.ledger.believed(span);
        draft.out = draft.believes.iter().flat_map(|m| m.sector()).collect();
        draft.out.extend(sectors(op, span.first, span.count));
        draft.writes.push((span, op));
        draft.fua = fua;
        draft
    }

    /// With data of zeros: a block of another value would be none that the record knows. It must
    /// not undo what others write meanwhile.
    fn draft_or_write(&mut self, volume: usize) -> Draft {
        let blocks = self.draw_blocks(volume, false);
        let fua = self.rng().chance(300);
        let cdb = cdb_16(0x8b, if fua { 0x08 } else { 0 }, blocks);
        let mut draft = Draft::new(Kind::OrWrite, cdb, blocks.span());
        draft.out = vec![0; size(blocks.bytes())];
        draft
    }

    fn draft_write_same(&mut self, volume: usize, op: u64) -> Draft {
        let mut blocks = self.draw_blocks(volume, false);
        blocks.count = blocks.count.max(1);
        blocks.lba =
            blocks.lba.min(self.scene.admin.sectors(volume) / blocks.sectors_per_block - 1);
        let span = blocks.span();
        let unmap = self.volumes()[volume].unmap && self.rng().chance(300);
        let (no_data, zeros) = self.rng().pick(&[(true, true), (false, true), (false, false)]);
        let flags = if unmap { 0x08 } else { 0 } | if no_data { 0x01 } else { 0 };
        let mut draft = Draft::new(Kind::WriteSame, cdb_16(0x93, flags, blocks), span);
        let value = if zeros { ZEROS } else { op };
        let mark = if zeros { Mark::ZERO } else { Mark { value: op, place: ANYWHERE } };
        if !no_data {
            draft.out = mark.sector().repeat(size(blocks.sectors_per_block));
        }
        draft.writes.push((span, value));
        draft
    }

    fn draft_unmap(&mut self, volume: usize) -> Draft {
        let first = self.draw_blocks(volume, false);
        let second = self.draw_blocks(volume, false);
        let mut list = vec![0, 38, 0, 32, 0, 0, 0, 0];
        for blocks in [first, second] {
            list.extend(blocks.lba.to_be_bytes());
            list.extend(word(blocks.count).to_be_bytes());
            list.extend([0; 4]);
        }
        let mut command = cdb(&[0x42]);
        command[8] = 40;
        let mut draft = Draft::new(Kind::Unmap, command, nowhere(volume));
        draft.out = list;
        let end = self.volumes()[volume].sectors;
        let spans = [first.span(), second.span()];
        draft.outside = spans.iter().any(|s| s.first + s.count > end);
        let (one, two) = (spans[0], spans[1]);
        let overlap = one.first < two.first + two.count && two.first < one.first + one.count;
        // An overlap would be one write to the same sector twice.
        let writes = if overlap { vec![hull(one, two)] } else { spans.to_vec() };
        if overlap {
            draft.out.truncate(24);
            draft.out[1] = 22;
            draft.out[3] = 16;
            let hull = writes[0];
            let per_block = first.sectors_per_block;
            draft.out[8..16].copy_from_slice(&(hull.first / per_block).to_be_bytes());
            let count = word(hull.count / per_block);
            draft.out[16..20].copy_from_slice(&count.to_be_bytes());
            draft.cdb[8] = 24;
        }
        draft.writes = writes.into_iter().map(|span| (span, ZEROS)).collect();
        draft
    }

    fn draft_flush(&mut self, volume: usize) -> Draft {
        let mut blocks = self.draw_blocks(volume, false);
        if self.rng().chance(600) {
            (blocks.lba, blocks.count) = (0, 0);
        }
        let mut span = blocks.span();
        if span.count == 0 {
            // No number of blocks: to the end.
            span.count = self.scene.admin.sectors(volume).saturating_sub(span.first);
        }
        Draft::new(Kind::Flush, cdb_10(0x35, 0, blocks), span)
    }

    fn draft_inquiry(&mut self, volume: usize) -> Draft {
        let length = self.rng().pick(&[0, 5, 36, 96, 255]);
        let [.., high, low] = u16::to_be_bytes(length);
        let command = match self.rng().below(7) {
            0 => cdb(&[0x12, 0, 0, high, low]),
            1 => cdb(&[0x12, 1, 0x83, high, low]),
            2 => cdb(&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]),
            3 => cdb(&[0xa0, 0, 0, 0, 0, 0, 0, 0, high, low.max(16)]),
            4 => cdb(&[0x03, 0, 0, 0, low]),
            5 => cdb(&[0x1a, 0, 0x3f, 0, low]),
            _ => cdb(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low.max(24)]),
        };
        let mut draft = Draft::new(Kind::Inquiry, command, nowhere(volume));
        draft.reads = u64::from(length.max(24));
        draft
    }

    fn access_cdb(&mut self, opcodes: Opcodes, flags: u8, blocks: Blocks) -> [u8; 16] {
        let small = opcodes.six != 0 && blocks.count > 0 && blocks.count < 256;
        match self.rng().below(3) {
            0 if small && flags == 0 => {
                let [.., middle, low] = word(blocks.lba).to_be_bytes();
                let count = byte(blocks.count);
                cdb(&[opcodes.six, 0, middle, low, count])
            }
            1 => cdb_16(opcodes.sixteen, flags, blocks),
            _ => cdb_10(opcodes.ten, flags, blocks),
        }
    }
}

/// The operation codes of a command in its forms; 0 where it has none of six bytes.
#[derive(Clone, Copy)]
struct Opcodes {
    six: u8,
    ten: u8,
    sixteen: u8,
}

fn draft_mode(volume: usize, write_cache: bool) -> Draft {
    let mut list = vec![0; 24];
    list[4..6].copy_from_slice(&[0x08, 0x12]);
    list[6] = if write_cache { 0x04 } else { 0 };
    let command = cdb(&[0x15, 0x10, 0, 0, 24]);
    let mut draft = Draft::new(Kind::Mode { write_cache }, command, nowhere(volume));
    draft.out = list;
    draft
}

const fn nowhere(volume: usize) -> Span {
    Span { volume, first: 0, count: 0 }
}

fn hull(one: Span, two: Span) -> Span {
    let first = one.first.min(two.first);
    let end = (one.first + one.count).max(two.first + two.count);
    Span { volume: one.volume, first, count: end - first }
}

fn cdb(bytes: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    cdb
}

fn cdb_10(code: u8, flags: u8, blocks: Blocks) -> [u8; 16] {
    let mut cdb = cdb(&[code, flags]);
    cdb[2..6].copy_from_slice(&word(blocks.lba).to_be_bytes());
    cdb[7..9].copy_from_slice(&word(blocks.count).to_be_bytes()[2..]);
    cdb
}

fn cdb_16(code: u8, flags: u8, blocks: Blocks) -> [u8; 16] {
    let mut cdb = cdb(&[code, flags]);
    cdb[2..10].copy_from_slice(&blocks.lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&word(blocks.count).to_be_bytes());
    cdb
}

/// Bytes of a transfer of several bursts.
const BIG_TRANSFER_BYTES: u64 = 1_400_000;

const _: () = assert!(SECTOR as u64 == SECTOR_BYTES);
