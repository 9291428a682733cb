//! The door by itself: facts, and a comparison with an oracle that keeps plain lists.

use super::*;
use crate::tests::parts::{Queues, key};
use proptest::prelude::*;
use units::{BufId, BufSlice, ReactorId};
use volume::SpaceChange;

const BLOCK: u32 = 512;
const VOLUME: VolumeId = VolumeId(3);
/// The core of the door.
const OWN: u8 = 0;
/// Another core, whose tasks have the same keys.
const OTHER: u8 = 1;

const fn op(task: u32, part: u8) -> OpId {
    OpId { task: key(task), part }
}

const fn ticket(reactor: u8, task: u32) -> Ticket {
    Ticket { reactor: ReactorId(reactor), task: key(task) }
}

/// So many blocks from block `first`.
fn blocks(first: u32, count: u32) -> ByteRange {
    ByteRange { offset: u64::from(first * BLOCK), len: u64::from(count * BLOCK) }
}

fn read(first: u32, count: u32) -> BlockRequest {
    let into = BufSlice { buf: BufId(0), offset: 0, len: count * BLOCK };
    BlockRequest::Read { offset: u64::from(first * BLOCK), into, only_to_send: true }
}

fn write(first: u32, count: u32) -> BlockRequest {
    let from = BufSlice { buf: BufId(0), offset: 0, len: count * BLOCK };
    BlockRequest::Write { offset: u64::from(first * BLOCK), from, durable: false, last_use: true }
}

fn zero(first: u32, count: u32) -> BlockRequest {
    BlockRequest::Space { change: SpaceChange::Zero, range: blocks(first, count) }
}

/// What the door tells others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// A task may try again.
    Free(u32),
    /// A job is done.
    Done(u64),
}

/// A door with the queues that it pushes to.
struct Rig {
    medium: Medium,
    queues: Queues,
    /// Requests that have started, with their slots.
    started: Vec<(OpId, Slot)>,
}

impl Rig {
    fn new() -> Self {
        let queues = Queues::new(OWN, 2);
        Self { medium: Medium::new(VOLUME), queues, started: Vec::new() }
    }

    /// Submits a request; returns whether it started, which is when the reactor got it.
    fn submit(&mut self, op: OpId, request: BlockRequest) -> bool {
        let submitted = self.medium.submit(op, request, &mut self.queues.turn());
        let action = self.queues.actions.pop();
        assert!(self.queues.actions.is_empty(), "a request reaches the reactor once");
        match (submitted, action) {
            (Submitted::Started(slot), Some(Action::Io { op: to, volume, request: what })) => {
                assert_eq!((to, volume, what), (op, VOLUME, request));
                self.started.push((op, slot));
            }
            (Submitted::Waits, None) => {}
            (submitted, action) => panic!("{submitted:?} with {action:?}"),
        }
        self.medium.self_check(ReactorId(OWN));
        submitted != Submitted::Waits
    }

    fn complete(&mut self, op: OpId) -> Vec<Told> {
        let place = self.started.iter().position(|&(started, _)| started == op).unwrap();
        let (_, slot) = self.started.remove(place);
        self.medium.handle_io(op, slot, &mut self.queues.turn());
        self.told()
    }

    fn hold(&mut self, range: ByteRange, holder: Ticket, number: u64) -> Vec<Told> {
        self.medium.hold(range, holder, number, &mut self.queues.turn());
        self.told()
    }

    fn release(&mut self, holder: Ticket) -> Vec<Told> {
        self.medium.release(holder, &mut self.queues.turn());
        self.told()
    }

    /// What the door has told since the last time.
    fn told(&mut self) -> Vec<Told> {
        self.medium.self_check(ReactorId(OWN));
        assert!(self.queues.actions.is_empty(), "only a request leads to an action");
        let told = |wake| {
            if let Wake::RangeFree(task) = wake {
                return Told::Free(task.index);
            }
            let Wake::JobDone { volume: VOLUME, number } = wake else {
                panic!("{wake:?} is not for the door to send")
            };
            Told::Done(number)
        };
        self.queues.wakes().into_iter().map(told).collect()
    }
}

