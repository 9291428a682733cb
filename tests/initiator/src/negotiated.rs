//! What a login agreed on, as far as it changes how data move.

use crate::pdu::Digests;

/// The operational keys of a session (RFC 7143 section 13); lengths in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Longest data segment that the target takes.
    pub target_segment_max: u32,
    /// Longest data segment that this initiator declared for itself.
    pub initiator_segment_max: u32,
    /// MaxBurstLength.
    pub max_burst: u32,
    /// FirstBurstLength.
    pub first_burst: u32,
    /// InitialR2T: no unsolicited Data-Out.
    pub initial_r2t: bool,
    /// ImmediateData: data may come with the command.
    pub immediate_data: bool,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// Digests from the full feature phase on.
    pub digests: Digests,
}

impl Default for Negotiated {
    /// The defaults of RFC 7143 section 13.
    fn default() -> Self {
        Self {
            target_segment_max: 8192,
            initiator_segment_max: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            initial_r2t: true,
            immediate_data: true,
            max_outstanding_r2t: 1,
            digests: Digests::default(),
        }
    }
}

impl Negotiated {
    /// Takes one key that the initiator declared.
    pub(crate) fn declare(&mut self, key: &str, value: &str) {
        if key == "MaxRecvDataSegmentLength" {
            self.initiator_segment_max = number(value, self.initiator_segment_max);
        }
    }

    /// Takes one key of the target: for negotiated keys the answer is the result, because
    /// the responder applies the rule (RFC 7143 6.2).
    pub(crate) fn take_answer(&mut self, key: &str, value: &str) {
        match key {
            "MaxRecvDataSegmentLength" => {
                self.target_segment_max = number(value, self.target_segment_max);
            }
            "MaxBurstLength" => self.max_burst = number(value, self.max_burst),
            "FirstBurstLength" => self.first_burst = number(value, self.first_burst),
            "InitialR2T" => self.initial_r2t = value == "Yes",
            "ImmediateData" => self.immediate_data = value == "Yes",
            "MaxOutstandingR2T" => {
                self.max_outstanding_r2t = number(value, self.max_outstanding_r2t);
            }
            "HeaderDigest" => self.digests.header = value == "CRC32C",
            "DataDigest" => self.digests.data = value == "CRC32C",
            _ => {}
        }
    }
}

/// A numerical value, decimal or hexadecimal (RFC 7143 6.1); anything else changes nothing.
fn number(value: &str, unchanged: u32) -> u32 {
    let hexadecimal = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let parsed =
        hexadecimal.map_or_else(|| value.parse(), |digits| u32::from_str_radix(digits, 16));
    parsed.unwrap_or(unchanged)
}
