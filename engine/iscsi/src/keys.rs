//! The text keys of RFC 7143 sections 12 and 13 as one table.

use units::limits::KEY_VALUE_BYTES_MAX;

use crate::negotiation::Parameters;
use crate::text::BINARY_BYTES_MAX;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, in which case counts (6.1).
    pub name: &'static str,
    /// How its outcome is found.
    pub rule: Rule,
    /// When it may be sent.
    pub phase: Phase,
    /// The answer in a discovery session is "Irrelevant" (13, "Irrelevant when").
    pub irrelevant_in_discovery: bool,
}

/// How the outcome of a key is found (RFC 7143 6.2).
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Both must say Yes.
    BooleanAnd {
        /// The outcome without negotiation.
        default: bool,
        /// Where the outcome goes, and where the policy has the target's own value.
        field: fn(&mut Parameters) -> &mut bool,
    },
    /// One must say Yes.
    BooleanOr {
        /// The outcome without negotiation.
        default: bool,
        /// Where the outcome goes, and where the policy has the target's own value.
        field: fn(&mut Parameters) -> &mut bool,
    },
    /// The initiator declares a number about itself.
    DeclaredNumber {
        /// The value without declaration.
        default: u32,
        /// The values that may be declared.
        range: NumberRange,
        /// Where the value goes.
        field: fn(&mut Parameters) -> &mut u32,
    },
    /// The first digest of the initiator's list that the target takes.
    Digest {
        /// Whether CRC32C is the outcome, or may be by the policy. The default is None.
        field: fn(&mut Parameters) -> &mut bool,
    },
    /// The initiator identifies itself; used by login and discovery.
    InitiatorDeclares,
    /// The first value of the initiator's list that is this one, which is also the default.
    OnlyValue(&'static str),
    /// The greater number.
    NumberMaximum {
        /// The outcome without negotiation.
        default: u32,
        /// The values that may be offered.
        range: NumberRange,
        /// Where the outcome goes, and where the policy has the target's own value.
        field: fn(&mut Parameters) -> &mut u32,
    },
    /// The smaller number.
    NumberMinimum {
        /// The outcome without negotiation.
        default: u32,
        /// The values that may be offered.
        range: NumberRange,
        /// Where the outcome goes, and where the policy has the target's own value.
        field: fn(&mut Parameters) -> &mut u32,
    },
    /// Markers, which RFC 7143 took away: always this answer (13.25).
    Obsolete(&'static str),
    /// Part of the security stage; the login reads it.
    Security,
    /// Only a target may declare it.
    TargetDeclares,
}

/// The numbers from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The smallest.
    pub first: u32,
    /// The greatest.
    pub last: u32,
}

impl NumberRange {
    /// Whether the number may be offered.
    pub const fn contains(self, number: u32) -> bool {
        self.first <= number && number <= self.last
    }
}

/// When a key may be sent ("Use" in RFC 7143 section 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// ALL: in the operational stage of a login and in full feature phase.
    Any,
    /// FFPO: in full feature phase only.
    FullFeatureOnly,
    /// Who is who: in every stage of a login, but not later (section 12).
    Identity,
    /// IO: in the operational stage of any login.
    InitializeOnly,
    /// LO: in the operational stage of the leading login.
    LeadingOnly,
    /// ALL, and in the security stage too (section 12).
    Naming,
    /// In the security stage only.
    SecurityOnly,
}

/// The key of a name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The longest value of a key in bytes: 255 unless its definition differs (RFC 7143
/// 6.1). Lists and binary values are longer; the limit of an unknown key is not known.
pub fn value_bytes_max(name: &str) -> usize {
    match find(name).map(|key| key.rule) {
        None
        | Some(Rule::Digest { .. } | Rule::OnlyValue(_) | Rule::Obsolete(_) | Rule::Security) => {
            // As a hex-constant with its prefix.
            2 + 2 * BINARY_BYTES_MAX
        }
        Some(
            Rule::BooleanAnd { .. }
            | Rule::BooleanOr { .. }
            | Rule::DeclaredNumber { .. }
            | Rule::InitiatorDeclares
            | Rule::NumberMaximum { .. }
            | Rule::NumberMinimum { .. }
            | Rule::TargetDeclares,
        ) => KEY_VALUE_BYTES_MAX,
    }
}

use Phase::{Any, FullFeatureOnly, Identity, InitializeOnly, LeadingOnly, Naming, SecurityOnly};
use Rule::{InitiatorDeclares, Obsolete, OnlyValue, Security, TargetDeclares};

