//! What nodes and initiators have around them.

use crate::admin::Admin;
use crate::clients::Clients;
use crate::ledger::Ledger;
use crate::run::Run;
use crate::wires::Wires;

/// What initiators have around them: chance and time, the wires to the nodes, the record of what
/// every sector may hold, and the configuration.
pub(crate) struct Scene {
    pub(crate) run: Run,
    pub(crate) wires: Wires,
    pub(crate) ledger: Ledger,
    pub(crate) admin: Admin,
}

/// What a node has around it: a scene with initiators in it.
pub(crate) struct Outside {
    pub(crate) clients: Clients,
    pub(crate) scene: Scene,
}
