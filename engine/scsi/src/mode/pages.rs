//! The mode pages and their layouts.

use crate::mode::ModeParameters;

/// The mode pages of a logical unit, none of which has subpages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// Caching (SBC-3).
    Caching,
    /// Control (SPC-4).
    Control,
    /// Informational Exceptions Control (SPC-4).
    InformationalExceptions,
    /// Read-Write Error Recovery (SBC-3).
    ReadWriteErrorRecovery,
}

impl Page {
    /// All pages, ascending by code.
    pub(super) const ALL: [Self; 4] =
        [Self::ReadWriteErrorRecovery, Self::Caching, Self::Control, Self::InformationalExceptions];

    /// The page of a code.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.code() == code)
    }

    /// PAGE CODE.
    fn code(self) -> u8 {
        match self {
            Self::ReadWriteErrorRecovery => 0x01,
            Self::Caching => 0x08,
            Self::Control => 0x0a,
            Self::InformationalExceptions => 0x1c,
        }
    }

    /// The whole page, its two bytes of header included, with these parameters. PS is zero.
    pub(super) fn bytes(self, parameters: &ModeParameters) -> Vec<u8> {
        let mut bytes = self.mask(parameters);
        match self {
            Self::ReadWriteErrorRecovery | Self::Caching => {}
            Self::Control => {
                // TST 001b: a task set for each nexus. GLTSD: no log parameters are saved.
                bytes[2] |= 0x22;
                bytes[3] |= 0x10; // QUEUE ALGORITHM MODIFIER 1: unrestricted reordering
                bytes[8..10].copy_from_slice(&[0xff, 0xff]); // BUSY TIMEOUT PERIOD: unlimited
            }
            Self::InformationalExceptions => bytes[2] |= 0x08, // DEXCPT: there are none
        }
        bytes
    }

    /// The page with nothing set but these parameters: with the changeable ones it is the
    /// answer to PC 01b.
    pub(super) fn mask(self, parameters: &ModeParameters) -> Vec<u8> {
        let mut bytes = match self {
            Self::Caching => vec![0; 20],
            Self::Control | Self::InformationalExceptions | Self::ReadWriteErrorRecovery => {
                vec![0; 12]
            }
        };
        bytes[0] = self.code();
        bytes[1] = if self == Self::Caching { 0x12 } else { 0x0a }; // PAGE LENGTH
        match self {
            Self::Caching => bytes[2] = bit(parameters.write_cache, WCE),
            Self::Control => {
                bytes[2] = bit(parameters.descriptor_sense, D_SENSE);
                bytes[4] = bit(parameters.software_write_protect, SWP);
            }
            Self::InformationalExceptions | Self::ReadWriteErrorRecovery => {}
        }
        bytes
    }

    /// Takes the parameters of this page from its bytes, which are as long as the page.
    pub(super) fn apply(self, bytes: &[u8], parameters: &mut ModeParameters) {
        let is_set = |at: usize, bit: u8| bytes.get(at).is_some_and(|byte| byte & bit != 0);
        match self {
            Self::Caching => parameters.write_cache = is_set(2, WCE),
            Self::Control => {
                parameters.descriptor_sense = is_set(2, D_SENSE);
                parameters.software_write_protect = is_set(4, SWP);
            }
            Self::InformationalExceptions | Self::ReadWriteErrorRecovery => {}
        }
    }
}

fn bit(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Byte 2 of the Caching page.
const WCE: u8 = 0x04;
/// Byte 2 of the Control page.
const D_SENSE: u8 = 0x04;
/// Byte 4 of the Control page.
const SWP: u8 = 0x08;
