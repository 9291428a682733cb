//! The sessions that the reactors reported.

use crate::config::TargetConfig;
use control_api::{ErrorCode, RpcError, SessionDrop, SessionDropped, SessionInfo, Sessions};
use reactor::{Node, ReactorReport};
use units::{ConnId, ReactorId};

/// All sessions.
pub(super) fn sessions(reports: &[&ReactorReport]) -> Sessions {
    Sessions { sessions: reports.iter().flat_map(|r| sessions_of(r)).map(|(_, s)| s).collect() }
}

/// The sessions that these targets would end: the reactors ask an initiator to log out whose target
/// is gone, or that may no longer log in to it.
pub(super) fn ending(reports: &[&ReactorReport], targets: &[TargetConfig]) -> Vec<SessionInfo> {
    let stays = |session: &SessionInfo| match &session.target {
        // A discovery session has no target to lose.
        None => true,
        Some(name) => targets
            .iter()
            .any(|target| target.name == *name && target.access.admits(&session.initiator)),
    };
    sessions(reports).sessions.into_iter().filter(|session| !stays(session)).collect()
}

/// How many there are.
pub(super) fn count(reports: &[&ReactorReport]) -> u64 {
    reports.iter().map(|report| report.sessions.len() as u64).sum()
}

/// Drops a session.
///
/// # Errors
/// There is none with this name.
pub(super) fn drop_session(
    node: &mut Node,
    params: &SessionDrop,
) -> Result<SessionDropped, RpcError> {
    let reports = node.known_reports();
    let mut sessions = reports.iter().flat_map(|report| sessions_of(report));
    let Some(((reactor, conn), _)) = sessions.find(|(_, s)| s.id == params.id) else {
        let sentence = format!("session {:?} does not exist", params.id);
        return Err(RpcError::new(ErrorCode::NotFound, sentence)
            .on(&*params.id)
            .hint("Run \"perfctl session list\" to see the existing sessions."));
    };
    drop(sessions);
    node.drop_session(reactor, conn);
    Ok(SessionDropped { id: params.id.clone() })
}

/// The sessions of a reactor, with what names them to the node.
fn sessions_of(
    report: &ReactorReport,
) -> impl Iterator<Item = ((ReactorId, ConnId), SessionInfo)> + '_ {
    let reactor = report.reactor;
    report.sessions.iter().map(move |s| {
        let info = SessionInfo {
            // Slot and generation: a later connection in the slot has another name.
            id: format!("{}.{}.{}", reactor.0, s.conn.0.index, s.conn.0.generation),
            initiator: s.initiator.clone(),
            target: s.target.clone(),
            peer: s.peer.to_string(),
            reactor: u16::from(reactor.0),
            commands_in_flight: s.commands,
            command_window: s.window,
        };
        ((reactor, s.conn), info)
    })
}
