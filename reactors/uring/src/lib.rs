//! The only crate with unsafe code: rings, operation table, arena, buffers, sockets, affinity.
