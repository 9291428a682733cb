//! An initiator port as small as it can be: it logs in, and makes PDUs with the right numbers.

use super::world::{Place, Sent, TARGET, World};
use crate::Placement;
use iscsi::pdu::{
    DataOut, LoginRequest, LogoutReason, LogoutRequest, NopOut, ScsiCommand, Stage, TaskAttribute,
    TaskManagementFunction, TaskManagementRequest, TextRequest,
};
use iscsi::{InitiatorTaskTag, TargetTransferTag};
use units::{Lun, Serial32};

pub(super) const LOGIN_RESPONSE: u8 = 0x23;
pub(super) const SCSI_RESPONSE: u8 = 0x21;
pub(super) const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
pub(super) const DATA_IN: u8 = 0x25;
pub(super) const LOGOUT_RESPONSE: u8 = 0x26;
pub(super) const R2T: u8 = 0x31;
pub(super) const REJECT: u8 = 0x3f;

/// Keys that let 64 KiB come unasked.
pub(super) const UNASKED: &str =
    "InitialR2T=No\0ImmediateData=Yes\0FirstBurstLength=65536\0MaxBurstLength=262144\0";

#[derive(Clone, Copy, Debug)]
pub(super) struct Initiator {
    pub(super) place: Place,
    pub(super) cmd_sn: u32,
    tag: u32,
}

/// One command, before it gets its numbers.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) lun: u16,
    pub(super) cdb: Vec<u8>,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) expected: u32,
    pub(super) is_final: bool,
    pub(super) immediate_data: Vec<u8>,
    pub(super) attribute: TaskAttribute,
}

impl Order {
    fn new(cdb: &[u8], read: bool, write: bool, expected: u32) -> Self {
        Self {
            lun: 0,
            cdb: cdb.to_vec(),
            read,
            write,
            expected,
            is_final: true,
            immediate_data: Vec::new(),
            attribute: TaskAttribute::Simple,
        }
    }

    pub(super) fn none(cdb: &[u8]) -> Self {
        Self::new(cdb, false, false, 0)
    }

    pub(super) fn reads(cdb: &[u8], expected: u32) -> Self {
        Self::new(cdb, true, false, expected)
    }

    pub(super) fn writes(cdb: &[u8], expected: u32) -> Self {
        Self::new(cdb, false, true, expected)
    }

    pub(super) fn at(self, lun: u16) -> Self {
        Self { lun, ..self }
    }

    pub(super) fn with(self, data: &[u8]) -> Self {
        Self { immediate_data: data.to_vec(), ..self }
    }

    pub(super) fn with_attribute(self, attribute: TaskAttribute) -> Self {
        Self { attribute, ..self }
    }

    pub(super) fn ordered(self) -> Self {
        self.with_attribute(TaskAttribute::Ordered)
    }

    /// Unsolicited Data-Out follows.
    pub(super) fn goes_on(self) -> Self {
        Self { is_final: false, ..self }
    }
}

/// WRITE (10).
pub(super) fn write_10(lba: u8, blocks: u16) -> Order {
    let [high, low] = blocks.to_be_bytes();
    Order::writes(&[0x2a, 0, 0, 0, 0, lba, 0, high, low, 0], u32::from(blocks) * 512)
}

/// READ (10).
pub(super) fn read_10(lba: u8, blocks: u16) -> Order {
    let [high, low] = blocks.to_be_bytes();
    Order::reads(&[0x28, 0, 0, 0, 0, lba, 0, high, low, 0], u32::from(blocks) * 512)
}

/// COMPARE AND WRITE of one block.
pub(super) fn compare_and_write(lba: u8) -> Order {
    let cdb = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, 1, 0, 0];
    Order::writes(&cdb, 1024)
}

/// TEST UNIT READY.
pub(super) fn test_unit_ready() -> Order {
    Order::none(&[0; 6])
}

/// RESERVE (6).
pub(super) fn reserve() -> Order {
    Order::none(&[0x16, 0, 0, 0, 0, 0])
}

/// The header of a login request that asks for the full feature phase at once.
pub(super) fn login_header(text_bytes: usize) -> [u8; 48] {
    let mut header = [0; 48];
    LoginRequest {
        transit: true,
        continues: false,
        current_stage: Stage::LoginOperationalNegotiation,
        next_stage: Stage::FullFeaturePhase,
        version_max: 0,
        version_min: 0,
        data_segment_length: u32::try_from(text_bytes).unwrap(),
        isid: [0x80, 0, 0, 0, 0, 1],
        tsih: 0,
        initiator_task_tag: InitiatorTaskTag(1),
        cid: 0,
        cmd_sn: Serial32(0xffff_fff0),
        exp_stat_sn: Serial32(0),
    }
    .emit(&mut header);
    header
}