/// Every key, in the order of the standard.
#[rustfmt::skip]
pub static KEYS: [Key; 34] = [
    // 12: security.
    key("AuthMethod", Security, SecurityOnly),
    key("CHAP_A", Security, SecurityOnly),
    key("CHAP_I", Security, SecurityOnly),
    key("CHAP_C", Security, SecurityOnly),
    key("CHAP_N", Security, SecurityOnly),
    key("CHAP_R", Security, SecurityOnly),
    // 13: operation.
    key("HeaderDigest", digest(|p| &mut p.header_digest), InitializeOnly),
    key("DataDigest", digest(|p| &mut p.data_digest), InitializeOnly),
    key("MaxConnections", min(1, COUNT, |p| &mut p.max_connections), LeadingOnly).normal(),
    key("SendTargets", InitiatorDeclares, FullFeatureOnly),
    key("TargetName", InitiatorDeclares, Identity),
    key("InitiatorName", InitiatorDeclares, Identity),
    key("TargetAlias", TargetDeclares, Naming),
    key("InitiatorAlias", InitiatorDeclares, Naming),
    key("TargetAddress", TargetDeclares, Naming),
    key("TargetPortalGroupTag", TargetDeclares, Identity),
    key("InitialR2T", or(true, |p| &mut p.initial_r2t), LeadingOnly).normal(),
    key("ImmediateData", and(true, |p| &mut p.immediate_data), LeadingOnly).normal(),
    key("MaxRecvDataSegmentLength", segment(|p| &mut p.max_recv_data_segment_length), Any),
    key("MaxBurstLength", min(262_144, BYTES, |p| &mut p.max_burst_length), LeadingOnly).normal(),
    key("FirstBurstLength", min(65536, BYTES, |p| &mut p.first_burst_length), LeadingOnly).normal(),
    key("DefaultTime2Wait", max(2, SECONDS, |p| &mut p.default_time2wait), LeadingOnly),
    key("DefaultTime2Retain", min(20, SECONDS, |p| &mut p.default_time2retain), LeadingOnly),
    key("MaxOutstandingR2T", min(1, COUNT, |p| &mut p.max_outstanding_r2t), LeadingOnly).normal(),
    key("DataPDUInOrder", or(true, |p| &mut p.data_pdu_in_order), LeadingOnly).normal(),
    key("DataSequenceInOrder", or(true, |p| &mut p.data_sequence_in_order), LeadingOnly).normal(),
    key("ErrorRecoveryLevel", min(0, LEVEL, |p| &mut p.error_recovery_level), LeadingOnly),
    key("SessionType", InitiatorDeclares, Identity),
    key("TaskReporting", OnlyValue("RFC3720"), LeadingOnly).normal(),
    key("iSCSIProtocolLevel", min(1, PROTOCOL, |p| &mut p.protocol_level), LeadingOnly).normal(),
    // 13.25: the answer must not be NotUnderstood. Where there is a choice, No is what an
    // initiator that offers No is sure to take.
    key("IFMarker", Obsolete("No"), LeadingOnly),
    key("OFMarker", Obsolete("No"), LeadingOnly),
    key("IFMarkInt", Obsolete("Reject"), LeadingOnly),
    key("OFMarkInt", Obsolete("Reject"), LeadingOnly),
];

const COUNT: NumberRange = NumberRange { first: 1, last: 65535 };
const BYTES: NumberRange = NumberRange { first: 512, last: 0x00ff_ffff };
const SECONDS: NumberRange = NumberRange { first: 0, last: 3600 };
const LEVEL: NumberRange = NumberRange { first: 0, last: 2 };
const PROTOCOL: NumberRange = NumberRange { first: 0, last: 31 };

const fn key(name: &'static str, rule: Rule, phase: Phase) -> Key {
    Key { name, rule, phase, irrelevant_in_discovery: false }
}

impl Key {
    /// Irrelevant in discovery sessions.
    const fn normal(self) -> Self {
        Self { irrelevant_in_discovery: true, ..self }
    }
}

type BoolField = fn(&mut Parameters) -> &mut bool;
type NumberField = fn(&mut Parameters) -> &mut u32;

const fn and(default: bool, field: BoolField) -> Rule {
    Rule::BooleanAnd { default, field }
}

const fn or(default: bool, field: BoolField) -> Rule {
    Rule::BooleanOr { default, field }
}

const fn digest(field: BoolField) -> Rule {
    Rule::Digest { field }
}

const fn min(default: u32, range: NumberRange, field: NumberField) -> Rule {
    Rule::NumberMinimum { default, range, field }
}

const fn max(default: u32, range: NumberRange, field: NumberField) -> Rule {
    Rule::NumberMaximum { default, range, field }
}

const fn segment(field: NumberField) -> Rule {
    Rule::DeclaredNumber { default: 8192, range: BYTES, field }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_key_is_there_once_and_has_a_valid_name() {
        let names: HashSet<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), KEYS.len());
        assert!(names.iter().all(|name| name.len() <= 63));
        assert!(find("MaxBurstLength").is_some());
        assert!(find("maxburstlength").is_none(), "case counts");
    }

    #[test]
    fn the_keys_that_are_irrelevant_in_discovery_are_those_of_the_standard() {
        let irrelevant: Vec<&str> =
            KEYS.iter().filter(|key| key.irrelevant_in_discovery).map(|key| key.name).collect();
        let expected = [
            "MaxConnections",
            "InitialR2T",
            "ImmediateData",
            "MaxBurstLength",
            "FirstBurstLength",
            "MaxOutstandingR2T",
            "DataPDUInOrder",
            "DataSequenceInOrder",
            "TaskReporting",
            "iSCSIProtocolLevel",
        ];
        assert_eq!(irrelevant, expected);
    }
}
