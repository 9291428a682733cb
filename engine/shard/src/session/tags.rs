//! The tasks of a session by initiator task tag.

use iscsi::InitiatorTaskTag;
use units::Key;

/// The tasks of a session by initiator task tag. There are at most a window's worth, so two
/// flat lists beat a hash: the tags of a full window fill eight cache lines.
#[derive(Debug, Default)]
pub(crate) struct TaskTags {
    tags: Vec<InitiatorTaskTag>,
    keys: Vec<Key>,
}

impl TaskTags {
    /// The task of a tag.
    #[inline]
    pub(crate) fn find(&self, tag: InitiatorTaskTag) -> Option<Key> {
        self.tags.iter().position(|&t| t == tag).map(|place| self.keys[place])
    }

    /// Adds a task; its tag must not be there yet.
    pub(crate) fn insert(&mut self, tag: InitiatorTaskTag, key: Key) {
        debug_assert!(self.find(tag).is_none(), "a duplicate tag is rejected before");
        self.tags.push(tag);
        self.keys.push(key);
    }

    /// Removes a task, which must be there.
    #[inline]
    pub(crate) fn remove(&mut self, tag: InitiatorTaskTag, key: Key) {
        let Some(place) = self.tags.iter().position(|&t| t == tag) else {
            unreachable!("{tag:?} is removed once, when its task ends")
        };
        assert_eq!(self.keys[place], key, "{tag:?} names another task");
        self.tags.swap_remove(place);
        self.keys.swap_remove(place);
    }

    /// How many tasks there are.
    pub(crate) fn count(&self) -> u32 {
        match u32::try_from(self.keys.len()) {
            Ok(count) => count,
            Err(_) => unreachable!("a session has at most a window of tasks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_finds_its_task_until_it_is_removed() {
        let mut tags = TaskTags::default();
        let (first, second) = (Key { index: 3, generation: 9 }, Key { index: 4, generation: 0 });
        tags.insert(InitiatorTaskTag(7), first);
        tags.insert(InitiatorTaskTag(8), second);
        assert_eq!(tags.find(InitiatorTaskTag(7)), Some(first));
        tags.remove(InitiatorTaskTag(7), first);
        assert_eq!(tags.find(InitiatorTaskTag(7)), None);
        assert_eq!(tags.find(InitiatorTaskTag(8)), Some(second));
    }

    #[test]
    #[should_panic(expected = "names another task")]
    fn a_tag_is_never_removed_for_another_task() {
        let mut tags = TaskTags::default();
        tags.insert(InitiatorTaskTag(7), Key { index: 3, generation: 9 });
        tags.remove(InitiatorTaskTag(7), Key { index: 3, generation: 8 });
    }
}