impl Initiator {
    /// A connection that has sent its login and not looked at the answer.
    pub(super) fn knock(world: &mut World, core: usize, name: &str, keys: &str) -> Self {
        let place = world.accept(core).unwrap();
        Self::knock_on(world, place, &format!("{name}\0TargetName={TARGET}\0{keys}"))
    }

    /// The same for a discovery session.
    pub(super) fn knock_for_discovery(world: &mut World, core: usize) -> Self {
        let place = world.accept(core).unwrap();
        Self::knock_on(world, place, "finder\0SessionType=Discovery\0")
    }

    /// Sends a login on a connection, with text that begins with the end of the initiator's name.
    pub(super) fn knock_on(world: &mut World, place: Place, text: &str) -> Self {
        let text = format!("InitiatorName=iqn.2026-01.example:{text}");
        let header = login_header(text.len());
        world.receive(place, header, text.as_bytes());
        Self { place, cmd_sn: 0xffff_fff0, tag: 16 }
    }

    /// A session whose initial unit attentions have been taken note of.
    pub(super) fn log_in(world: &mut World, core: usize, name: &str, keys: &str) -> Self {
        let mut initiator = Self::knock(world, core, name, keys);
        initiator.admitted(world);
        for lun in [0, 1, super::world::READ_ONLY_LUN] {
            let status = initiator.run(world, test_unit_ready().at(lun)).status();
            assert_eq!(status, 0x02, "POWER ON comes first");
        }
        initiator
    }

    /// The answer to the login was success.
    pub(super) fn admitted(&mut self, world: &mut World) {
        let sent = world.sent(self.place);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!((sent[0].opcode(), &sent[0].header[36..38]), (LOGIN_RESPONSE, &[0, 0][..]));
    }

    /// The next tag to be given.
    pub(super) const fn next_tag(&mut self) -> u32 {
        self.tag += 1;
        self.tag
    }

    /// A command's header, with the next CmdSN and the next tag.
    pub(super) fn header(&mut self, order: &Order) -> (u32, [u8; 48]) {
        let tag = self.next_tag();
        let mut cdb = [0; 16];
        cdb[..order.cdb.len()].copy_from_slice(&order.cdb);
        let mut header = [0; 48];
        ScsiCommand {
            immediate: false,
            is_final: order.is_final,
            read: order.read,
            write: order.write,
            attribute: order.attribute,
            total_ahs_length: 0,
            data_segment_length: u32::try_from(order.immediate_data.len()).unwrap(),
            lun: Lun::from_number(order.lun).unwrap(),
            initiator_task_tag: InitiatorTaskTag(tag),
            expected_data_transfer_length: order.expected,
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
            cdb,
        }
        .emit(&mut header);
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        (tag, header)
    }

    /// Sends a command; returns its tag.
    pub(super) fn start(&mut self, world: &mut World, order: Order) -> u32 {
        let (tag, header) = self.header(&order);
        world.receive(self.place, header, &order.immediate_data);
        tag
    }

    /// Sends a command for immediate delivery; returns its tag.
    pub(super) fn start_immediate(&mut self, world: &mut World, order: &Order) -> u32 {
        let (tag, mut header) = self.header(order);
        self.cmd_sn = self.cmd_sn.wrapping_sub(1);
        header[0] |= 0x40;
        world.receive(self.place, header, &order.immediate_data);
        tag
    }

    /// Answers a ping of the target.
    pub(super) fn answer_ping(&self, world: &mut World, transfer_tag: u32) {
        let mut header = [0; 48];
        NopOut {
            immediate: true,
            data_segment_length: 0,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag: TargetTransferTag(transfer_tag),
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
        }
        .emit(&mut header);
        world.receive(self.place, header, &[]);
    }

    /// Asks for all targets.
    pub(super) fn send_targets(&mut self, world: &mut World) {
        let text = b"SendTargets=All\0";
        let mut header = [0; 48];
        TextRequest {
            immediate: true,
            is_final: true,
            continues: false,
            data_segment_length: u32::try_from(text.len()).unwrap(),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(self.next_tag()),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
        }
        .emit(&mut header);
        world.receive(self.place, header, text);
    }

    /// Sends a command and takes all that comes back.
    pub(super) fn run(&mut self, world: &mut World, order: Order) -> Answer {
        self.start(world, order);
        self.answer(world)
    }

    /// All that has come back since the last time.
    pub(super) fn answer(&self, world: &mut World) -> Answer {
        Answer { sent: world.sent(self.place) }
    }

