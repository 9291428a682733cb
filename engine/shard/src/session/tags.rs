//! The tasks of a session by initiator task tag.

use iscsi::InitiatorTaskTag;
use units::{Key, limits};

/// The tasks of a session by initiator task tag. There are at most a window's worth, so two
/// flat lists beat a hash: the tags of a full window fill eight cache lines. Nearly every search is
/// for a new tag that is not there; a filter answers most of those without a look at the lists.
#[derive(Debug)]
pub(crate) struct TaskTags {
    tags: Vec<InitiatorTaskTag>,
    keys: Vec<Key>,
    /// How many tags fall into each bucket.
    filter: [u8; BUCKETS],
}

/// Twice the tags of a common queue depth, one cache line.
const BUCKETS: usize = 64;

const _: () = assert!(
    limits::COMMAND_WINDOW_MAX + limits::IMMEDIATE_COMMANDS_MAX + limits::IMMEDIATE_FUNCTIONS_MAX
        <= u8::MAX as u32,
    "all tags of a session may fall into one bucket"
);

impl Default for TaskTags {
    fn default() -> Self {
        Self { tags: Vec::new(), keys: Vec::new(), filter: [0; BUCKETS] }
    }
}

impl TaskTags {
    /// The task of a tag.
    #[inline]
    pub(crate) fn find(&self, tag: InitiatorTaskTag) -> Option<Key> {
        if self.filter[bucket(tag)] == 0 {
            return None;
        }
        self.tags.iter().position(|&t| t == tag).map(|place| self.keys[place])
    }

    /// All tasks.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.iter().copied()
    }

    /// Adds a task; its tag must not be there yet.
    #[inline]
    pub(crate) fn insert(&mut self, tag: InitiatorTaskTag, key: Key) {
        debug_assert!(self.find(tag).is_none(), "a duplicate tag is rejected before");
        self.tags.push(tag);
        self.keys.push(key);
        self.filter[bucket(tag)] += 1;
    }

    /// Removes a task, which must be there.
    #[inline]
    pub(crate) fn remove(&mut self, tag: InitiatorTaskTag, key: Key) {
        let Some(place) = self.tags.iter().position(|&t| t == tag) else {
            unreachable!("{tag:?} is removed once, when its task ends")
        };
        assert!(self.keys[place] == key, "a tag names another task");
        self.tags.swap_remove(place);
        self.keys.swap_remove(place);
        self.filter[bucket(tag)] -= 1;
    }

    /// Asserts that the lists and the filter agree: for debug builds and tests.
    pub(crate) fn self_check(&self) {
        assert_eq!(self.tags.len(), self.keys.len(), "each tag has a task");
        let filtered: usize = self.filter.iter().map(|&count| usize::from(count)).sum();
        assert_eq!(filtered, self.tags.len(), "the filter counts every tag");
    }

    /// How many tasks there are.
    pub(crate) fn count(&self) -> u32 {
        match u32::try_from(self.keys.len()) {
            Ok(count) => count,
            Err(_) => unreachable!("a session has at most a window of tasks"),
        }
    }
}

/// The bucket of a tag: its bits mixed, because initiators count, or use slots or addresses.
#[inline]
const fn bucket(tag: InitiatorTaskTag) -> usize {
    (tag.0.wrapping_mul(0x9e37_79b1) >> 26) as usize
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
