//! What an operator is told: one event for each login, refusal, end of a session and failed
//! operation.

use super::initiator::{Initiator, UNASKED, login_header, read_10, write_10};
use super::world::{TARGET, World, catalog_with};
use crate::{
    CommandFault, Ending, Event, IoFailure, IoResult, Operation, Refusal, SessionChange,
    SessionEvent,
};
use std::time::Duration;
use units::VolumeId;

/// What happened to sessions since this was last asked.
fn changes(world: &mut World) -> Vec<SessionChange> {
    sessions(world).into_iter().map(|event| event.change).collect()
}

fn sessions(world: &mut World) -> Vec<SessionEvent> {
    let events = std::mem::take(&mut world.events).into_iter();
    events
        .filter_map(|event| match event {
            Event::Session(event) => Some(*event),
            Event::IoFailed(_) => None,
        })
        .collect()
}

fn log_in_as(world: &mut World, text: &str) {
    let place = world.accept(0).unwrap();
    world.receive(place, login_header(text.len()), text.as_bytes());
}

#[test]
fn a_login_and_a_logout_are_one_event_each() {
    for reactors in [1, 2] {
        let mut world = World::new(reactors);
        let _other = Initiator::log_in(&mut world, 0, "z", UNASKED);
        sessions(&mut world);
        let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
        let event = SessionEvent {
            change: SessionChange::LoggedIn,
            initiator: Some("iqn.2026-01.example:a".into()),
            target: Some(TARGET.into()),
            peer: "192.0.2.1:40000".parse().unwrap(),
            detail: None,
        };
        assert_eq!(sessions(&mut world), std::slice::from_ref(&event));
        initiator.log_out(&mut world);
        world.lose(initiator.place);
        let change = SessionChange::Ended(Ending::LoggedOut);
        assert_eq!(sessions(&mut world), [SessionEvent { change, ..event }]);
    }
}

#[test]
fn a_session_that_ends_otherwise_is_one_event_with_the_reason() {
    let lost = |ending| vec![SessionChange::Ended(ending)];
    let mut world = World::new(2);
    let initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    changes(&mut world);
    world.lose(initiator.place);
    world.lose(initiator.place);
    assert_eq!(changes(&mut world), lost(Ending::PeerGone));

    let initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    changes(&mut world);
    world.drop_session(initiator.place);
    assert_eq!(changes(&mut world), lost(Ending::Dropped));

    Initiator::log_in(&mut world, 0, "a", UNASKED);
    changes(&mut world);
    Initiator::log_in(&mut world, 0, "a", UNASKED);
    let expected = [SessionChange::Ended(Ending::Reinstated), SessionChange::LoggedIn];
    assert_eq!(changes(&mut world), expected);

    world.pass(Duration::from_secs(40));
    assert_eq!(changes(&mut world), lost(Ending::NoAnswer));

    Initiator::log_in(&mut world, 0, "a", UNASKED);
    changes(&mut world);
    world.shut_down();
    world.pass(Duration::from_secs(4));
    assert_eq!(changes(&mut world), lost(Ending::NotLoggedOut));
}

#[test]
fn a_refused_login_is_one_event_with_the_names_and_the_reason() {
    let mut world = World::new(1);
    log_in_as(
        &mut world,
        "InitiatorName=IQN.2026-01.example:a\0TargetName=iqn.2026-01.example:absent\0\
         SessionType=Normal\0",
    );
    let expected = SessionEvent {
        change: SessionChange::Refused(Refusal::TargetNotFound),
        initiator: Some("iqn.2026-01.example:a".into()),
        target: Some("iqn.2026-01.example:absent".into()),
        peer: "192.0.2.1:40000".parse().unwrap(),
        detail: Some("target not found; compare the name with `perfctl target list`".into()),
    };
    assert_eq!(sessions(&mut world), [expected]);
}

/// A name is shown only where it is one: the log must not carry what a peer likes.
#[test]
fn an_invalid_name_is_not_shown() {
    let mut world = World::new(1);
    log_in_as(&mut world, "InitiatorName=iqn.2026-01.example:a b\0SessionType=Discovery\0");
    let [event] = &sessions(&mut world)[..] else { panic!("one event") };
    assert_eq!(event.change, SessionChange::Refused(Refusal::InvalidRequest));
    assert_eq!(event.initiator, None);
}

#[test]
fn a_login_that_does_not_end_is_one_event() {
    let mut world = World::new(1);
    let refused = |reason| vec![SessionChange::Refused(reason)];
    world.accept(0).unwrap();
    world.pass(Duration::from_secs(16));
    assert_eq!(changes(&mut world), refused(Refusal::TimedOut));

    let place = world.accept(0).unwrap();
    world.receive(place, [0x47; 48], &[]);
    assert_eq!(changes(&mut world), refused(Refusal::InvalidRequest));

    let place = world.accept(0).unwrap();
    let mut header = login_header(0);
    header[1] = 0x04;
    world.receive(place, header, &[]);
    world.lose(place);
    let events = changes(&mut world);
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(matches!(events[0], SessionChange::Refused(_)), "{events:?}");
}

#[test]
fn a_connection_that_says_nothing_and_goes_is_no_event() {
    let mut world = World::new(1);
    let place = world.accept(0).unwrap();
    world.lose(place);
    assert_eq!(sessions(&mut world), []);
}

#[test]
fn a_session_whose_target_is_gone_ends_with_one_event() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    changes(&mut world);
    world.switch_catalog(&catalog_with(2, false));
    initiator.log_out(&mut world);
    assert_eq!(changes(&mut world), [SessionChange::Ended(Ending::LoggedOut)]);
}

#[test]
fn a_failed_operation_is_reported_with_its_blocks() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.events.clear();
    let failure = |operation, lba, blocks, errno| {
        Event::IoFailed(IoFailure { volume: VolumeId(0), operation, lba, blocks, errno })
    };
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(8, 4).with(&[1; 2048]));
    world.end_one(0, 0, Some(IoResult::NoSpace));
    assert_eq!(std::mem::take(&mut world.events), [failure(Operation::Write, 8, 4, 28)]);
    assert_eq!(initiator.answer(&mut world).status(), 0x02);

    // Each burst is an operation of its own.
    initiator.start(&mut world, read_10(16, 1024));
    world.end_one(0, 1, Some(IoResult::Failed(5)));
    assert_eq!(std::mem::take(&mut world.events), [failure(Operation::Read, 528, 512, 5)]);
    world.end_one(0, 0, None);
    assert_eq!(initiator.answer(&mut world).status(), 0x02);
    world.release_backend();
    assert_eq!(world.events, []);
}

/// Commands that failed were counted as the fastest of all.
#[test]
fn the_sample_of_a_failed_command_says_so() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.samples.clear();
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    world.end_one(0, 0, Some(IoResult::Failed(5)));
    world.release_backend();
    initiator.run(&mut world, write_10(0, 1).with(&[1; 512]));
    // Behind the end of the volume: a command that is refused has not become a READ.
    initiator.run(&mut world, read_10(0, 65_535));
    let faults: Vec<_> = world.samples.iter().map(|s| (s.operation, s.fault)).collect();
    let expected = [
        (Operation::Write, Some(CommandFault::MediumError)),
        (Operation::Write, None),
        (Operation::Other, Some(CommandFault::IllegalRequest)),
    ];
    assert_eq!(faults, expected);
}
