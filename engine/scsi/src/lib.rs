//! SPC and SBC as pure functions: CDB parsing, device server, VPD, mode pages, sense.
