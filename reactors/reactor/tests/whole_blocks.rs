//! Memory volumes: a READ gets each logical block as it was before or after a WRITE, whatever goes
//! on at the same time.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod initiator;

use initiator::{Initiator, Wishes, clear_attention, memory_node, narrow_node, read_10, write_10};
use std::net::SocketAddr;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(20);
const BLOCK: usize = 512;
/// Of 256 KiB each: more than the sockets of a narrow node and its peer hold.
const READS: usize = 4;

fn log_in(address: SocketAddr, number: u8) -> Initiator {
    let mut initiator = Initiator::log_in(address, number, Wishes::default());
    clear_attention(&mut initiator, 0);
    initiator
}

/// Writes blocks of one byte each.
fn fill(initiator: &mut Initiator, blocks: u16, byte: u8) {
    let data = vec![byte; usize::from(blocks) * BLOCK];
    let written = initiator.execute_write(0, &write_10(0, blocks), &data, (4096, 65_536));
    assert_eq!(written.status, 0);
}

fn assert_whole(data: &[u8]) {
    for (lba, block) in data.chunks(BLOCK).enumerate() {
        let torn = block.iter().position(|&byte| byte != block[0]);
        assert_eq!(torn, None, "block {lba} is {} and then something else", block[0]);
    }
}

/// The kernel took the rest of the bytes from the volume when the peer had read some: by then they
/// were others.
#[test]
fn a_peer_that_reads_late_gets_no_block_in_part() {
    let fixture = narrow_node();
    let (mut slow, mut writer) = (log_in(fixture.address, 1), log_in(fixture.address, 2));
    for round in 0..2 {
        fill(&mut writer, 512, 2 * round + 1);
        for _ in 0..READS {
            let header = slow.command(0, &read_10(0, 512), 0xc0, 512 * 512);
            slow.send(header, &[]);
        }
        // The target has sent what it can when this is answered.
        fill(&mut writer, 8, 2 * round + 1);
        fill(&mut writer, 512, 2 * round + 2);
        for _ in 0..READS {
            let read = slow.outcome();
            assert_eq!((read.status, read.data.len()), (0, 512 * 512));
            assert_whole(&read.data);
        }
    }
    slow.log_out();
    writer.log_out();
    fixture.node.shutdown(GRACE);
}

/// The kernel copied from the volume while another reactor stored to it.
#[test]
fn sessions_on_two_reactors_see_each_others_blocks_whole() {
    let fixture = memory_node(2);
    let (mut reader, mut writer) = (log_in(fixture.address, 1), log_in(fixture.address, 2));
    fill(&mut writer, 128, 1);
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for byte in (0..2000).map(|n: u32| n.to_le_bytes()[0]) {
                fill(&mut writer, 128, byte);
            }
            writer.log_out();
        });
        while !writing.is_finished() {
            let read = reader.execute(0, &read_10(0, 128), 128 * 512);
            assert_eq!((read.status, read.data.len()), (0, 128 * BLOCK));
            assert_whole(&read.data);
        }
    });
    reader.log_out();
    fixture.node.shutdown(GRACE);
}
