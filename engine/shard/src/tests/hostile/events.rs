//! What initiators, backend, wire, mail and administrators do, in any order.

use proptest::prelude::*;

pub(super) const CORES: usize = 2;
pub(super) const SESSIONS: usize = 4;

/// What may happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A login on a connection of its own; an older one of the same name is displaced.
    LogIn {
        session: usize,
        core: usize,
        keys: usize,
    },
    /// The header of a PDU arrives, and its data with it or later.
    Pdu {
        session: usize,
        pdu: Pdu,
        whole: bool,
    },
    /// The rest of a PDU arrives.
    Rest {
        session: usize,
        digest_ok: bool,
    },
    /// An R2T is answered as it should be.
    Serve {
        session: usize,
    },
    Lose {
        session: usize,
    },
    EndOne {
        core: usize,
        place: usize,
        how: u8,
    },
    TakeOff {
        core: usize,
    },
    Deliver,
    Catalog {
        core: usize,
        which: usize,
    },
    Pass {
        millis: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Pdu {
    Command {
        cdb: [u8; 16],
        lun: u16,
        /// 0: the direction and length of the command; else they are wrong in some way.
        wrong: u8,
        is_final: bool,
        immediate: bool,
        data: u32,
        old_tag: bool,
    },
    DataOut {
        back: u32,
        transfer: u32,
        offset: u32,
        data: u32,
        data_sn: u32,
        is_final: bool,
    },
    Manage {
        function: u8,
        back: u32,
        immediate: bool,
    },
    LogOut,
    Ping {
        data: u32,
    },
}

fn cdb() -> impl Strategy<Value = [u8; 16]> {
    let blocks = prop_oneof![4 => 1_u16..17, 1 => Just(0), 2 => 500_u16..4000];
    let lba = prop_oneof![4 => 0_u16..24, 1 => Just(8191), 1 => 0_u16..6000];
    let kind = prop_oneof![
        4 => Just((0x28, 0)),
        5 => Just((0x2a, 0)),
        1 => Just((0x2a, 8)),
        2 => Just((0x2e, 2)),
        1 => Just((0x2e, 0)),
        2 => Just((0x2f, 2)),
        1 => Just((0x2f, 0)),
        1 => Just((0x2f, 6)),
        1 => Just((0x35, 0)),
        2 => Just((0x41, 0)),
        1 => Just((0x41, 8)),
        5 => Just((0x89, 0)),
        3 => Just((0x8b, 0)),
        1 => Just((0x93, 1)),
        2 => Just((0x42, 0)),
        1 => Just((0x9e, 0x12)),
        2 => Just((0x16, 0)),
        1 => Just((0x17, 0)),
        1 => Just((0x55, 0x10)),
        1 => Just((0x12, 0)),
        1 => Just((0x00, 0)),
        1 => Just((0xa0, 0)),
        1 => Just((0x03, 0)),
    ];
    (kind, lba, blocks).prop_map(|((code, flags), lba, blocks)| {
        let mut cdb = [0; 16];
        cdb[0] = code;
        cdb[1] = flags;
        let (lba, count) = (lba.to_be_bytes(), blocks.to_be_bytes());
        match code {
            0x89 | 0x8b | 0x93 => {
                cdb[8..10].copy_from_slice(&lba);
                cdb[12..14].copy_from_slice(&count);
                if code == 0x89 {
                    cdb[12..14].copy_from_slice(&[0, count[1] % 4]);
                }
            }
            0x9e => {
                cdb[8..10].copy_from_slice(&lba);
                cdb[12] = count[1];
            }
            0x16 | 0x17 | 0x00 | 0x12 | 0x03 => cdb[4] = count[1],
            0x42 | 0x55 => cdb[8] = 24,
            0xa0 => cdb[9] = 64,
            _ => {
                cdb[4..6].copy_from_slice(&lba);
                cdb[7..9].copy_from_slice(&count);
            }
        }
        cdb
    })
}

/// Whether a command reads or writes, and how many bytes.
pub(super) fn transfer(cdb: &[u8; 16]) -> (bool, u32) {
    let blocks = |at: usize| u32::from(u16::from_be_bytes([cdb[at], cdb[at + 1]])) * 512;
    match cdb[0] {
        0x28 => (false, blocks(7)),
        0x2a | 0x2e => (true, blocks(7)),
        0x2f if cdb[1] == 2 => (true, blocks(7)),
        0x2f if cdb[1] == 6 => (true, 512),
        0x41 => (true, 512),
        0x8b => (true, blocks(12)),
        0x93 => (true, 0),
        0x89 => (true, blocks(12) * 2),
        0x42 | 0x55 => (true, 24),
        0x9e | 0xa0 => (false, 64),
        0x12 | 0x03 => (false, u32::from(cdb[4])),
        _ => (false, 0),
    }
}

fn pdu() -> impl Strategy<Value = Pdu> {
    let len = prop_oneof![
        3 => Just(0_u32),
        2 => Just(512),
        2 => (1_u32..5).prop_map(|n| n * 512),
        1 => 1_u32..70_000
    ];
    let wrong = prop_oneof![6 => Just(0_u8), 1 => 1_u8..6];
    let data = prop_oneof![3 => Just(u32::MAX), 1 => len.clone()];
    let is_final = prop::bool::weighted(0.8);
    let command = (
        cdb(),
        0_u16..12,
        wrong,
        is_final,
        prop::bool::weighted(0.1),
        data,
        prop::bool::weighted(0.05),
    )
        .prop_map(|(cdb, lun, wrong, is_final, immediate, data, old_tag)| {
            let lun = if lun < 8 { 0 } else { lun };
            Pdu::Command { cdb, lun, wrong, is_final, immediate, data, old_tag }
        });
    let offset =
        prop_oneof![2 => Just(0_u32), 2 => (0_u32..9).prop_map(|n| n * 512), 1 => any::<u32>()];
    let transfer = prop_oneof![3 => Just(0xffff_ffff_u32), 2 => 0_u32..6];
    let data_out = (0_u32..4, transfer, offset, len.clone(), 0_u32..2, any::<bool>()).prop_map(
        |(back, transfer, offset, data, data_sn, is_final)| Pdu::DataOut {
            back,
            transfer,
            offset,
            data,
            data_sn,
            is_final,
        },
    );
    let manage = (1_u8..9, 0_u32..4, any::<bool>())
        .prop_map(|(function, back, immediate)| Pdu::Manage { function, back, immediate });
    prop_oneof![
        12 => command,
        3 => data_out,
        2 => manage,
        1 => Just(Pdu::LogOut),
        1 => len.prop_map(|data| Pdu::Ping { data }),
    ]
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let session = 0_usize..SESSIONS;
    let core = 0_usize..CORES;
    prop_oneof![
        2 => (session.clone(), core.clone(), 0_usize..4)
            .prop_map(|(session, core, keys)| Event::LogIn { session, core, keys }),
        30 => (session.clone(), pdu(), prop::bool::weighted(0.8))
            .prop_map(|(session, pdu, whole)| Event::Pdu { session, pdu, whole }),
        8 => (session.clone(), prop::bool::weighted(0.9))
            .prop_map(|(session, digest_ok)| Event::Rest { session, digest_ok }),
        12 => session.clone().prop_map(|session| Event::Serve { session }),
        1 => session.prop_map(|session| Event::Lose { session }),
        12 => (core.clone(), 0_usize..8, 0_u8..20)
            .prop_map(|(core, place, how)| Event::EndOne { core, place, how }),
        8 => core.clone().prop_map(|core| Event::TakeOff { core }),
        12 => Just(Event::Deliver),
        1 => (core, 0_usize..4).prop_map(|(core, which)| Event::Catalog { core, which }),
        1 => (0_u64..6000).prop_map(|millis| Event::Pass { millis }),
    ]
}