#[test]
fn requests_start_at_once_where_nothing_is_held() {
    let mut rig = Rig::new();
    assert!(rig.submit(op(1, 0), write(0, 8)));
    assert!(rig.submit(op(2, 0), write(0, 8)), "the door does not order writes");
    assert!(rig.submit(op(2, 1), read(4, 8)));
    assert!(rig.submit(op(3, 0), BlockRequest::Flush));
    assert_eq!(rig.complete(op(2, 0)), []);
}

#[test]
fn a_held_range_stops_whatever_touches_its_blocks() {
    let mut rig = Rig::new();
    assert_eq!(rig.hold(blocks(8, 8), ticket(OTHER, 1), 1), [Told::Done(1)]);
    assert!(!rig.submit(op(2, 0), read(15, 1)));
    assert!(!rig.submit(op(3, 0), write(7, 2)));
    assert!(!rig.submit(op(4, 0), zero(0, 64)));
    assert!(rig.submit(op(5, 0), write(0, 8)), "it ends where the range begins");
    assert!(rig.submit(op(6, 0), read(16, 1)), "it begins where the range ends");
}

#[test]
fn flushes_and_map_queries_wait_for_no_range() {
    let mut rig = Rig::new();
    rig.hold(blocks(0, 64), ticket(OTHER, 1), 1);
    assert!(rig.submit(op(2, 0), BlockRequest::Flush));
    assert!(rig.submit(op(3, 0), BlockRequest::MapQuery(blocks(0, 64))));
}

#[test]
fn the_holder_works_in_its_own_range_and_nobody_else_of_the_same_name() {
    let mut rig = Rig::new();
    rig.hold(blocks(0, 8), ticket(OWN, 1), 1);
    rig.hold(blocks(8, 8), ticket(OTHER, 1), 2);
    assert!(rig.submit(op(1, 0), write(0, 8)));
    assert!(!rig.submit(op(1, 1), write(8, 8)), "the task of that key on the other core holds it");
}

#[test]
fn tasks_that_wait_are_woken_once_and_in_the_order_in_which_they_came() {
    let mut rig = Rig::new();
    rig.hold(blocks(0, 8), ticket(OTHER, 1), 1);
    for (task, part) in [(5, 0), (4, 0), (5, 1), (6, 0)] {
        assert!(!rig.submit(op(task, part), write(0, 1)));
    }
    rig.medium.forget(key(4));
    assert_eq!(rig.release(ticket(OTHER, 1)), [Told::Free(5), Told::Free(6)]);
    assert_eq!(rig.release(ticket(OTHER, 1)), [], "each is woken once");
}

#[test]
fn a_task_that_waits_again_joins_the_queue_behind_the_others() {
    let mut rig = Rig::new();
    rig.hold(blocks(0, 8), ticket(OTHER, 1), 1);
    rig.hold(blocks(8, 8), ticket(OTHER, 2), 2);
    assert!(!rig.submit(op(3, 0), write(0, 16)));
    assert!(!rig.submit(op(4, 0), write(8, 8)));
    assert_eq!(rig.release(ticket(OTHER, 1)), [Told::Free(3), Told::Free(4)]);
    assert!(!rig.submit(op(4, 0), write(8, 8)));
    assert!(!rig.submit(op(3, 0), write(0, 16)), "the second range is still held");
    assert_eq!(rig.release(ticket(OTHER, 2)), [Told::Free(4), Told::Free(3)]);
}

#[test]
fn a_hold_is_done_when_the_changes_before_it_have_completed() {
    let mut rig = Rig::new();
    assert!(rig.submit(op(1, 0), write(0, 4)));
    assert!(rig.submit(op(1, 1), zero(4, 4)));
    assert!(rig.submit(op(2, 0), read(0, 8)));
    assert!(rig.submit(op(3, 0), write(8, 8)));
    assert_eq!(rig.hold(blocks(0, 8), ticket(OWN, 9), 5), []);
    assert_eq!(rig.complete(op(3, 0)), [], "it lay beside the range");
    assert_eq!(rig.complete(op(1, 1)), []);
    assert_eq!(rig.complete(op(1, 0)), [Told::Done(5)], "reads are not waited for");
    assert!(rig.submit(op(9, 0), write(0, 8)));
    assert_eq!(rig.complete(op(9, 0)), [], "a hold is done once");
}

