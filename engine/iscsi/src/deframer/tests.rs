//! Literal streams first, then any stream cut at any place.

use proptest::prelude::*;

use super::*;

/// A header with an opcode, an AHS length in words and a data segment length.
fn header(opcode: u8, ahs_words: u8, length: u32) -> [u8; 48] {
    let mut bhs = [0; 48];
    bhs[0] = opcode;
    bhs[4] = ahs_words;
    bhs[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
    bhs
}

#[test]
fn a_pdu_without_data_is_a_header_and_an_end() {
    let stream = header(0x40, 0, 0);
    let mut input = &stream[..];
    let mut deframer = Deframer::new();
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::Header(Bhs::new(stream)))));
    assert_eq!(deframer.payload_remaining(), 0);
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: true })));
    assert_eq!(deframer.next(&mut input), Ok(None));
}

#[test]
fn payload_is_lent_from_the_input_without_its_padding() {
    let mut stream = header(0x43, 0, 5).to_vec();
    stream.extend_from_slice(b"key=v\0\0\0");
    let mut input = &stream[..];
    let mut deframer = Deframer::new();
    deframer.next(&mut input).unwrap();
    assert_eq!(deframer.payload_remaining(), 5);
    let Ok(Some(Piece::Payload(run))) = deframer.next(&mut input) else { panic!("no payload") };
    assert_eq!(run, b"key=v");
    assert!(std::ptr::eq(run.as_ptr(), stream[48..].as_ptr()));
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: true })));
    assert!(input.is_empty());
}

#[test]
fn ahs_is_kept_until_the_next_header() {
    let mut stream = header(0x01, 2, 0).to_vec();
    stream.extend_from_slice(&[0, 5, 2, 0, 0, 0, 2, 0]);
    stream.extend_from_slice(&header(0x40, 0, 0));
    let mut input = &stream[..];
    let mut deframer = Deframer::new();
    deframer.next(&mut input).unwrap();
    assert_eq!(deframer.ahs(), [0, 5, 2, 0, 0, 0, 2, 0]);
    deframer.next(&mut input).unwrap();
    deframer.next(&mut input).unwrap();
    assert_eq!(deframer.ahs(), [0; 0]);
}

#[test]
fn a_data_segment_past_the_limit_is_refused_at_its_header() {
    let stream = header(0x43, 0, 8193);
    let mut input = &stream[..];
    let mut deframer = Deframer::new();
    let fault = DeframeFault::DataSegmentTooLong { bhs: Bhs::new(stream), limit: 8192 };
    assert_eq!(deframer.next(&mut input), Err(fault));
    assert_eq!(deframer.next(&mut input), Err(fault));

    let mut deframer = Deframer::new();
    deframer.set_max_data_segment_length(8193);
    let mut input = &stream[..];
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::Header(Bhs::new(stream)))));
}

/// The SCSI Read(10) of RFC 7143 A.4 with the header digest that is printed there.
const READ_WITH_DIGEST: [u8; 52] = {
    let mut pdu = [0; 52];
    pdu[0] = 0x01;
    pdu[1] = 0xc0;
    pdu[16] = 0x14;
    pdu[22] = 0x04;
    pdu[27] = 0x14;
    pdu[31] = 0x18;
    pdu[32] = 0x28;
    pdu[40] = 0x02;
    pdu[48] = 0x56;
    pdu[49] = 0x3a;
    pdu[50] = 0x96;
    pdu[51] = 0xd9;
    pdu
};

#[test]
fn the_header_digest_is_verified_before_the_header_is_told() {
    let mut deframer = Deframer::new();
    deframer.set_digests(true, true);
    let mut input = &READ_WITH_DIGEST[..50];
    assert_eq!(deframer.next(&mut input), Ok(None));
    input = &READ_WITH_DIGEST[50..];
    assert!(matches!(deframer.next(&mut input), Ok(Some(Piece::Header(_)))));
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: true })));
}

#[test]
fn every_flipped_bit_of_a_header_fails_its_digest() {
    for bit in 0..52 * 8 {
        let mut stream = READ_WITH_DIGEST;
        stream[bit / 8] ^= 1 << (bit % 8);
        // A longer AHS makes the digest lie elsewhere: give it bytes to be wrong about.
        let mut long = stream.to_vec();
        long.extend_from_slice(&[0; 1024]);
        let mut deframer = Deframer::new();
        deframer.set_digests(true, false);
        let found = deframer.next(&mut &long[..]);
        assert!(matches!(found, Err(DeframeFault::HeaderDigest { .. })), "bit {bit}: {found:?}");
    }
}

/// 32 zeros with the digest of RFC 7143 A.4, cut so that 30 of them are data, 2 padding.
fn zeros_with_digest(digest: [u8; 4]) -> Vec<u8> {
    let mut stream = header(0x05, 0, 30).to_vec();
    stream.extend_from_slice(&[0; 32]);
    stream.extend_from_slice(&digest);
    stream
}

#[test]
fn a_data_digest_covers_the_padding() {
    for (digest, ok) in [([0xaa, 0x36, 0x91, 0x8a], true), ([0xaa, 0x36, 0x91, 0x8b], false)] {
        let stream = zeros_with_digest(digest);
        let mut input = &stream[..];
        let mut deframer = Deframer::new();
        deframer.set_digests(false, true);
        deframer.next(&mut input).unwrap();
        deframer.next(&mut input).unwrap();
        assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: ok })));
    }
}

