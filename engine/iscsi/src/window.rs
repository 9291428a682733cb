//! The command window of a session: which CmdSN is next, and how many may follow (RFC 7143
//! 4.2.2.1).
//!
//! A session has one connection, on which commands arrive in the order in which they were
//! sent. So only ExpCmdSN itself is in order, and there is nothing to reorder. Immediate
//! commands carry a CmdSN but take no part in the window; do not show them to it.
//!
//! The window is as deep as configured until data of the session finds no buffer. Then it is
//! narrowed, as a sender of TCP narrows its window where packets are lost: to half of what is in
//! flight, at least one. MaxCmdSN never goes back (RFC 7143 4.2.2.1), so what was granted before
//! stays granted; but the places of commands that end are not granted again until no more are
//! granted than the window has. From then on each command that ends grants one place more, unless
//! data waits for a buffer at that time.
//!
//! A window without a command in flight is never closed: only responses tell the initiator that
//! it has been opened.

use units::{Mutant, Serial32};

/// The commands that a session may have in flight, and the place of the next one.
#[derive(Clone, Debug)]
pub struct CommandWindow {
    exp_cmd_sn: Serial32,
    max_cmd_sn: Serial32,
    depth: u32,
    in_flight: u32,
    /// Places that it has less than its depth.
    narrowed_by: u32,
    /// Data of a command waits for a buffer.
    is_held: bool,
}

/// What is to be done with a command that is not immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmdSnVerdict {
    /// Its CmdSN lies in the window but is not the next one, so that commands before it are
    /// missing. On one connection they never come; the command is ignored like one that lies
    /// outside, and the initiator's own timeouts decide.
    Gap,
    /// It is the next one, and it now takes its place: call [`CommandWindow::retire`] when
    /// its last response is on its way.
    InOrder,
    /// Its CmdSN lies outside of the window: it must be ignored silently (4.2.2.1).
    OutsideWindow,
}

impl CommandWindow {
    /// An open window for `depth` commands, the first of which will have the number `first`.
    ///
    /// # Panics
    /// When the depth is 0 or has no order in serial arithmetic.
    pub const fn new(first: Serial32, depth: u32) -> Self {
        assert!(depth > 0 && depth < 1 << 30, "a window has a depth");
        let max_cmd_sn = first.plus(depth - 1);
        let (in_flight, narrowed_by) = (0, 0);
        Self { exp_cmd_sn: first, max_cmd_sn, depth, in_flight, narrowed_by, is_held: false }
    }

    /// The CmdSN that is expected next.
    pub const fn exp_cmd_sn(&self) -> Serial32 {
        self.exp_cmd_sn
    }

    /// The last CmdSN that is accepted; one before [`CommandWindow::exp_cmd_sn`] where the
    /// window is closed. It never goes back.
    pub const fn max_cmd_sn(&self) -> Serial32 {
        self.max_cmd_sn
    }

    /// How many commands have their place and have not been retired.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many commands it has room for. More may be in flight: those that were granted before it
    /// was narrowed.
    pub const fn size(&self) -> u32 {
        self.depth - self.narrowed_by
    }

    /// Whether no command may follow.
    pub fn is_closed(&self) -> bool {
        self.granted() == self.in_flight
    }

    /// Judges a command that is not immediate, and gives it its place where it is in order.
    #[inline]
    pub fn admit(&mut self, cmd_sn: Serial32) -> CmdSnVerdict {
        if cmd_sn.is_before(self.exp_cmd_sn) || !cmd_sn.is_at_most(self.max_cmd_sn) {
            return CmdSnVerdict::OutsideWindow;
        }
        if cmd_sn != self.exp_cmd_sn {
            return CmdSnVerdict::Gap;
        }
        self.exp_cmd_sn = self.exp_cmd_sn.plus(1);
        self.in_flight += 1;
        self.self_check();
        CmdSnVerdict::InOrder
    }

    /// A command that was in order is answered or gone: its place is free, and the window reaches
    /// one further, unless it has been narrowed.
    ///
    /// # Panics
    /// When no command is in flight: the caller retired one twice.
    #[inline]
    pub fn retire(&mut self) {
        assert!(self.in_flight > 0, "a command is retired once");
        self.in_flight -= 1;
        if self.narrowed_by == 0 {
            self.max_cmd_sn = self.max_cmd_sn.plus(1);
        } else {
            self.retire_in_narrowed();
        }
        self.self_check();
    }

    #[cold]
    fn retire_in_narrowed(&mut self) {
        let granted = self.granted();
        if granted >= self.size() {
            // What was granted before is more than it has room for.
        } else if self.is_held && granted > 0 {
            self.narrowed_by += 1;
        } else {
            self.narrowed_by -= u32::from(!self.is_held && !Mutant::WindowNeverReopens.is_active());
            self.max_cmd_sn = self.max_cmd_sn.plus(self.size() - granted);
        }
    }

    /// Data of a command waits for a buffer: until [`CommandWindow::release`] or
    /// [`CommandWindow::refuse`] nothing more is granted. One shortage narrows the window once:
    /// what was granted before may find no buffer either.
    pub fn hold(&mut self) {
        if Mutant::WindowIgnoresBuffers.is_active() {
            return;
        }
        self.is_held = true;
        if self.granted() <= self.size() {
            self.resize(self.in_flight / 2);
        }
        self.self_check();
    }