#[test]
#[should_panic(expected = "no request is in flight")]
fn a_completion_without_a_request_is_a_mistake() {
    let mut rig = Rig::new();
    rig.medium.handle_io(op(1, 0), Slot::NONE, &mut rig.queues.turn());
}

#[test]
#[should_panic(expected = "completed twice")]
fn a_change_that_completes_twice_is_a_mistake() {
    let mut rig = Rig::new();
    rig.submit(op(1, 0), write(0, 1));
    rig.submit(op(2, 0), write(8, 1));
    let (_, slot) = rig.started[0];
    rig.complete(op(1, 0));
    rig.medium.handle_io(op(1, 0), slot, &mut rig.queues.turn());
}

/// What may happen at a door.
#[derive(Clone, Copy, Debug)]
enum Event {
    Submit {
        task: u32,
        part: u8,
        what: What,
        first: u32,
        count: u32,
    },
    /// The request of this place among those in flight completes.
    Complete(usize),
    Hold {
        reactor: u8,
        task: u32,
        first: u32,
        count: u32,
    },
    Release {
        reactor: u8,
        task: u32,
    },
    Forget {
        task: u32,
    },
}

#[derive(Clone, Copy, Debug)]
enum What {
    Flush,
    MapQuery,
    Read,
    Unmap,
    Write,
}

fn request(what: What, first: u32, count: u32) -> BlockRequest {
    match what {
        What::Flush => BlockRequest::Flush,
        What::MapQuery => BlockRequest::MapQuery(blocks(first, count)),
        What::Read => read(first, count),
        What::Unmap => {
            BlockRequest::Space { change: SpaceChange::Unmap, range: blocks(first, count) }
        }
        What::Write => write(first, count),
    }
}

fn event() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        1 => Just(What::Flush),
        1 => Just(What::MapQuery),
        3 => Just(What::Read),
        1 => Just(What::Unmap),
        5 => Just(What::Write),
    ];
    let (task, part, reactor) = (0_u32..6, 0_u8..3, OWN..=OTHER);
    let (first, count) = (0_u32..16, 1_u32..6);
    let submit = (task.clone(), part, what, first.clone(), count.clone()).prop_map(
        |(task, part, what, first, count)| Event::Submit { task, part, what, first, count },
    );
    let hold = (reactor.clone(), task.clone(), first, count)
        .prop_map(|(reactor, task, first, count)| Event::Hold { reactor, task, first, count });
    let release =
        (reactor, task.clone()).prop_map(|(reactor, task)| Event::Release { reactor, task });
    prop_oneof![
        6 => submit,
        5 => (0_usize..8).prop_map(Event::Complete),
        2 => hold,
        2 => release,
        1 => task.prop_map(|task| Event::Forget { task }),
    ]
}

/// The same door as plain lists, written down from what its users may rely on.
#[derive(Default)]
struct Oracle {
    in_flight: Vec<(OpId, BlockRequest)>,
    held: Vec<(ByteRange, Ticket)>,
    /// Each job that is not done, its holder, and the changes that it still waits for.
    undone: Vec<(u64, Ticket, Vec<OpId>)>,
    waiters: Vec<u32>,
    jobs: u64,
}

impl Oracle {
    /// Whether the request starts.
    fn submit(&mut self, op: OpId, request: BlockRequest) -> bool {
        let touches = match request {
            BlockRequest::Flush | BlockRequest::MapQuery(_) => None,
            BlockRequest::Read { .. } | BlockRequest::Space { .. } | BlockRequest::Write { .. } => {
                request.range()
            }
        };
        let own = Ticket { reactor: ReactorId(OWN), task: op.task };
        let is_held = touches
            .is_some_and(|range| self.held.iter().any(|&(h, by)| by != own && h.overlaps(range)));
        if !is_held {
            self.in_flight.push((op, request));
        } else if !self.waiters.contains(&op.task.index) {
            self.waiters.push(op.task.index);
        }
        !is_held
    }

    fn complete(&mut self, op: OpId) -> Vec<Told> {
        self.in_flight.retain(|&(other, _)| other != op);
        self.undone.iter_mut().for_each(|(_, _, changes)| changes.retain(|&other| other != op));
        self.done()
    }

