//! Streams that began as valid ones and were spoilt at random: whatever the target makes of
//! them, it goes on serving others. A failure prints the seed that repeats it.

use e2e::{Random, Subject, number_from_environment, pattern, seed};
use initiator::pdu::{self, Digests, Pdu, opcode};
use initiator::{Stage, cdb, encode_keys};

/// Streams between two looks whether the target still serves.
const STREAMS_PER_LOOK: u64 = 25;

/// The PDUs of a small life: login, commands with data both ways, requests, logout.
fn valid_stream(subject: &Subject, random: &mut Random) -> Vec<Vec<u8>> {
    let login = subject.login();
    let mut keys = encode_keys(&login.identity());
    keys.extend_from_slice(&encode_keys(login.offers()));
    let mut pdus = vec![login.request(Stage::Operational, Some(Stage::FullFeature), &keys)];
    let lun = subject.lun;
    let write = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
    let read = pdu::FINAL | pdu::READ | pdu::SIMPLE;
    let requests = [
        pdu::scsi_command(read, lun, 36, &cdb::inquiry(36)),
        pdu::scsi_command(write, lun, 4096, &cdb::write_16(0, 8)).with_data(&pattern(4096, 51)),
        pdu::scsi_command(write, lun, 65_536, &cdb::write_16(8, 128)),
        // This one waits for an R2T, whose tag can only be guessed.
        pdu::data_out(3, 0, lun).with_byte(1, pdu::FINAL).with_data(&pattern(8192, 52)),
        pdu::scsi_command(pdu::WRITE | pdu::SIMPLE, lun, 8192, &cdb::write_10(200, 16)),
        pdu::data_out(5, pdu::TAG_NONE, lun).with_byte(1, pdu::FINAL).with_data(&[7; 8192]),
        pdu::scsi_command(read, lun, 65_536, &cdb::read_16(0, 128)),
        pdu::nop_out(0, b"ping").immediate(),
        pdu::text_request(b"X-local.pollux.colour=blue\0"),
        pdu::task_management(5, lun, pdu::TAG_NONE),
        pdu::scsi_command(read, lun, 96, &cdb::report_luns(96)),
        pdu::snack_request(0, pdu::TAG_NONE, pdu::TAG_NONE),
        pdu::logout_request(0, 1),
    ];
    let mut cmd_sn = 1;
    for (tag, request) in (0_u32..).zip(requests) {
        let is_data = request.opcode() == opcode::DATA_OUT;
        let request = if is_data { request } else { request.with_u32(16, tag) };
        let is_numbered = !is_data && request.bhs[0] & pdu::IMMEDIATE == 0;
        let request = if is_data { request } else { request.with_u32(24, cmd_sn) };
        cmd_sn += u32::from(is_numbered);
        pdus.push(request);
    }
    if random.once_in(4) {
        let at = random.within(1..pdus.len());
        pdus.insert(at, random_pdu(random));
    }
    pdus.iter().map(|pdu| pdu.encode(Digests::default())).collect()
}

/// A header of random bytes with a data segment of the length that it declares.
fn random_pdu(random: &mut Random) -> Pdu {
    let mut odd = Pdu::new(random.byte());
    odd.bhs.iter_mut().for_each(|byte| *byte = random.byte());
    odd.bhs[4] = 0;
    let length = random.below(600);
    odd.with_data(&pattern(length, 53))
}

/// Spoils a stream in one to four places.
fn mutate(pdus: &mut Vec<Vec<u8>>, random: &mut Random) {
    for _ in 0..random.within(1..5) {
        // Mostly later PDUs: a spoilt login ends the stream at its begin.
        let first = usize::from(!random.once_in(5) && pdus.len() > 1);
        let index = random.within(first..pdus.len());
        let chosen = &mut pdus[index];
        let header = chosen.len().clamp(1, 48);
        match random.below(10) {
            0 | 1 => {
                let at = random.below(header);
                chosen[at] ^= 1 << random.below(8);
            }
            2 | 3 => {
                let at = random.below(header);
                chosen[at] = [0x00, 0xff, 0x7f, 0x80][random.below(4)];
            }
            4 => {
                let at = random.below(chosen.len());
                chosen[at] = random.byte();
            }
            5 => {
                // Lengths of AHS and data.
                let at = random.within(4..8).min(header - 1);
                chosen[at] = random.byte();
            }
            6 => chosen.truncate(random.within(1..chosen.len() + 1)),
            7 => {
                let twice = chosen.clone();
                pdus.insert(index, twice);
            }
            8 => {
                let other = random.below(pdus.len());
                pdus.swap(index, other);
            }
            _ => {
                let at = random.below(chosen.len());
                let noise = (0..random.within(1..100)).map(|_| random.byte()).collect::<Vec<_>>();
                chosen.splice(at..at, noise);
            }
        }
    }
}

/// Sends one stream and waits until the target has had enough of it.
fn send_stream(subject: &Subject, pdus: &[Vec<u8>], random: &mut Random) {
    let mut connection = subject.connect();
    let bytes = pdus.concat();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let cut = if random.once_in(3) { rest.len() } else { random.within(1..rest.len() + 1) };
        // The target may have closed the connection, as it should after some faults.
        if connection.send_bytes(&rest[..cut]).is_err() {
            return;
        }
        rest = &rest[cut..];
    }
    if connection.finish_sending().is_ok() {
        let closed = connection.discard_until_closed();
        assert!(closed.is_ok(), "a stream has ended, but the target keeps its connection");
    }
}

#[test]
fn spoilt_streams_do_not_stop_the_target() {
    let subject = Subject::start();
    let streams = number_from_environment("POLLUX_GARBAGE_SEEDS", 200);
    let first = seed();
    for number in first..first + streams {
        let mut random = Random::new(number);
        let mut pdus = valid_stream(&subject, &mut random);
        mutate(&mut pdus, &mut random);
        println!("stream {number}");
        send_stream(&subject, &pdus, &mut random);
        if (number - first).is_multiple_of(STREAMS_PER_LOOK) {
            subject.assert_serves();
        }
    }
    subject.assert_serves();
}

#[test]
fn streams_of_noise_do_not_stop_the_target() {
    let subject = Subject::start();
    let first = seed();
    for number in first..first + 50 {
        let mut random = Random::new(number);
        println!("noise {number}");
        let mut noise = (0..random.within(1..20_000)).map(|_| random.byte()).collect::<Vec<_>>();
        if random.once_in(2) {
            noise[0] = 0x43;
        }
        send_stream(&subject, &[noise], &mut random);
    }
    subject.assert_serves();
}
