//! The tasks of a session by initiator task tag.

use iscsi::InitiatorTaskTag;
use units::{Key, limits};

/// The tasks of a session by initiator task tag. There are at most a window's worth, so two
/// flat lists beat a hash: the tags of a full window fill eight cache lines. Nearly every search is
/// for a new tag that is not there; a filter answers most of those without a look at the lists. A
/// task knows its place in them.
#[derive(Debug)]
pub(crate) struct TaskTags {
    /// [`InitiatorTaskTag::RESERVED`] where a place is free: it names no task.
    tags: Vec<InitiatorTaskTag>,
    keys: Vec<Key>,
    free: Vec<TagPlace>,
    /// How many tags fall into each bucket.
    filter: [u8; BUCKETS],
}

/// Where a session keeps the tag of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TagPlace(u32);

/// Twice the tags of a common queue depth, one cache line.
const BUCKETS: usize = 64;

const _: () = assert!(
    limits::COMMAND_WINDOW_MAX + limits::IMMEDIATE_COMMANDS_MAX + limits::IMMEDIATE_FUNCTIONS_MAX
        <= u8::MAX as u32,
    "all tags of a session may fall into one bucket"
);

impl Default for TaskTags {
    fn default() -> Self {
        let (tags, keys, free) = (Vec::new(), Vec::new(), Vec::new());
        Self { tags, keys, free, filter: [0; BUCKETS] }
    }
}

impl TaskTags {
    /// The task of a tag.
    #[inline]
    pub(crate) fn find(&self, tag: InitiatorTaskTag) -> Option<Key> {
        if self.filter[bucket(tag)] == 0 || tag == InitiatorTaskTag::RESERVED {
            return None;
        }
        self.tags.iter().position(|&t| t == tag).map(|place| self.keys[place])
    }

    /// All tasks.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let used = self.tags.iter().map(|&tag| tag != InitiatorTaskTag::RESERVED);
        self.keys.iter().zip(used).filter(|&(_, used)| used).map(|(&key, _)| key)
    }

    /// Adds a task; its tag must not be there yet.
    #[inline]
    pub(crate) fn insert(&mut self, tag: InitiatorTaskTag, key: Key) -> TagPlace {
        debug_assert!(tag != InitiatorTaskTag::RESERVED, "a reserved tag is rejected before");
        debug_assert!(self.find(tag).is_none(), "a duplicate tag is rejected before");
        let place = match self.free.pop() {
            Some(place) => place,
            None => self.new_place(),
        };
        let TagPlace(at) = place;
        self.tags[at as usize] = tag;
        self.keys[at as usize] = key;
        self.filter[bucket(tag)] += 1;
        place
    }

    #[cold]
    fn new_place(&mut self) -> TagPlace {
        let place = TagPlace(units::len_u32(self.tags.len()));
        self.tags.push(InitiatorTaskTag::RESERVED);
        self.keys.push(Key { index: 0, generation: 0 });
        // The free list never grows past the places, so that removing never allocates.
        self.free.reserve(self.tags.len());
        place
    }

    /// Removes a task, which must be there.
    #[inline]
    pub(crate) fn remove(&mut self, place: TagPlace, tag: InitiatorTaskTag, key: Key) {
        let TagPlace(at) = place;
        let found = std::mem::replace(&mut self.tags[at as usize], InitiatorTaskTag::RESERVED);
        assert!(
            found == tag && self.keys[at as usize] == key,
            "a place has the tag of another task"
        );
        self.free.push(place);
        self.filter[bucket(tag)] -= 1;
    }

    /// Asserts that the lists and the filter agree: for debug builds and tests.
    pub(crate) fn self_check(&self) {
        assert_eq!(self.tags.len(), self.keys.len(), "each tag has a task");
        let filtered: usize = self.filter.iter().map(|&count| usize::from(count)).sum();
        assert_eq!(filtered, self.keys().count(), "the filter counts every tag");
        assert_eq!(self.free.len() + filtered, self.tags.len(), "a place is free or has a tag");
    }

    /// How many tasks there are.
    pub(crate) fn count(&self) -> u32 {
        units::len_u32(self.tags.len() - self.free.len())
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
        let place = tags.insert(InitiatorTaskTag(7), first);
        tags.insert(InitiatorTaskTag(8), second);
        assert_eq!(tags.find(InitiatorTaskTag(7)), Some(first));
        tags.remove(place, InitiatorTaskTag(7), first);
        assert_eq!(tags.find(InitiatorTaskTag(7)), None);
        assert_eq!(tags.find(InitiatorTaskTag(8)), Some(second));
        assert_eq!(tags.keys().collect::<Vec<_>>(), [second]);
        assert_eq!(tags.insert(InitiatorTaskTag(9), first), place);
        assert_eq!(tags.find(InitiatorTaskTag::RESERVED), None);
        tags.self_check();
    }

    #[test]
    #[should_panic(expected = "the tag of another task")]
    fn a_tag_is_never_removed_for_another_task() {
        let mut tags = TaskTags::default();
        let place = tags.insert(InitiatorTaskTag(7), Key { index: 3, generation: 9 });
        tags.remove(place, InitiatorTaskTag(7), Key { index: 3, generation: 8 });
    }
}