    /// The data that waited has its place, or is not wanted any more.
    pub const fn release(&mut self) {
        self.is_held = false;
    }

    /// A command is refused for want of buffers: those that others hold do not come back. They
    /// take no part in what is still possible, so the window keeps a place beside them once the
    /// refused command has been retired.
    pub fn refuse(&mut self) {
        self.is_held = false;
        self.resize(self.in_flight);
        self.self_check();
    }

    fn resize(&mut self, size: u32) {
        self.narrowed_by = self.depth - size.max(1);
    }

    /// Places of commands that are in flight or may come.
    fn granted(&self) -> u32 {
        match self.max_cmd_sn.plus(1).distance_from(self.exp_cmd_sn) {
            Some(free) => self.in_flight + free,
            None => unreachable!("MaxCmdSN is at most one before ExpCmdSN"),
        }
    }

    /// As many places are granted as it has, or as it had before it was narrowed.
    #[inline]
    fn self_check(&self) {
        debug_assert!(
            (self.size()..=self.depth).contains(&self.granted()) && self.size() > 0,
            "the window keeps its size: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: u32 = 0xffff_fff0;

    #[test]
    fn only_the_next_command_is_in_order() {
        let mut window = CommandWindow::new(Serial32(FIRST), 32);
        assert_eq!(window.admit(Serial32(0xffff_ffef)), CmdSnVerdict::OutsideWindow);
        assert_eq!(window.admit(Serial32(0xffff_fff1)), CmdSnVerdict::Gap);
        assert_eq!(window.admit(Serial32(0x0000_000f)), CmdSnVerdict::Gap);
        assert_eq!(window.admit(Serial32(0x0000_0010)), CmdSnVerdict::OutsideWindow);
        assert_eq!(window.admit(Serial32(0xffff_fff0)), CmdSnVerdict::InOrder);
        assert_eq!(window.admit(Serial32(0xffff_fff0)), CmdSnVerdict::OutsideWindow);
        assert_eq!(window.exp_cmd_sn(), Serial32(0xffff_fff1));
        assert_eq!(window.max_cmd_sn(), Serial32(0x0000_000f));
    }

    #[test]
    fn a_full_window_is_closed_until_a_command_is_retired() {
        let mut window = CommandWindow::new(Serial32(0xffff_ffff), 2);
        assert_eq!(window.admit(Serial32(0xffff_ffff)), CmdSnVerdict::InOrder);
        assert_eq!(window.admit(Serial32(0)), CmdSnVerdict::InOrder);
        assert_eq!(window.admit(Serial32(1)), CmdSnVerdict::OutsideWindow);
        assert_eq!((window.exp_cmd_sn(), window.max_cmd_sn()), (Serial32(1), Serial32(0)));
        window.retire();
        assert_eq!(window.max_cmd_sn(), Serial32(1));
        assert_eq!(window.admit(Serial32(1)), CmdSnVerdict::InOrder);
        assert_eq!(window.in_flight(), 2);
    }

    /// MaxCmdSN, counted from the CmdSN of the first command.
    fn max_of(window: &CommandWindow) -> u32 {
        window.max_cmd_sn().distance_from(Serial32(FIRST)).unwrap()
    }

    /// Sends as many commands as there is room for; returns how many came.
    fn fill(window: &mut CommandWindow) -> u32 {
        let before = window.in_flight();
        while window.admit(window.exp_cmd_sn()) == CmdSnVerdict::InOrder {}
        window.in_flight() - before
    }

    fn retire(window: &mut CommandWindow, count: u32) -> Vec<u32> {
        let mut retire_one = |_| {
            window.retire();
            max_of(window)
        };
        (0..count).map(&mut retire_one).collect()
    }

    #[test]
    fn a_shortage_halves_the_window_once_and_max_cmd_sn_stands_still_meanwhile() {
        let mut window = CommandWindow::new(Serial32(FIRST), 16);
        (0..12).for_each(|_| assert_eq!(window.admit(window.exp_cmd_sn()), CmdSnVerdict::InOrder));
        window.hold();
        assert_eq!((max_of(&window), window.size()), (15, 6));
        // Data of another command that was granted before finds no buffer either.
        window.release();
        window.admit(window.exp_cmd_sn());
        window.hold();
        assert_eq!((max_of(&window), window.size()), (15, 6));
        assert_eq!(retire(&mut window, 10), [15; 10]);
        window.release();
        assert_eq!((window.in_flight(), window.size(), fill(&mut window)), (3, 6, 3));
    }

    #[test]
    fn each_command_that_ends_grants_one_place_more_up_to_the_depth() {
        let mut window = CommandWindow::new(Serial32(FIRST), 8);
        fill(&mut window);
        window.hold();
        window.release();
        assert_eq!(retire(&mut window, 4), [7, 7, 7, 7]);
        assert_eq!(retire(&mut window, 4), [9, 11, 13, 15]);
        assert_eq!((window.size(), fill(&mut window)), (8, 8));
        assert_eq!(retire(&mut window, 2), [16, 17]);
    }

    #[test]
    fn a_window_of_which_data_waits_shrinks_to_one_and_is_not_closed_without_a_command() {
        let mut window = CommandWindow::new(Serial32(FIRST), 8);
        fill(&mut window);
        window.hold();
        assert_eq!(retire(&mut window, 7), [7; 7]);
        assert!(window.is_closed());
        assert_eq!(retire(&mut window, 1), [8]);
        assert_eq!((window.size(), fill(&mut window)), (1, 1));
    }

    #[test]
    fn a_refused_command_leaves_a_place_beside_those_that_hang() {
        let mut window = CommandWindow::new(Serial32(FIRST), 8);
        fill(&mut window);
        // Five hang; the others are refused one by one.
        window.hold();
        for _ in 0..3 {
            window.refuse();
            assert_eq!(retire(&mut window, 1), [8]);
        }
        // What is beside them and ends opens the window again.
        assert_eq!((window.in_flight(), fill(&mut window)), (5, 1));
        assert_eq!(retire(&mut window, 1), [10]);
        assert_eq!((window.size(), fill(&mut window)), (7, 2));
    }

    #[test]
    #[should_panic(expected = "retired once")]
    fn retiring_what_is_not_in_flight_is_a_mistake() {
        CommandWindow::new(Serial32(0), 1).retire();
    }

    #[derive(Clone, Debug)]
    enum Event {
        /// A command so far from the next one.
        Command(i64),
        Hold,
        Refuse,
        Release,
        Retire,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Command(0)),
            2 => (-40_i64..40).prop_map(Event::Command),
            2 => prop_oneof![Just(-0x7fff_fff0_i64), Just(0x7fff_fff0)].prop_map(Event::Command),
            6 => Just(Event::Retire),
        ]
    }

