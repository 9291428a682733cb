//! A state that many initiators change: what it certainly is, between the changes.

/// A state of a logical unit, as far as answers so far make it certain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled<T> {
    value: Option<T>,
    /// Counts the changes, so that two equal looks prove that there was none between them.
    epoch: u64,
    changing: u32,
    /// Changes overlap: nobody knows which comes last.
    overlap: bool,
}

impl<T: Copy> Settled<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: Some(value), epoch: 0, changing: 0, overlap: false }
    }

    /// A change has been asked for.
    pub(crate) const fn begin(&mut self) {
        self.overlap |= self.changing > 0;
        self.changing += 1;
        self.value = None;
        self.epoch += 1;
    }

    /// A change has ended, and this is what it led to, if that is known.
    pub(crate) fn end(&mut self, value: Option<T>) {
        self.changing = self.changing.saturating_sub(1);
        self.value = value.filter(|_| self.changing == 0 && !self.overlap);
        self.overlap &= self.changing > 0;
        self.epoch += 1;
    }

    /// Something has changed that nobody asked for.
    pub(crate) const fn unsettle(&mut self) {
        self.value = None;
        self.epoch += 1;
    }

    /// What it certainly is, and the number to compare later.
    pub(crate) fn sure(&self) -> Option<(T, u64)> {
        Some((self.value?, self.epoch))
    }

    /// Whether it is the same as at an earlier look.
    pub(crate) const fn still(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_changes_side_by_side_leave_nothing_certain() {
        let mut state = Settled::new(1);
        let (value, epoch) = state.sure().unwrap();
        assert_eq!(value, 1);
        state.begin();
        state.begin();
        state.end(Some(2));
        assert!(state.sure().is_none());
        state.end(Some(3));
        assert!(state.sure().is_none());
        state.begin();
        state.end(Some(4));
        assert_eq!(state.sure().unwrap().0, 4);
        assert!(!state.still(epoch));
    }
}
