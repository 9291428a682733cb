//! The seam where the mirror to the peer node will live.
