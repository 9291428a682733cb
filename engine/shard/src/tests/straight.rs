//! The straight way of READ and WRITE answers as the general one does.

use super::initiator::{Initiator, Order, UNASKED, read_10, reserve, write_10};
use super::world::{READ_ONLY_LUN, Sent, World};
use iscsi::pdu::TaskManagementFunction;

/// The same two initiators on two nodes that differ in the way that commands take.
struct Pair {
    worlds: [World; 2],
    initiators: [Vec<Initiator>; 2],
    random: u64,
}

impl Pair {
    fn new(seed: u64, keys: &str) -> Self {
        let mut worlds = [World::new(1), World::general(1)];
        let initiators = std::array::from_fn(|node| {
            ["a", "b"].map(|name| Initiator::log_in(&mut worlds[node], 0, name, keys)).to_vec()
        });
        Self { worlds, initiators, random: seed }
    }

    /// A number below `limit` (a linear congruential generator).
    fn below(&mut self, limit: u32) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(self.random >> 33).unwrap() % limit
    }

    /// Does the same on both nodes.
    fn both(&mut self, who: usize, mut what: impl FnMut(&mut World, &mut Initiator)) {
        for (world, initiators) in self.worlds.iter_mut().zip(&mut self.initiators) {
            what(world, &mut initiators[who]);
        }
    }

    fn assert_same_answers(&mut self, step: u32) -> usize {
        let mut answers = 0;
        for who in 0..2 {
            let [straight, general] = std::array::from_fn(|node| {
                self.initiators[node][who].answer(&mut self.worlds[node]).sent
            });
            let headers = |sent: &[Sent]| sent.iter().map(|s| s.header).collect::<Vec<_>>();
            assert_eq!(headers(&straight), headers(&general), "step {step}");
            assert!(straight == general, "step {step}: the data differ");
            answers += straight.len();
        }
        answers
    }

    fn order(&mut self) -> Order {
        let lba = u8::try_from(self.below(32)).unwrap();
        let blocks =
            u16::try_from([0, 1, 1, 1, 8, 8, 40, 130, 600][self.below(9) as usize]).unwrap();
        let mut order = if self.below(2) == 0 {
            read_10(lba, blocks)
        } else {
            let order = write_10(lba, blocks);
            let data = vec![lba; order.expected as usize];
            let whole = data.len() <= 65_536 && self.below(4) > 0;
            // What does not come at once is asked for, and never comes.
            if whole { order.with(&data) } else { order }
        };
        match self.below(24) {
            0 => order.expected += 512,
            1 => order.expected = order.expected.saturating_sub(512),
            2 => order.cdb[1] = 0x08,
            3 => order.cdb[1] = 0x20,
            4 => order.cdb[2] = 1,
            5 => order.cdb[9] = 4,
            6 => order = order.at(READ_ONLY_LUN),
            7 => order = order.at(5),
            8 => order = order.at(1),
            9 => order = reserve(),
            10 => order = Order::none(&[0x17, 0, 0, 0, 0, 0]),
            11 => (order.read, order.write) = (order.write, order.read),
            12 => order = super::initiator::compare_and_write(lba).with(&[lba; 1024]),
            _ => {}
        }
        if order.immediate_data.len() > order.expected as usize || !order.write {
            order.immediate_data.clear();
        }
        order
    }
}