#[test]
fn payload_that_was_received_elsewhere_counts_for_the_digest() {
    let stream = zeros_with_digest([0xaa, 0x36, 0x91, 0x8a]);
    let mut deframer = Deframer::new();
    deframer.set_digests(false, true);
    let mut input = &stream[..58];
    deframer.next(&mut input).unwrap();
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::Payload(&[0; 10]))));
    assert_eq!(deframer.payload_remaining(), 20);
    deframer.payload_received(&stream[58..78]);
    assert_eq!(deframer.payload_remaining(), 0);
    assert_eq!(deframer.next(&mut input), Ok(None));
    input = &stream[78..];
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: true })));
}

#[test]
#[should_panic(expected = "past the end of its PDU")]
fn more_payload_than_the_pdu_has_is_a_mistake_of_the_caller() {
    let mut deframer = Deframer::new();
    deframer.next(&mut &header(0x05, 0, 4)[..]).unwrap();
    deframer.payload_received(&[0; 5]);
}

#[test]
fn digests_begin_with_the_pdu_after_they_are_switched_on() {
    let mut stream = header(0x43, 0, 4).to_vec();
    stream.extend_from_slice(b"k=v\0");
    stream.extend_from_slice(&READ_WITH_DIGEST);
    let mut input = &stream[..];
    let mut deframer = Deframer::new();
    deframer.next(&mut input).unwrap();
    deframer.set_digests(true, true);
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::Payload(b"k=v\0"))));
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: true })));
    assert!(matches!(deframer.next(&mut input), Ok(Some(Piece::Header(_)))));
    assert_eq!(deframer.next(&mut input), Ok(Some(Piece::End { data_digest_ok: true })));
}

/// One PDU of a made-up stream.
#[derive(Clone, Debug)]
struct Sent {
    opcode: u8,
    ahs: Vec<u8>,
    data: Vec<u8>,
    /// A byte of pad or digest is damaged.
    damaged: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let bytes = |range| prop::collection::vec(any::<u8>(), range);
    (any::<u8>(), bytes(0..4), bytes(0..70), any::<bool>()).prop_map(
        |(opcode, words, data, damaged)| Sent {
            opcode,
            ahs: words.iter().flat_map(|w| [*w; 4]).collect(),
            data,
            damaged,
        },
    )
}

impl Sent {
    fn head(&self) -> [u8; 48] {
        let words = u8::try_from(self.ahs.len() / 4).unwrap();
        header(self.opcode, words, u32::try_from(self.data.len()).unwrap())
    }

    fn lay(&self, digests: (bool, bool), out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head());
        out.extend_from_slice(&self.ahs);
        if digests.0 {
            out.extend_from_slice(&header_digest(&self.head(), &self.ahs));
        }
        out.extend_from_slice(&self.data);
        out.extend(std::iter::repeat_n(0, (4 - self.data.len() % 4) % 4));
        if digests.1 && !self.data.is_empty() {
            let mut digest = DataDigest::new();
            digest.update(&self.data);
            digest.pad();
            let mut wire = digest.wire();
            wire[0] ^= u8::from(self.damaged);
            out.extend_from_slice(&wire);
        }
    }
}

/// What a stream means, whatever the runs of payload are.
#[derive(Debug, PartialEq)]
struct Received {
    head: [u8; 48],
    ahs: Vec<u8>,
    data: Vec<u8>,
    data_digest_ok: bool,
}

/// Feeds the stream in pieces that end at `cuts`; `direct` payload takes the other way in.
fn receive(deframer: &mut Deframer, stream: &[u8], cuts: &[usize], direct: bool) -> Vec<Received> {
    let mut received: Vec<Received> = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        let mut input = &stream[start..cut];
        start = cut;
        loop {
            if direct && deframer.payload_remaining() > 0 {
                let take = input.len().min(deframer.payload_remaining() as usize);
                deframer.payload_received(&input[..take]);
                received.last_mut().unwrap().data.extend_from_slice(&input[..take]);
                input = &input[take..];
            }
            match deframer.next(&mut input).unwrap() {
                Some(Piece::Header(bhs)) => received.push(Received {
                    head: *bhs.raw(),
                    ahs: deframer.ahs().to_vec(),
                    data: Vec::new(),
                    data_digest_ok: false,
                }),
                Some(Piece::Payload(run)) => {
                    assert!(!run.is_empty());
                    received.last_mut().unwrap().data.extend_from_slice(run);
                }
                Some(Piece::End { data_digest_ok }) => {
                    received.last_mut().unwrap().data_digest_ok = data_digest_ok;
                }
                None => break,
            }
        }
        assert!(input.is_empty(), "None says that all of the input was taken");
    }
    received
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_gives_the_same_pieces(
        pdus in prop::collection::vec(sent(), 1..6),
        digests in any::<(bool, bool)>(),
        direct in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut stream = Vec::new();
        pdus.iter().for_each(|pdu| pdu.lay(digests, &mut stream));
        let expected: Vec<Received> = pdus
            .iter()
            .map(|pdu| Received {
                head: pdu.head(),
                ahs: pdu.ahs.clone(),
                data: pdu.data.clone(),
                data_digest_ok: !(pdu.damaged && digests.1 && !pdu.data.is_empty()),
            })
            .collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        let every_byte: Vec<usize> = (0..stream.len()).collect();
        for cuts in [&cuts, &every_byte] {
            let mut deframer = Deframer::new();
            deframer.set_digests(digests.0, digests.1);
            prop_assert_eq!(&receive(&mut deframer, &stream, cuts, direct), &expected);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(stream in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut deframer = Deframer::new();
        deframer.set_max_data_segment_length(100);
        let mut input = &stream[..];
        while let Ok(Some(_)) = deframer.next(&mut input) {}
    }
}
