//! What shards tell each other, and what a connection takes with it to another core.

/// What a shard tells another one. Opaque to the reactor, which only carries it.
#[derive(Debug)]
pub struct Message {}

/// A logged-in connection on its way to another core: all that the other shard needs to go on
/// where this one stopped. The socket and the bytes received already travel beside it.
#[derive(Debug)]
pub struct HandedOver {
    /// Headers carry CRC32C from now on.
    pub header_digest: bool,
    /// Data segments carry CRC32C from now on.
    pub data_digest: bool,
}
