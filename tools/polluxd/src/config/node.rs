//! `[node]`: each key is checked by its row of the table.

use super::check::Checker;
use super::fault::Problem;
use super::keys::{NODE_KEYS, NodeConfig};
use super::raw::RawNode;

impl Checker<'_> {
    pub(super) fn check_node(&mut self, raw: &RawNode) -> NodeConfig {
        let mut node = NodeConfig::default();
        for (name, value) in raw.iter() {
            let key = format!("node.{}", name.get_ref());
            let Some(row) = NODE_KEYS.iter().find(|row| row.name == name.get_ref()) else {
                let known = NODE_KEYS.iter().map(|row| row.name).collect();
                self.fault(name.span(), key, Problem::UnknownKey { known });
                continue;
            };
            let directory = self.directory();
            if let Err(problem) = row.read(value.get_ref(), directory, &mut node) {
                self.fault(value.span(), key, problem);
            }
        }
        node
    }
}