    fn event_with_shortages() -> impl Strategy<Value = Event> {
        let shortage = prop_oneof![Just(Event::Hold), Just(Event::Refuse), Just(Event::Release)];
        prop_oneof![8 => event(), 1 => shortage]
    }

    /// The same window over numbers that never wrap: all commands so far, and those retired.
    struct Model {
        next: i64,
        retired: i64,
        size: i64,
    }

    impl Model {
        fn admit(&mut self, number: i64) -> CmdSnVerdict {
            if number < self.next || number >= self.retired + self.size {
                CmdSnVerdict::OutsideWindow
            } else if number > self.next {
                CmdSnVerdict::Gap
            } else {
                self.next += 1;
                CmdSnVerdict::InOrder
            }
        }
    }

    fn wire(number: i64) -> Serial32 {
        Serial32(u32::try_from((number + i64::from(FIRST)) & 0xffff_ffff).unwrap())
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_model_that_never_wraps(
            size in 1_u32..40,
            events in prop::collection::vec(event(), 0..200),
        ) {
            let mut window = CommandWindow::new(Serial32(FIRST), size);
            let mut model = Model { next: 0, retired: 0, size: size.into() };
            for event in events {
                let max_before = window.max_cmd_sn();
                match event {
                    Event::Command(distance) => {
                        let number = model.next + distance;
                        prop_assert_eq!(window.admit(wire(number)), model.admit(number));
                    }
                    Event::Retire if model.retired < model.next => {
                        window.retire();
                        model.retired += 1;
                    }
                    Event::Retire | Event::Hold | Event::Refuse | Event::Release => {}
                }
                prop_assert_eq!(window.exp_cmd_sn(), wire(model.next));
                prop_assert_eq!(window.max_cmd_sn(), wire(model.retired + model.size - 1));
                prop_assert!(max_before.is_at_most(window.max_cmd_sn()));
            }
        }

        #[test]
        fn a_window_that_is_narrowed_never_goes_back_nor_closes_for_good(
            depth in 1_u32..40,
            events in prop::collection::vec(event_with_shortages(), 0..300),
        ) {
            let mut window = CommandWindow::new(Serial32(FIRST), depth);
            for event in events {
                let max_before = window.max_cmd_sn();
                match event {
                    Event::Command(_) => {
                        window.admit(window.exp_cmd_sn());
                    }
                    Event::Retire if window.in_flight() > 0 => window.retire(),
                    Event::Retire => {}
                    Event::Hold => window.hold(),
                    Event::Refuse => window.refuse(),
                    Event::Release => window.release(),
                }
                prop_assert!(max_before.is_at_most(window.max_cmd_sn()));
                prop_assert!(window.in_flight() > 0 || !window.is_closed());
                prop_assert!(window.size() >= 1 && window.size() <= depth);
                prop_assert!(window.in_flight() <= depth);
            }
            // Nothing waits any more: what was granted ends, and then each command widens it.
            window.release();
            while window.in_flight() > 0 {
                window.retire();
            }
            for _ in 0..2 * depth {
                prop_assert_eq!(window.admit(window.exp_cmd_sn()), CmdSnVerdict::InOrder);
                window.retire();
            }
            prop_assert_eq!(fill(&mut window), depth);
        }
    }
}
