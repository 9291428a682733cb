//! A logical unit as an array of blocks.

use crate::cdb;
use crate::command::{Command, CommandResult};
use crate::error::Error;
use crate::session::Session;

/// Unit attentions that may wait for a new nexus; another initiator's reset adds one at any time.
const UNIT_ATTENTIONS_MAX: usize = 16;

/// Sense key UNIT ATTENTION (SPC-4 4.5.6).
const UNIT_ATTENTION: u8 = 6;

/// A logical unit that answers, with its geometry.
#[derive(Debug)]
pub struct Disk {
    session: Session,
    lun: u16,
    block_bytes: u32,
    blocks: u64,
}

impl Disk {
    /// Takes unit attentions off the logical unit and asks for its capacity.
    pub fn open(mut session: Session, lun: u16) -> Result<Self, Error> {
        let mut answer = session.scsi(Command::read(lun, cdb::read_capacity_16(32), 32))?;
        for _ in 0..UNIT_ATTENTIONS_MAX {
            if answer.sense().is_none_or(|sense| sense.key != UNIT_ATTENTION) {
                break;
            }
            answer = session.scsi(Command::read(lun, cdb::read_capacity_16(32), 32))?;
        }
        let (Some(last), Some(length)) = (answer.data.first_chunk::<8>(), answer.data.get(8..12))
        else {
            return Err(Error::NotReady { status: answer.status, sense: answer.sense() });
        };
        let block_bytes = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        Ok(Self { session, lun, block_bytes, blocks: u64::from_be_bytes(*last).wrapping_add(1) })
    }

    /// The session underneath.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Gives the session back.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// LUN.
    pub fn lun(&self) -> u16 {
        self.lun
    }

    /// Bytes of one logical block.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Logical blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Reads blocks.
    pub fn read(&mut self, lba: u64, blocks: u32) -> Result<CommandResult, Error> {
        self.session.scsi(self.read_command(lba, blocks))
    }

    /// Writes whole blocks.
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<CommandResult, Error> {
        self.session.scsi(self.write_command(lba, data, false))
    }

    /// Writes whole blocks with FUA: GOOD means that they are on the medium.
    pub fn write_fua(&mut self, lba: u64, data: &[u8]) -> Result<CommandResult, Error> {
        self.session.scsi(self.write_command(lba, data, true))
    }

    /// Puts all earlier writes on the medium.
    pub fn synchronize_cache(&mut self) -> Result<CommandResult, Error> {
        self.session.scsi(Command::without_data(self.lun, cdb::synchronize_cache_16(0, 0)))
    }

    /// The command that reads blocks, to be submitted by the caller.
    pub fn read_command(&self, lba: u64, blocks: u32) -> Command {
        Command::read(self.lun, cdb::read_16(lba, blocks), blocks * self.block_bytes)
    }

    /// The command that writes whole blocks, to be submitted by the caller.
    pub fn write_command(&self, lba: u64, data: &[u8], force_unit_access: bool) -> Command {
        let blocks = crate::pdu::length_u32(data.len()) / self.block_bytes;
        let cdb = if force_unit_access {
            cdb::write_16_fua(lba, blocks)
        } else {
            cdb::write_16(lba, blocks)
        };
        Command::write(self.lun, cdb, data)
    }
}
