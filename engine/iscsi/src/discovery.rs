//! Text in full feature phase (RFC 7143 11.10, 11.11): SendTargets, and the few keys that may
//! still be negotiated.
//!
//! One exchange is open on a connection at a time. A request with a reserved target transfer
//! tag begins a new one, and ends an older one without result (RFC 7143 11.10.4).

use std::fmt;
use std::net::SocketAddr;

use smallvec::SmallVec;
use units::limits::DISCOVERY_TEXT_BYTES_MAX;

use crate::assembly::{Inbound, Outbound, TextTooLong};
use crate::bhs::{InitiatorTaskTag, TargetTransferTag};
use crate::directory::Directory;
use crate::keys::{self, Phase};
use crate::names::canonical_name;
use crate::negotiation::{Answers, Fault, Negotiation, Parameters, Policy, REJECT, SessionKind};
use crate::pdu::{RejectReason, TextRequest};
use crate::text::{Pair, Pairs, TextFault, TextFull, TextWriter};

/// What text is answered with depends on the session that it comes in.
#[derive(Clone, Copy, Debug)]
pub struct TextSession<'a> {
    /// The initiator's name in its canonical form.
    pub initiator_name: &'a str,
    /// Where the initiator is.
    pub peer: SocketAddr,
    /// The address that the initiator connected to.
    pub local: SocketAddr,
    /// The target of a normal session in its canonical form; none for discovery.
    pub target_name: Option<&'a str>,
    /// What holds in the session now.
    pub parameters: Parameters,
}

/// The text exchange that is open on a connection, if any.
#[derive(Debug, Default)]
pub struct TextExchange {
    open: Option<Open>,
    last_tag: u32,
}

/// The answer to a text request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextStep {
    /// The F bit.
    pub is_final: bool,
    /// The C bit.
    pub continues: bool,
    /// Not reserved if the initiator must continue.
    pub target_transfer_tag: TargetTransferTag,
    /// The data segment.
    pub text: Vec<u8>,
    /// At the end of an exchange that changed something: what holds for all PDUs after this
    /// response (RFC 7143 13.12).
    pub parameters: Option<Parameters>,
}

#[derive(Debug)]
struct Open {
    initiator_task_tag: InitiatorTaskTag,
    target_transfer_tag: TargetTransferTag,
    inbound: Inbound,
    outbound: Outbound,
    negotiation: Negotiation,
}

impl TextExchange {
    /// Handles a text request with its whole data segment. After a fault nothing is open any
    /// more.
    pub fn handle_request(
        &mut self,
        request: &TextRequest,
        text: &[u8],
        session: &TextSession<'_>,
        directory: &dyn Directory,
    ) -> Result<TextStep, TextExchangeFault> {
        let mut open = self.take_open(request, session)?;
        open.inbound.add(text)?;
        let part = if request.continues {
            // RFC 7143 6.2: nothing is answered before the text is whole.
            Vec::new()
        } else {
            open.answer(session, directory)?;
            let bytes_max = session.parameters.max_recv_data_segment_length;
            open.outbound.take_part(units::len_usize(bytes_max))
        };
        let continues = !request.continues && !open.outbound.is_empty();
        // RFC 7143 11.11.1: no final response to a request that is not.
        if request.is_final && !continues {
            let parameters = Some(open.negotiation.parameters());
            return Ok(TextStep {
                is_final: true,
                continues: false,
                target_transfer_tag: TargetTransferTag::RESERVED,
                text: part,
                parameters: parameters.filter(|now| *now != session.parameters),
            });
        }
        open.target_transfer_tag = self.new_tag();
        let target_transfer_tag = open.target_transfer_tag;
        self.open = Some(open);
        let (is_final, parameters) = (false, None);
        Ok(TextStep { is_final, continues, target_transfer_tag, text: part, parameters })
    }

