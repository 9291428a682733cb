//! The command window of a session: which CmdSN is next, and how many may follow (RFC 7143
//! 4.2.2.1).
//!
//! A session has one connection, on which commands arrive in the order in which they were
//! sent. So only ExpCmdSN itself is in order, and there is nothing to reorder. Immediate
//! commands carry a CmdSN but take no part in the window; do not show them to it.

use units::Serial32;

/// The commands that a session may have in flight, and the place of the next one.
#[derive(Clone, Debug)]
pub struct CommandWindow {
    exp_cmd_sn: Serial32,
    max_cmd_sn: Serial32,
    size: u32,
    in_flight: u32,
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
    /// An open window of `size` commands, the first of which will have the number `first`.
    ///
    /// # Panics
    /// When the size is 0 or has no order in serial arithmetic.
    pub const fn new(first: Serial32, size: u32) -> Self {
        assert!(size > 0 && size < 1 << 30, "a window has a size");
        Self { exp_cmd_sn: first, max_cmd_sn: first.plus(size - 1), size, in_flight: 0 }
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

    /// A command that was in order is answered or gone: its place is free, and the window
    /// reaches one further.
    ///
    /// # Panics
    /// When no command is in flight: the caller retired one twice.
    #[inline]
    pub fn retire(&mut self) {
        assert!(self.in_flight > 0, "a command is retired once");
        self.in_flight -= 1;
        self.max_cmd_sn = self.max_cmd_sn.plus(1);
        self.self_check();
    }

    /// What is in flight and what may still come fill the window exactly.
    #[inline]
    fn self_check(&self) {
        let free = self.max_cmd_sn.plus(1).distance_from(self.exp_cmd_sn);
        assert_eq!(free, Some(self.size - self.in_flight), "the window keeps its size");
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

    #[test]
    #[should_panic(expected = "retired once")]
    fn retiring_what_is_not_in_flight_is_a_mistake() {
        CommandWindow::new(Serial32(0), 1).retire();
    }

    #[derive(Clone, Debug)]
    enum Event {
        /// A command so far from the next one.
        Command(i64),
        Retire,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Command(0)),
            1 => (-40_i64..40).prop_map(Event::Command),
            1 => prop_oneof![Just(-0x7fff_fff0_i64), Just(0x7fff_fff0)].prop_map(Event::Command),
            3 => Just(Event::Retire),
        ]
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
                    Event::Retire => {}
                }
                prop_assert_eq!(window.exp_cmd_sn(), wire(model.next));
                prop_assert_eq!(window.max_cmd_sn(), wire(model.retired + model.size - 1));
                prop_assert!(max_before.is_at_most(window.max_cmd_sn()));
            }
        }
    }
}
