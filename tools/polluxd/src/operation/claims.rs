//! What an operation is about, which decides the operations that it must wait for.

use std::collections::BTreeSet;

/// A part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    /// A target, by its name in lower case.
    Target(String),
    /// A volume, by its name.
    Volume(String),
}

/// The parts of the configuration that an operation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claims {
    /// All of it.
    Everything,
    /// It changes nothing.
    Nothing,
    /// These.
    Objects(BTreeSet<Object>),
}

impl Claims {
    /// Claims on these objects.
    pub(crate) fn on(objects: impl IntoIterator<Item = Object>) -> Self {
        Self::Objects(objects.into_iter().collect())
    }

    /// Whether one of two operations must wait for the other: both are about the same object, so
    /// that their order can be seen.
    pub(crate) fn conflict(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => false,
            (Self::Everything, _) | (_, Self::Everything) => true,
            (Self::Objects(one), Self::Objects(two)) => !one.is_disjoint(two),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operations_on_the_same_object_wait_for_each_other() {
        let volume = |name: &str| Object::Volume(name.into());
        let target = |name: &str| Object::Target(name.into());
        let create = Claims::on([volume("a")]);
        let map = Claims::on([target("t"), volume("a")]);
        assert!(create.conflict(&map));
        assert!(map.conflict(&Claims::on([target("t")])));
        assert!(!create.conflict(&Claims::on([volume("b")])));
        assert!(!create.conflict(&Claims::on([target("a")])));
        assert!(create.conflict(&Claims::Everything));
        assert!(Claims::Everything.conflict(&Claims::Everything));
        assert!(!Claims::Nothing.conflict(&Claims::Everything));
    }
}