    /// The header of a Data-Out.
    pub(super) fn data_out_header(tag: u32, transfer: u32, part: &Part<'_>) -> [u8; 48] {
        let mut header = [0; 48];
        DataOut {
            is_final: part.is_final,
            data_segment_length: u32::try_from(part.data.len()).unwrap(),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(tag),
            target_transfer_tag: TargetTransferTag(transfer),
            exp_stat_sn: Serial32(0),
            data_sn: Serial32(part.data_sn),
            buffer_offset: part.offset,
        }
        .emit(&mut header);
        header
    }

    pub(super) fn data_out(&self, world: &mut World, tag: u32, transfer: u32, part: &Part<'_>) {
        world.receive(self.place, Self::data_out_header(tag, transfer, part), part.data);
    }

    /// Sends a Data-Out header; its data is still to come.
    pub(super) fn begin_data_out(
        &self,
        world: &mut World,
        tag: u32,
        transfer: u32,
        part: &Part<'_>,
    ) -> Placement {
        world.receive_header(self.place, Self::data_out_header(tag, transfer, part))
    }

    /// Sends an immediate task management function; returns its tag.
    pub(super) fn manage(
        &mut self,
        world: &mut World,
        function: TaskManagementFunction,
        referenced: Option<u32>,
    ) -> u32 {
        let tag = self.next_tag();
        let mut header = [0; 48];
        TaskManagementRequest {
            immediate: true,
            function,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(tag),
            referenced_task_tag: referenced.map_or(InitiatorTaskTag::RESERVED, InitiatorTaskTag),
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
            ref_cmd_sn: Serial32(0),
            exp_data_sn: Serial32(0),
        }
        .emit(&mut header);
        world.receive(self.place, header, &[]);
        tag
    }

    pub(super) fn log_out(&mut self, world: &mut World) {
        let mut header = [0; 48];
        LogoutRequest {
            immediate: true,
            reason: LogoutReason::CloseSession,
            initiator_task_tag: InitiatorTaskTag(self.next_tag()),
            cid: 0,
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
        }
        .emit(&mut header);
        world.receive(self.place, header, &[]);
    }

    pub(super) fn ping(&mut self, world: &mut World, data: &[u8]) {
        let mut header = [0; 48];
        NopOut {
            immediate: true,
            data_segment_length: u32::try_from(data.len()).unwrap(),
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(self.next_tag()),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: Serial32(self.cmd_sn),
            exp_stat_sn: Serial32(0),
        }
        .emit(&mut header);
        world.receive(self.place, header, data);
    }
}

/// One Data-Out of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) offset: u32,
    pub(super) data_sn: u32,
    pub(super) is_final: bool,
    pub(super) data: &'a [u8],
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) sent: Vec<Sent>,
}

impl Answer {
    pub(super) fn opcodes(&self) -> Vec<u8> {
        self.sent.iter().map(Sent::opcode).collect()
    }

    fn last(&self) -> &Sent {
        self.sent.last().expect("an answer has come")
    }

    /// The status of the response, or of the Data-In that carries it.
    pub(super) fn status(&self) -> u8 {
        let last = self.last();
        let carries =
            last.opcode() == SCSI_RESPONSE || (last.opcode() == DATA_IN && last.header[1] & 1 == 1);
        assert!(carries, "{self:?}");
        last.header[3]
    }

    /// Overflow and underflow bits, and the count.
    pub(super) fn residual(&self) -> (u8, u32) {
        (self.last().header[1] & 0x06, self.last().word(44))
    }

    /// Sense key, ASC and ASCQ of fixed format sense.
    pub(super) fn sense(&self) -> (u8, u8, u8) {
        let data = &self.last().data;
        assert_eq!((self.status(), data[2] & 0x7f), (0x02, 0x70), "{self:?}");
        (data[4] & 0x0f, data[14], data[15])
    }

    /// INFORMATION of fixed format sense, if it is valid.
    pub(super) fn information(&self) -> Option<u32> {
        let data = &self.last().data;
        let information = u32::from_be_bytes(data[5..9].try_into().unwrap());
        assert!(data[2] & 0x80 != 0 || information == 0, "{self:?}");
        (data[2] & 0x80 != 0).then_some(information)
    }

    /// The data of all Data-In.
    pub(super) fn data(&self) -> Vec<u8> {
        self.sent.iter().filter(|s| s.opcode() == DATA_IN).flat_map(|s| s.data.clone()).collect()
    }

    /// Transfer tag, buffer offset and length of each R2T.
    pub(super) fn r2ts(&self) -> Vec<(u32, u32, u32)> {
        let r2t = |s: &Sent| (s.word(20), s.word(40), s.word(44));
        self.sent.iter().filter(|s| s.opcode() == R2T).map(r2t).collect()
    }
}