impl Pair {
    /// One thing, the same on both nodes.
    fn step(&mut self, who: usize, keys: &str) {
        self.worlds.iter_mut().for_each(|w| w.pass(std::time::Duration::from_micros(3)));
        match self.below(21) {
            0 => self.worlds.iter_mut().for_each(|w| w.backend_is_held = true),
            1 => self.worlds.iter_mut().for_each(World::release_backend),
            2 => self.worlds.iter_mut().for_each(|w| w.wire_is_held = true),
            3 => self.worlds.iter_mut().for_each(World::release_wire),
            4 => {
                let functions = [
                    TaskManagementFunction::AbortTaskSet,
                    TaskManagementFunction::LogicalUnitReset,
                ];
                let function = functions[self.below(2) as usize];
                self.both(who, |world, initiator| {
                    initiator.manage(world, function, None);
                });
            }
            5 => {
                let back = self.below(6);
                self.both(who, |world, initiator| {
                    let tag = initiator.next_tag().saturating_sub(1 + back);
                    initiator.manage(world, TaskManagementFunction::AbortTask, Some(tag));
                });
            }
            6 => {
                let order = self.order();
                self.both(who, |world, initiator| {
                    let (_, header) = initiator.header(&order);
                    let placement = world.receive_header(initiator.place, header);
                    let ok = order.immediate_data.is_empty();
                    world.receive_data(initiator.place, placement, &order.immediate_data, ok);
                });
            }
            7 => self.worlds.iter_mut().for_each(|w| w.take_one_off_wire(0)),
            8 if self.below(3) == 0 => self.end_session(who, keys),
            9 => self.interleave(who),
            _ => {
                let order = self.order();
                self.both(who, |world, initiator| {
                    initiator.start(world, order.clone());
                });
            }
        }
    }

    /// Another session of the same nexus, after a loss, a logout or nothing at all.
    fn end_session(&mut self, who: usize, keys: &str) {
        let end = self.below(3);
        self.both(who, |world, initiator| {
            match end {
                0 => world.lose(initiator.place),
                1 => initiator.log_out(world),
                _ => {}
            }
            world.backend_is_held = false;
            world.release_backend();
            world.wire_is_held = false;
            world.release_wire();
            *initiator = Initiator::log_in(world, 0, ["a", "b"][who], keys);
        });
    }

    /// A header, something of the other initiator, and then the data.
    fn interleave(&mut self, who: usize) {
        let (order, other) = (self.order(), self.order());
        let resets = self.below(2) == 0;
        if order.immediate_data.is_empty() {
            return;
        }
        for (world, initiators) in self.worlds.iter_mut().zip(&mut self.initiators) {
            let (_, header) = initiators[who].header(&order);
            let place = initiators[who].place;
            let placement = world.receive_header(place, header);
            initiators[1 - who].start(world, other.clone());
            if resets {
                let function = TaskManagementFunction::LogicalUnitReset;
                initiators[1 - who].manage(world, function, None);
            }
            world.receive_data(place, placement, &order.immediate_data, true);
        }
    }

    /// Lets everything end, and compares what is left.
    fn end(&mut self) -> usize {
        self.worlds.iter_mut().for_each(World::release_backend);
        self.worlds.iter_mut().for_each(World::release_wire);
        let answers = self.assert_same_answers(u32::MAX);
        let [straight, general] = &self.worlds;
        assert_eq!(straight.samples, general.samples);
        assert!(straight.disks == general.disks, "the volumes differ");
        for (world, initiators) in self.worlds.iter_mut().zip(&self.initiators) {
            for initiator in initiators {
                world.lose(initiator.place);
            }
            world.release_backend();
            world.release_wire();
            world.assert_at_rest();
        }
        answers
    }
}

#[test]
fn both_ways_give_the_same_answers_in_the_same_order() {
    let mut answers = 0;
    let keys = ["", UNASKED, "MaxRecvDataSegmentLength=4096\0InitialR2T=No\0"];
    for (seed, keys) in (0..300).zip(keys.into_iter().cycle()) {
        let mut pair = Pair::new(seed, keys);
        for step in 0..40 {
            let who = pair.below(2) as usize;
            pair.step(who, keys);
            answers += pair.assert_same_answers(step);
        }
        answers += pair.end();
    }
    assert!(answers > 5000, "{answers} answers were compared");
}

#[test]
fn a_straight_read_begins_with_its_header() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    let (_, header) = initiator.header(&read_10(3, 1));
    world.receive_header(initiator.place, header);
    assert_eq!(world.operations(), 1);
    let mut general = World::general(1);
    let mut initiator = Initiator::log_in(&mut general, 0, "a", UNASKED);
    general.backend_is_held = true;
    let (_, header) = initiator.header(&read_10(3, 1));
    general.receive_header(initiator.place, header);
    assert_eq!(general.operations(), 0);
}