    /// The exchange that a request belongs to.
    fn take_open(
        &mut self,
        request: &TextRequest,
        session: &TextSession<'_>,
    ) -> Result<Open, TextExchangeFault> {
        let open = self.open.take();
        let &TextRequest { initiator_task_tag, target_transfer_tag, .. } = request;
        if target_transfer_tag == TargetTransferTag::RESERVED {
            let kind = match session.target_name {
                None => SessionKind::Discovery,
                Some(_) => SessionKind::Normal,
            };
            return Ok(Open {
                initiator_task_tag,
                target_transfer_tag,
                inbound: Inbound::default(),
                outbound: Outbound::default(),
                negotiation: Negotiation::new(Policy::default(), kind, session.parameters),
            });
        }
        open.filter(|open| {
            open.target_transfer_tag == target_transfer_tag
                && open.initiator_task_tag == initiator_task_tag
        })
        .ok_or(TextExchangeFault::TagUnknown { target_transfer_tag })
    }

    fn new_tag(&mut self) -> TargetTransferTag {
        self.last_tag = if self.last_tag >= 0xffff_fffe { 1 } else { self.last_tag + 1 };
        TargetTransferTag(self.last_tag)
    }
}

impl Open {
    /// Makes the answer to a whole text, unless an earlier answer is still being fetched.
    fn answer(
        &mut self,
        session: &TextSession<'_>,
        directory: &dyn Directory,
    ) -> Result<(), TextExchangeFault> {
        if !self.outbound.is_empty() {
            let fetching = self.inbound.is_empty();
            return if fetching { Ok(()) } else { Err(TextExchangeFault::TextBeforeAnswerEnded) };
        }
        let text = self.inbound.take();
        let mut answers = Answers::default();
        let mut targets = TextWriter::new(DISCOVERY_TEXT_BYTES_MAX);
        for pair in Pairs::new(&text) {
            let pair = pair?;
            self.handle_pair(pair, &mut answers)?;
            if pair.key == "SendTargets" {
                match Wanted::read(pair.value, session) {
                    Some(wanted) => send_targets(&wanted, session, directory, &mut targets)?,
                    None => answers.add("SendTargets", REJECT),
                }
            }
        }
        let mut bytes = answers.into_text()?;
        bytes.append(&mut targets.into_bytes());
        self.outbound = Outbound::new(bytes);
        Ok(())
    }

    fn handle_pair(&mut self, pair: Pair<'_>, answers: &mut Answers) -> Result<(), Fault> {
        match keys::find(pair.key).map(|key| key.phase) {
            None | Some(Phase::Any | Phase::FullFeatureOnly | Phase::Naming) => {
                self.negotiation.handle_offer(pair, answers)
            }
            // RFC 7143 13: these belong to the login.
            Some(
                Phase::Identity | Phase::InitializeOnly | Phase::LeadingOnly | Phase::SecurityOnly,
            ) => {
                answers.add(pair.key, REJECT);
                Ok(())
            }
        }
    }
}

/// Which targets a SendTargets asks for (RFC 7143 13.3 and Appendix C).
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// The one of this name, if the session may see it.
    Named(String),
    /// None that a normal session could be told of.
    Nothing,
}

impl Wanted {
    /// What a value means in a session; `None` where it may not be asked there.
    fn read(value: &str, session: &TextSession<'_>) -> Option<Self> {
        match (value, session.target_name) {
            ("All", None) => Some(Self::All),
            // A normal session is told of no target but its own.
            ("All", Some(_)) | ("", None) => None,
            ("", Some(own)) => Some(Self::Named(own.to_owned())),
            (name, None) => canonical_name(name).ok().map(Self::Named),
            (name, Some(own)) => {
                let name = canonical_name(name).ok()?;
                Some(if name == own { Self::Named(name) } else { Self::Nothing })
            }
        }
    }

    fn includes(&self, target: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(name) => name == target,
            Self::Nothing => false,
        }
    }
}

