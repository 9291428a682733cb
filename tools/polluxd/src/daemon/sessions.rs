//! Who is logged in, and sending somebody away.

use super::Daemon;
use control_api::{
    ErrorCode, RpcError, SessionDrop, SessionDropped, SessionInfo, SessionList, Sessions,
};
use reactor::ReactorReport;
use units::{ConnId, ReactorId};

impl Daemon {
    pub(super) fn sessions(&self, _: SessionList) -> Sessions {
        let reports = self.node.report();
        Sessions { sessions: reports.iter().flat_map(sessions_of).map(|(_, s)| s).collect() }
    }

    pub(super) fn session_count(&self) -> u64 {
        self.node.report().iter().map(|report| report.sessions.len() as u64).sum()
    }

    pub(super) fn session_drop(&self, params: SessionDrop) -> Result<SessionDropped, RpcError> {
        let reports = self.node.report();
        let mut sessions = reports.iter().flat_map(sessions_of);
        let Some(((reactor, conn), _)) = sessions.find(|(_, s)| s.id == params.id) else {
            let sentence = format!("there is no session {}", params.id);
            return Err(RpcError::new(ErrorCode::NotFound, sentence)
                .on(params.id)
                .hint("perfctl session list shows those that there are."));
        };
        self.node.drop_session(reactor, conn);
        Ok(SessionDropped { id: params.id })
    }
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
