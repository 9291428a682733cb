//! What a transfer left over or had too little room for.

use super::PduFault;

/// How the data of a command compares with its Expected Data Transfer Length (RFC 7143 11.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residual {
    /// It was exactly what was expected.
    #[default]
    None,
    /// So many bytes were not transferred, because the expected length was too small.
    Overflow(u32),
    /// So many bytes of the expected length were not transferred.
    Underflow(u32),
}

impl Residual {
    /// From the two flags and the count.
    pub(super) const fn from_wire(o: bool, u: bool, count: u32) -> Result<Self, PduFault> {
        match (o, u) {
            (false, false) => Ok(Self::None),
            (true, false) => Ok(Self::Overflow(count)),
            (false, true) => Ok(Self::Underflow(count)),
            (true, true) => Err(PduFault::ResidualBothWays),
        }
    }

    /// The flag to set, out of the overflow and the underflow flag, and the count.
    pub(super) const fn to_wire(self, overflow: u8, underflow: u8) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Overflow(count) => (overflow, count),
            Self::Underflow(count) => (underflow, count),
        }
    }
}