/// Lists targets with all their portals.
fn send_targets(
    wanted: &Wanted,
    session: &TextSession<'_>,
    directory: &dyn Directory,
    text: &mut TextWriter,
) -> Result<(), TextFull> {
    let mut outcome = Ok(());
    let peer = session.peer.ip().to_canonical();
    directory.visit_targets(session.initiator_name, peer, &mut |target, portals| {
        if outcome.is_ok() && wanted.includes(target) {
            outcome = send_target(target, portals, session.local, text);
        }
    });
    outcome
}

fn send_target(
    target: &str,
    portals: &[(SocketAddr, u16)],
    local: SocketAddr,
    text: &mut TextWriter,
) -> Result<(), TextFull> {
    text.push("TargetName", target)?;
    let mut addresses: SmallVec<[(SocketAddr, u16); 8]> = SmallVec::new();
    for &(portal, tag) in portals {
        let Some(address) = reachable(portal, local) else { continue };
        // Two wildcard portals may come out as the same address.
        if !addresses.contains(&(address, tag)) {
            addresses.push((address, tag));
            text.push("TargetAddress", &format!("{address},{tag}"))?;
        }
    }
    Ok(())
}

/// The address by which an initiator reaches a portal: where the portal listens on every
/// address, the one that the initiator is connected to already.
fn reachable(portal: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
    let local_ip = local.ip().to_canonical();
    let ip = if !portal.ip().is_unspecified() {
        portal.ip().to_canonical()
    } else if portal.is_ipv4() && local_ip.is_ipv6() {
        return None;
    } else {
        local_ip
    };
    Some(SocketAddr::new(ip, portal.port()))
}

/// Why a text request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextExchangeFault {
    /// A key was sent that is not allowed, or twice.
    Key(Fault),
    /// The request goes on with an exchange that is not open.
    TagUnknown {
        /// What it names the exchange by.
        target_transfer_tag: TargetTransferTag,
    },
    /// The text cannot be read.
    Text(TextFault),
    /// The initiator sent text before it had fetched the whole answer.
    TextBeforeAnswerEnded,
    /// The answer is longer than it may be.
    TextFull(TextFull),
    /// The text has no end.
    TextTooLong(TextTooLong),
}

impl TextExchangeFault {
    /// The reason that the Reject carries (RFC 7143 11.17.1).
    pub const fn reject_reason(&self) -> RejectReason {
        match self {
            Self::Key(_) | Self::Text(_) | Self::TextBeforeAnswerEnded | Self::TextTooLong(_) => {
                RejectReason::ProtocolError
            }
            Self::TagUnknown { .. } => RejectReason::InvalidPduField,
            Self::TextFull(_) => RejectReason::LongOperationReject,
        }
    }
}

impl fmt::Display for TextExchangeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fault) => fault.fmt(f),
            Self::TagUnknown { target_transfer_tag } => write!(
                f,
                "text request continues exchange {:08x}, which is not open",
                target_transfer_tag.0
            ),
            Self::Text(fault) => fault.fmt(f),
            Self::TextBeforeAnswerEnded => {
                write!(f, "initiator sent text before requesting the rest of the response")
            }
            Self::TextFull(fault) => fault.fmt(f),
            Self::TextTooLong(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for TextExchangeFault {}

impl From<Fault> for TextExchangeFault {
    fn from(fault: Fault) -> Self {
        Self::Key(fault)
    }
}

impl From<TextFault> for TextExchangeFault {
    fn from(fault: TextFault) -> Self {
        Self::Text(fault)
    }
}

impl From<TextFull> for TextExchangeFault {
    fn from(fault: TextFull) -> Self {
        Self::TextFull(fault)
    }
}

impl From<TextTooLong> for TextExchangeFault {
    fn from(fault: TextTooLong) -> Self {
        Self::TextTooLong(fault)
    }
}

#[cfg(test)]
mod tests;