    fn hold(&mut self, range: ByteRange, holder: Ticket) -> Vec<Told> {
        self.jobs += 1;
        let overlaps = |&(_, request): &(OpId, BlockRequest)| {
            request.modifies() && request.range().is_some_and(|r| r.overlaps(range))
        };
        let changes = self.in_flight.iter().copied().filter(overlaps).map(|(op, _)| op).collect();
        self.held.push((range, holder));
        self.undone.push((self.jobs, holder, changes));
        self.done()
    }

    fn done(&mut self) -> Vec<Told> {
        let (done, undone) =
            std::mem::take(&mut self.undone).into_iter().partition(|(_, _, c)| c.is_empty());
        self.undone = undone;
        let done: Vec<(u64, Ticket, Vec<OpId>)> = done;
        done.into_iter().map(|(number, _, _)| Told::Done(number)).collect()
    }

    fn release(&mut self, holder: Ticket) -> Vec<Told> {
        self.held.retain(|&(_, by)| by != holder);
        std::mem::take(&mut self.waiters).into_iter().map(Told::Free).collect()
    }

    /// Whether the home of the unit and the task of a hold let it happen: ranges that are held at
    /// a time do not overlap, and a task that asks for one has nothing under way.
    fn may_hold(&self, range: ByteRange, holder: Ticket) -> bool {
        let is_busy = holder.reactor == ReactorId(OWN)
            && self.in_flight.iter().any(|(op, _)| op.task == holder.task);
        !is_busy && !self.held.iter().any(|&(h, by)| by == holder || h.overlaps(range))
    }

    /// Whether a task waits for its own hold to be done: it does nothing else meanwhile.
    fn asks(&self, holder: Ticket) -> bool {
        self.undone.iter().any(|&(_, by, _)| by == holder)
    }
}

/// Lets one event happen to both, and compares what comes of it.
fn step(rig: &mut Rig, oracle: &mut Oracle, event: Event) {
    match event {
        Event::Submit { task, part, what, first, count } => {
            let is_under_way = oracle.in_flight.iter().any(|&(other, _)| other == op(task, part));
            if is_under_way || oracle.asks(ticket(OWN, task)) {
                return;
            }
            let request = request(what, first, count);
            let started = rig.submit(op(task, part), request);
            assert_eq!(started, oracle.submit(op(task, part), request), "{request:?}");
            assert_eq!(rig.told(), [], "a request wakes nobody");
        }
        Event::Complete(place) => {
            if let Some(&(op, _)) = oracle.in_flight.get(place) {
                assert_eq!(rig.complete(op), oracle.complete(op));
            }
        }
        Event::Hold { reactor, task, first, count } => {
            let (range, holder) = (blocks(first, count), ticket(reactor, task));
            if oracle.may_hold(range, holder) {
                let told = oracle.hold(range, holder);
                assert_eq!(rig.hold(range, holder, oracle.jobs), told);
            }
        }
        Event::Release { reactor, task } => {
            let holder = ticket(reactor, task);
            if !oracle.asks(holder) {
                assert_eq!(rig.release(holder), oracle.release(holder));
            }
        }
        Event::Forget { task } => {
            rig.medium.forget(key(task));
            oracle.waiters.retain(|&waiting| waiting != task);
            assert_eq!(rig.told(), []);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_door_agrees_with_plain_lists(events in prop::collection::vec(event(), 0..200)) {
        let (mut rig, mut oracle) = (Rig::new(), Oracle::default());
        for event in events {
            step(&mut rig, &mut oracle, event);
        }
        // Whatever is left ends, and no task waits forever.
        for (op, _) in oracle.in_flight.clone() {
            assert_eq!(rig.complete(op), oracle.complete(op));
        }
        assert_eq!(oracle.undone.len(), 0);
        for (_, holder) in oracle.held.clone() {
            assert_eq!(rig.release(holder), oracle.release(holder));
        }
        assert_eq!(rig.started.len(), 0);
        assert_eq!(rig.medium.in_flight, 0);
        assert!(rig.medium.held.is_empty() && rig.medium.waiters.is_empty());
    }
}
