//! `[node]`: each key is checked by its row of the table.

use super::fault::Problem;
use super::faults::Faults;
use super::keys::{NODE_KEYS, NodeConfig};
use super::raw::RawNode;

/// Checks the section.
pub(super) fn check_node(faults: &mut Faults<'_>, raw: &RawNode) -> NodeConfig {
    let mut node = NodeConfig::default();
    for (name, value) in raw.iter() {
        let key = format!("node.{}", name.get_ref());
        let Some(row) = NODE_KEYS.iter().find(|row| row.name == name.get_ref()) else {
            let known = NODE_KEYS.iter().map(|row| row.name).collect();
            faults.add(name.span(), key, Problem::UnknownKey { known });
            continue;
        };
        let directory = faults.directory();
        if let Err(problem) = row.read(value.get_ref(), directory, &mut node) {
            faults.add(value.span(), key, problem);
        }
    }
    node
}
