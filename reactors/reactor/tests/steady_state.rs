//! The data path allocates nothing once it is warm.
//!
//! The allocator counts for the whole process, so this program has one test, its initiator works in
//! buffers that it made before, and it is its own harness: the standard one has a second thread,
//! which allocates when the scheduler lets it.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod initiator;

use initiator::{Initiator, Wishes, clear_attention, memory_node, read_10, write_10};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const DEPTH: usize = 32;
const BLOCK: usize = 4096;

/// A batch of commands that is sent over and over, with new tags and numbers each time.
struct Batch {
    out: Vec<u8>,
    stride: usize,
    answer: Vec<u8>,
}

impl Batch {
    fn new(initiator: &mut Initiator, writes: bool) -> Self {
        let mut out = Vec::new();
        for lba in (0..).step_by(8).take(DEPTH) {
            let (cdb, flags) =
                if writes { (write_10(lba, 8), 0xa0) } else { (read_10(lba, 8), 0xc0) };
            let header = initiator.command(0, &cdb, flags, 4096);
            let data = [0x5a; BLOCK];
            let data = if writes { &data[..] } else { &[] };
            out.extend_from_slice(&initiator.pdu_bytes(header, data));
        }
        let stride = out.len() / DEPTH;
        let answer = vec![0; DEPTH * (48 + if writes { 0 } else { BLOCK })];
        Self { out, stride, answer }
    }

    /// Sends the batch with CmdSN from `cmd_sn` on and takes its answers.
    fn run(&mut self, initiator: &mut Initiator, cmd_sn: &mut u32) {
        let answered = self.answer.len() / DEPTH;
        for header in self.out.chunks_mut(self.stride) {
            header[16..20].copy_from_slice(&cmd_sn.to_be_bytes());
            header[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
            *cmd_sn += 1;
        }
        initiator.stream.write_all(&self.out).unwrap();
        initiator.stream.read_exact(&mut self.answer).unwrap();
        for pdu in self.answer.chunks(answered) {
            let status = pdu[3];
            assert!(matches!(pdu[0], 0x21 | 0x25) && status == 0, "{:?}", &pdu[..48]);
        }
    }
}

fn main() {
    reads_and_writes_allocate_nothing();
    println!("test reads_and_writes_allocate_nothing ... ok");
}

fn reads_and_writes_allocate_nothing() {
    let fixture = memory_node(1);
    let mut initiator = Initiator::log_in(fixture.address, 1, Wishes::default());
    clear_attention(&mut initiator, 0);
    let mut cmd_sn =
        u32::from_be_bytes(initiator.command(0, &[], 0, 0)[24..28].try_into().unwrap());
    let mut writes = Batch::new(&mut initiator, true);
    let mut reads = Batch::new(&mut initiator, false);
    let mut rounds = |count| {
        for _ in 0..count {
            writes.run(&mut initiator, &mut cmd_sn);
            reads.run(&mut initiator, &mut cmd_sn);
        }
    };
    rounds(200);
    let region = Region::new(ALLOCATOR);
    rounds(1000);
    let change = region.change();
    // 64000 commands, and the ticks of the shard's clock besides.
    assert_eq!(change.allocations + change.reallocations, 0, "{change:?}");
    fixture.node.shutdown(Duration::ZERO);
}
