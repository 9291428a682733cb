//! The JSON-RPC types that polluxd and perfctl share.
