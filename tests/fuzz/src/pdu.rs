//! PDU headers and their additional segments.

use std::fmt::Debug;

use iscsi::ahs::{Ahs, AhsSegments};
use iscsi::pdu::PduFault;
use iscsi::{BHS_BYTES, Bhs, Opcode};

/// A byte that no emitted header may leave behind where a field is forgotten.
const POISON: u8 = 0xa5;
/// The six bits of the first byte that hold the opcode (RFC 7143 11.2.1.2).
const OPCODE: u8 = 0x3f;

/// What a CDB of 260 bytes (SPC-4 4.2.4) has beyond the first 16.
const EXTENDED_CDB_BYTES_MAX: usize = 244;

/// Parses a header of this opcode; what was parsed comes back when it is emitted and parsed.
pub(crate) fn check<T: Debug + PartialEq>(
    data: &[u8],
    opcode: Opcode,
    parse: fn(&Bhs) -> Result<T, PduFault>,
    emit: fn(&T, &mut [u8; BHS_BYTES]),
) {
    let Some(header) = data.first_chunk::<BHS_BYTES>() else {
        assert_eq!(Bhs::from_prefix(data), None);
        return;
    };
    // As it is: most inputs are another PDU, which must be refused and nothing more.
    let _ = parse(&Bhs::new(*header));
    let mut header = *header;
    header[0] = header[0] & !OPCODE | opcode.code();
    let Ok(value) = parse(&Bhs::new(header)) else { return };
    let mut emitted = [POISON; BHS_BYTES];
    emit(&value, &mut emitted);
    assert_eq!(parse(&Bhs::new(emitted)).as_ref(), Ok(&value));
}

/// Cuts AHS bytes into segments; segments that can be written come back.
pub(crate) fn ahs(data: &[u8]) {
    for segment in AhsSegments::new(data) {
        let Ok(segment) = segment else { continue };
        // An initiator may send what a correct sender cannot mean: unknown types, long CDBs.
        match segment {
            Ahs::Unknown { .. } => continue,
            Ahs::ExtendedCdb(rest) if rest.len() > EXTENDED_CDB_BYTES_MAX => continue,
            Ahs::ExtendedCdb(_) | Ahs::BidirectionalReadLength(_) => {}
        }
        let mut bytes = Vec::new();
        segment.emit(&mut bytes);
        let again: Vec<_> = AhsSegments::new(&bytes).collect();
        assert_eq!(again, [Ok(segment)]);
    }
}
