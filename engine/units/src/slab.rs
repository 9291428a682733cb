//! A table of slots with generations: a key to a removed entry is recognised, never mistaken
//! for the entry that took its slot.

/// Names one entry of a [`Slab`]: a slot and the generation that the slot had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The slot's place in the table.
    pub index: u32,
    /// How many times the slot was given away before.
    pub generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

/// A table with a fixed greatest size. It allocates only while it grows towards it.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    limit: u32,
}

impl<T> Slab<T> {
    /// An empty table for at most `limit` entries.
    pub const fn new(limit: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit }
    }

    /// Inserts an entry; returns it if the table is full.
    pub fn insert(&mut self, entry: T) -> Result<Key, T> {
        if self.is_full() {
            return Err(entry);
        }
        match self.insert_with(|| entry) {
            Some((key, _)) => Ok(key),
            None => unreachable!("it is not full"),
        }
    }

    /// Puts in the entry that `make` returns, built where it stays: cheaper than
    /// [`Self::insert`] for large ones. `None`, and `make` is not called, where the table is full.
    #[inline(always)]
    pub fn insert_with(&mut self, make: impl FnOnce() -> T) -> Option<(Key, &mut T)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.new_slot()?,
        };
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.entry.is_none(), "a free slot has no entry");
        let generation = slot.generation;
        Some((Key { index, generation }, slot.entry.insert(make())))
    }

    #[cold]
    fn new_slot(&mut self) -> Option<u32> {
        let index = u32::try_from(self.slots.len()).ok().filter(|&index| index < self.limit)?;
        self.slots.push(Slot { generation: 0, entry: None });
        // The free list never grows past the slots, so that removing never allocates.
        self.free.reserve(self.slots.len() - self.free.len());
        Some(index)
    }

    /// The entry of a key, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.entry.as_ref() } else { None }
    }

    /// The entry of a key, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.entry.as_mut() } else { None }
    }

    /// Takes an entry out. Its key, and every copy of it, names nothing from then on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(entry)
    }

    /// Drops an entry where it is: cheaper than [`Self::remove`] for large ones.
    pub fn discard(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key.index as usize) else { return };
        if slot.generation == key.generation && slot.entry.is_some() {
            slot.entry = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.index);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no further entry fits.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// All entries with their keys, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0u32..).zip(&self.slots).filter_map(|(index, slot)| {
            slot.entry.as_ref().map(|e| (Key { index, generation: slot.generation }, e))
        })
    }

    /// All entries with their keys, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        (0u32..).zip(&mut self.slots).filter_map(|(index, slot)| {
            let generation = slot.generation;
            slot.entry.as_mut().map(|e| (Key { index, generation }, e))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_to_a_removed_entry_names_nothing() {
        let mut slab = Slab::new(4);
        let old = slab.insert('a').unwrap();
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b').unwrap();
        assert_eq!(old.index, new.index);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
    }

    #[test]
    fn a_full_table_gives_the_entry_back() {
        let mut slab = Slab::new(1);
        slab.insert(1).unwrap();
        assert!(slab.is_full());
        assert_eq!(slab.insert(2), Err(2));
    }
}
