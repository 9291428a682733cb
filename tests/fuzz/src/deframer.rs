//! A stream is cut into the same PDUs wherever TCP has cut it.

use iscsi::{Bhs, DeframeFault, Deframer, Piece};

/// What the deframer told, with payload runs joined: where it is cut is not its decision.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Header(Bhs, Vec<u8>),
    Payload(Vec<u8>),
    End(bool),
    Fault(DeframeFault),
}

/// The first byte chooses the digests and the limit, the second the cuts; the rest is the stream.
pub(crate) fn splits(data: &[u8]) {
    let Some((&[options, cut], stream)) = data.split_first_chunk() else { return };
    let whole = tell(options, [stream]);
    let step = usize::from(cut % 64) + 1;
    assert_eq!(tell(options, stream.chunks(step)), whole, "in pieces of {step}");
    let (before, after) = stream.split_at(usize::from(cut).min(stream.len()));
    assert_eq!(tell(options, [before, &[], after]), whole, "cut at {}", before.len());
    if stream.len() <= 512 {
        assert_eq!(tell(options, stream.chunks(1)), whole, "byte by byte");
    }
}

fn tell<'a>(options: u8, inputs: impl IntoIterator<Item = &'a [u8]>) -> Vec<Told> {
    let mut deframer = Deframer::new();
    deframer.set_digests(options & 1 != 0, options & 2 != 0);
    if options & 4 != 0 {
        deframer.set_max_data_segment_length(64);
    }
    let mut told = Vec::new();
    for mut input in inputs {
        loop {
            let remaining = input.len();
            match deframer.next(&mut input) {
                Ok(Some(piece)) => take(&deframer, piece, &mut told),
                Ok(None) => break assert!(input.is_empty(), "wants more, but left {remaining}"),
                Err(fault) => {
                    told.push(Told::Fault(fault));
                    return told;
                }
            }
        }
    }
    told
}

fn take(deframer: &Deframer, piece: Piece<'_>, told: &mut Vec<Told>) {
    match piece {
        Piece::Header(bhs) => {
            assert_eq!(deframer.ahs().len(), bhs.total_ahs_length());
            told.push(Told::Header(bhs, deframer.ahs().to_vec()));
        }
        Piece::Payload(run) => {
            assert!(!run.is_empty(), "an empty run of payload");
            if let Some(Told::Payload(bytes)) = told.last_mut() {
                bytes.extend_from_slice(run);
            } else {
                told.push(Told::Payload(run.to_vec()));
            }
        }
        Piece::End { data_digest_ok } => told.push(Told::End(data_digest_ok)),
    }
}
