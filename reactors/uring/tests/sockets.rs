//! Sockets through the driver, against ordinary sockets on the other side.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{connect, driver, inline, one, options, pair, slice, wait_for};
use units::BufId;
use uring::socket::{Tuning, tune};
use uring::{Completion, Driver, DriverOptions, Errno, MemoryStore, Refusal, Wait};

/// The bytes of the one receive that completes next.
fn received(driver: &mut Driver) -> Vec<u8> {
    let completion = one(driver);
    let Completion::Received { result: Ok(len), data: Some(data), .. } = completion else {
        panic!("{completion:?}")
    };
    let bytes = driver.received(&data).to_vec();
    assert_eq!(len as usize, bytes.len());
    driver.recycle(data);
    bytes
}

#[test]
fn bytes_are_received_and_sent_back() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    for round in 0..20_u8 {
        let message = vec![round; 100 + usize::from(round)];
        driver.recv(socket, 7).unwrap();
        peer.write_all(&message).unwrap();
        let bytes = received(&mut driver);
        assert_eq!(bytes, message);
        let gather = inline(&mut driver, &bytes);
        driver.send(socket, 8, gather).unwrap();
        let Completion::Sent { token: 8, result: Ok(sent), gather } = one(&mut driver) else {
            panic!()
        };
        assert_eq!(sent as usize, message.len());
        driver.recycle_gather(gather);
        let mut echo = vec![0; message.len()];
        peer.read_exact(&mut echo).unwrap();
        assert_eq!(echo, message);
    }
}

#[test]
fn dropped_bytes_are_counted_and_what_follows_is_received() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    peer.write_all(b"0123456789after").unwrap();
    let mut left = 10;
    while left > 0 {
        driver.recv_dropped(socket, 7, left).unwrap();
        assert_eq!(driver.recv(socket, 8), Err(Refusal::Busy));
        let Completion::Received { token: 7, result: Ok(dropped @ 1..), data: None, .. } =
            one(&mut driver)
        else {
            panic!()
        };
        left -= dropped;
    }
    driver.recv(socket, 9).unwrap();
    assert_eq!(received(&mut driver), b"after");
}

#[test]
fn a_gather_leaves_in_the_order_it_was_pushed() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    assert!(driver.pool_mut().fill(slice(0, 0, 5), b"first"));
    assert!(driver.pool_mut().fill(slice(1, 0, 6), b"second"));
    let mut gather = driver.gather();
    assert!(gather.push_inline(b"<"));
    assert!(gather.push_inline(b"a:"));
    assert!(gather.push_framed(&mut driver.pool_mut(), b"head ", slice(0, 0, 5)));
    assert!(gather.push_inline(b"|"));
    assert!(gather.push_buffer(slice(1, 0, 6)));
    assert!(gather.push_inline(b">"));
    assert_eq!(gather.len_bytes(), 3 + 10 + 1 + 6 + 1);
    driver.send(socket, 1, gather).unwrap();
    assert!(driver.pool_mut().bytes_mut(slice(0, 0, 1)).is_none());
    assert!(driver.pool().bytes(slice(0, 0, 1)).is_some());
    let Completion::Sent { result: Ok(21), gather, .. } = one(&mut driver) else { panic!() };
    assert_eq!(gather.pieces().collect::<Vec<_>>(), [slice(0, 0, 5), slice(1, 0, 6)]);
    assert!(driver.pool_mut().bytes_mut(slice(0, 0, 1)).is_some());
    let mut got = [0; 21];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"<a:head first|second>");
}

#[test]
fn connections_are_accepted_until_the_listener_is_closed() {
    let mut driver = driver();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = driver.add_listener(listener.into()).unwrap();
    driver.accept(listener, 3).unwrap();
    for _ in 0..3 {
        let mut peer = TcpStream::connect(address).unwrap();
        let Completion::Accepted { token: 3, socket } = one(&mut driver) else { panic!() };
        let socket = driver.add_socket(socket).unwrap();
        driver.recv(socket, 4).unwrap();
        peer.write_all(b"hello").unwrap();
        assert_eq!(received(&mut driver), b"hello");
    }
    driver.close(listener);
    let ends = wait_for(&mut driver, 2);
    assert!(matches!(
        ends[..],
        [
            Completion::AcceptFailed { token: 3, errno: Errno::CANCELED },
            Completion::Closed { socket }
        ] if socket == listener
    ));
}

#[test]
fn a_partial_send_goes_on_where_it_stopped() {
    let mut driver = Driver::new(&DriverOptions { partial_sends: true, ..options() }).unwrap().0;
    let (ours, peer) = pair();
    let tuning = Tuning { send_buffer_bytes: Some(4096), ..Tuning::default() };
    tune(&ours, &tuning).unwrap();
    let socket = driver.add_socket(ours).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut peer = peer;
        peer.read_to_end(&mut all).unwrap();
        all
    });
    let mut expected = b"head".to_vec();
    let mut gather = driver.gather();
    assert!(gather.push_inline(b"head"));
    for buf in 16..20 {
        let whole = slice(buf, 0, 262_144);
        let tag = u8::try_from(buf).unwrap();
        driver.pool_mut().bytes_mut(whole).unwrap().fill(tag);
        assert!(gather.push_framed(&mut driver.pool_mut(), &[tag; 48], whole));
        expected.extend(std::iter::repeat_n(tag, 48 + 262_144));
    }
    let mut sends = 0;
    while !gather.is_empty() {
        driver.send(socket, 1, gather).unwrap();
        let Completion::Sent { result: Ok(sent), gather: back, .. } = one(&mut driver) else {
            panic!()
        };
        gather = back;
        gather.advance(sent);
        sends += 1;
    }
    assert!(sends > 1, "a send buffer of 4 KiB cannot take 1 MiB at once");
    assert_eq!(gather.pieces().count(), 4);
    driver.close(socket);
    assert!(matches!(one(&mut driver), Completion::Closed { .. }));
    assert_eq!(reader.join().unwrap(), expected);
}

#[test]
fn a_send_is_whole_unless_partial_sends_are_asked_for() {
    let mut driver = driver();
    let (ours, mut peer) = pair();
    let tuning = Tuning { send_buffer_bytes: Some(4096), ..Tuning::default() };
    tune(&ours, &tuning).unwrap();
    let socket = driver.add_socket(ours).unwrap();
    let mut gather = driver.gather();
    assert!(gather.push_buffer(slice(16, 0, 262_144)));
    assert!(gather.push_buffer(slice(17, 0, 262_144)));
    driver.send(socket, 1, gather).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = vec![1; 524_288];
        peer.read_exact(&mut all).unwrap();
        all
    });
    let Completion::Sent { result: Ok(524_288), .. } = one(&mut driver) else { panic!() };
    assert!(reader.join().unwrap().iter().all(|&b| b == 0));
}

#[test]
fn the_end_of_the_stream_is_a_receive_of_nothing() {
    let mut driver = driver();
    let (socket, peer) = connect(&mut driver);
    driver.recv(socket, 1).unwrap();
    drop(peer);
    let end = one(&mut driver);
    assert!(matches!(end, Completion::Received { token: 1, result: Ok(0), data: None, .. }));
    assert_eq!(driver.parts().0.free(), 8);
}

#[test]
fn a_send_to_a_peer_that_is_gone_gives_the_gather_back_with_an_error() {
    let mut driver = driver();
    let (socket, peer) = connect(&mut driver);
    peer.shutdown(std::net::Shutdown::Both).unwrap();
    drop(peer);
    let mut failed = false;
    for _ in 0..50 {
        let mut gather = driver.gather();
        assert!(gather.push_buffer(slice(0, 0, 4096)));
        driver.send(socket, 1, gather).unwrap();
        let Completion::Sent { result, gather, .. } = one(&mut driver) else { panic!() };
        assert_eq!(gather.pieces().count(), 1);
        driver.recycle_gather(gather);
        if let Err(errno) = result {
            assert!(errno == Errno(libc::EPIPE) || errno == Errno(libc::ECONNRESET), "{errno}");
            failed = true;
            break;
        }
    }
    assert!(failed);
    assert!(!driver.pool().is_in_kernel(BufId(0)));
}

#[test]
fn without_a_free_buffer_a_receive_says_so_and_works_again_after_one_is_back() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    let mut held = Vec::new();
    for _ in 0..8 {
        driver.recv(socket, 1).unwrap();
        peer.write_all(b"x").unwrap();
        let Completion::Received { data: Some(data), .. } = one(&mut driver) else { panic!() };
        held.push(data);
    }
    assert_eq!(driver.parts().0.free(), 0);
    driver.recv(socket, 2).unwrap();
    peer.write_all(b"late").unwrap();
    let starved = one(&mut driver);
    assert!(matches!(
        starved,
        Completion::Received { token: 2, result: Err(Errno::NO_BUFFERS), data: None, .. }
    ));
    driver.recycle(held.pop().unwrap());
    driver.recv(socket, 3).unwrap();
    assert_eq!(received(&mut driver), b"late");
}

#[test]
fn a_large_payload_is_received_to_its_place() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    let place = slice(16, 512, 200_000);
    driver.recv_into(socket, 5, place).unwrap();
    assert!(driver.pool().bytes(place).is_none());
    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sent = payload.clone();
    let writer = std::thread::spawn(move || {
        for piece in sent.chunks(7000) {
            peer.write_all(piece).unwrap();
        }
        peer
    });
    let Completion::ReceivedInto { token: 5, result: Ok(200_000), slice, .. } = one(&mut driver)
    else {
        panic!()
    };
    assert_eq!(slice, place);
    assert_eq!(driver.pool().bytes(place).unwrap(), payload);
    writer.join().unwrap();
}

#[test]
fn a_multishot_receive_goes_on_until_the_stream_ends() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    driver.recv_multishot(socket, 9).unwrap();
    for round in 0..20_u8 {
        peer.write_all(&[round; 10]).unwrap();
        assert_eq!(received(&mut driver), [round; 10]);
        assert!(driver.is_receiving(socket));
    }
    drop(peer);
    assert!(matches!(one(&mut driver), Completion::Received { token: 9, result: Ok(0), .. }));
    assert!(!driver.is_receiving(socket));
}

#[test]
fn closing_gives_back_what_is_in_flight_and_then_ends_the_socket() {
    let mut driver = driver();
    let (socket, peer) = connect(&mut driver);
    driver.recv_into(socket, 1, slice(0, 0, 4096)).unwrap();
    // The peer reads nothing, so the send stays in flight.
    let mut gather = driver.gather();
    for _ in 0..12 {
        assert!(gather.push_buffer(slice(16, 0, 262_144)));
    }
    driver.send(socket, 2, gather).unwrap();
    driver.submit(Wait::No).unwrap();
    driver.close(socket);
    driver.close(socket);
    assert_eq!(driver.recv(socket, 3), Err(Refusal::Closed));
    let mut ends = wait_for(&mut driver, 3);
    assert!(matches!(ends.pop(), Some(Completion::Closed { socket: s }) if s == socket));
    for end in ends {
        let token = match end {
            Completion::ReceivedInto { token, result: Err(Errno::CANCELED), .. } => token,
            Completion::Sent { token, gather, .. } => {
                assert_eq!(gather.pieces().count(), 12);
                token
            }
            other @ (Completion::AcceptFailed { .. }
            | Completion::Accepted { .. }
            | Completion::Allocated { .. }
            | Completion::Closed { .. }
            | Completion::Read { .. }
            | Completion::Received { .. }
            | Completion::ReceivedInto { .. }
            | Completion::Synced { .. }
            | Completion::Woken
            | Completion::Written { .. }) => panic!("{other:?}"),
        };
        assert!(token == 1 || token == 2);
    }
    assert!(!driver.pool().is_in_kernel(BufId(0)));
    assert!(!driver.pool().is_in_kernel(BufId(16)));
    assert_eq!(driver.socket_count(), 0);
    drop(peer);
}

#[test]
fn a_name_of_a_closed_socket_does_not_name_the_next_one() {
    let mut driver = driver();
    let (old, _old_peer) = connect(&mut driver);
    driver.recv(old, 1).unwrap();
    driver.submit(Wait::No).unwrap();
    driver.close(old);
    let ends = wait_for(&mut driver, 2);
    assert!(matches!(
        ends[0],
        Completion::Received { token: 1, result: Err(Errno::CANCELED), data: None, .. }
    ));
    let (new, mut new_peer) = connect(&mut driver);
    assert_ne!(old, new);
    assert_eq!(driver.recv(old, 2), Err(Refusal::Closed));
    assert_eq!(driver.release(old).unwrap_err(), Refusal::Closed);
    driver.close(old);
    driver.shutdown(old);
    driver.recv(new, 3).unwrap();
    new_peer.write_all(b"for the new one").unwrap();
    assert_eq!(received(&mut driver), b"for the new one");
}

#[test]
fn a_socket_closed_before_its_receive_was_submitted_ends_too() {
    let mut driver = driver();
    let (socket, _peer) = connect(&mut driver);
    driver.recv(socket, 1).unwrap();
    driver.close(socket);
    let ends = wait_for(&mut driver, 2);
    assert!(matches!(ends[0], Completion::Received { token: 1, result: Err(_), .. }));
    assert!(matches!(ends[1], Completion::Closed { .. }));
}

#[test]
fn a_socket_is_handed_over_once_nothing_is_in_flight() {
    let mut one_driver = driver();
    let mut other_driver = driver();
    let (socket, mut peer) = connect(&mut one_driver);
    one_driver.recv(socket, 1).unwrap();
    one_driver.submit(Wait::No).unwrap();
    assert_eq!(one_driver.release(socket).unwrap_err(), Refusal::Busy);
    one_driver.cancel_recv(socket);
    let cancelled = one(&mut one_driver);
    assert!(matches!(cancelled, Completion::Received { result: Err(Errno::CANCELED), .. }));
    let fd = one_driver.release(socket).unwrap();
    assert_eq!(one_driver.socket_count(), 0);
    let socket = other_driver.add_socket(fd).unwrap();
    other_driver.recv(socket, 2).unwrap();
    peer.write_all(b"over here").unwrap();
    assert_eq!(received(&mut other_driver), b"over here");
}

#[test]
fn shutting_a_socket_down_ends_its_receive() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    driver.recv(socket, 1).unwrap();
    driver.submit(Wait::No).unwrap();
    driver.shutdown(socket);
    assert!(matches!(one(&mut driver), Completion::Received { token: 1, result: Ok(0), .. }));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn one_operation_of_a_kind_is_in_flight_at_a_time() {
    let mut driver = driver();
    let (socket, _peer) = connect(&mut driver);
    driver.recv(socket, 1).unwrap();
    assert_eq!(driver.recv(socket, 2), Err(Refusal::Busy));
    assert_eq!(driver.recv_into(socket, 2, slice(0, 0, 1)), Err(Refusal::Busy));
    assert!(!driver.pool().is_in_kernel(BufId(0)));
    let gather = inline(&mut driver, b"a");
    driver.send(socket, 1, gather).unwrap();
    let gather = inline(&mut driver, b"b");
    let refused = driver.send(socket, 2, gather).unwrap_err();
    assert_eq!(refused.reason, Refusal::Busy);
    assert_eq!(refused.given.len_bytes(), 1);
}

#[test]
fn a_full_operation_table_refuses_and_gives_back() {
    let mut driver = Driver::new(&DriverOptions { operations: 2, ..options() }).unwrap().0;
    let (socket, mut peer) = connect(&mut driver);
    driver.recv(socket, 1).unwrap();
    let mut gather = driver.gather();
    assert!(gather.push_buffer(slice(0, 0, 3)));
    let refused = driver.send(socket, 2, gather).unwrap_err();
    assert_eq!(refused.reason, Refusal::Full);
    assert_eq!(refused.given.len_bytes(), 3);
    assert!(!driver.pool().is_in_kernel(BufId(0)));
    peer.write_all(b"x").unwrap();
    assert_eq!(received(&mut driver), b"x");
    driver.send(socket, 2, refused.given).unwrap();
    assert!(matches!(one(&mut driver), Completion::Sent { result: Ok(3), .. }));
}

#[test]
fn more_submissions_than_the_queue_holds_go_through() {
    let sockets = 16;
    let mut driver = Driver::new(&DriverOptions { entries: 2, ..options() }).unwrap().0;
    let mut pairs: Vec<_> = (0..sockets).map(|_| connect(&mut driver)).collect();
    for (token, (socket, peer)) in (0..).zip(&mut pairs) {
        driver.recv_into(*socket, token, slice(u32::try_from(token).unwrap(), 0, 1)).unwrap();
        peer.write_all(&[u8::try_from(token).unwrap()]).unwrap();
    }
    // The completion queue of such a ring holds 8 entries: the rest waits in the kernel.
    let ends = wait_for(&mut driver, sockets);
    for end in ends {
        let Completion::ReceivedInto { token, slice, result: Ok(1), .. } = end else { panic!() };
        assert_eq!(u64::from(driver.pool().bytes(slice).unwrap()[0]), token);
    }
}

#[test]
fn a_driver_dropped_with_operations_in_flight_ends_them() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    driver.recv_into(socket, 1, slice(0, 0, 4096)).unwrap();
    let (second, _second_peer) = connect(&mut driver);
    driver.recv(second, 2).unwrap();
    driver.submit(Wait::No).unwrap();
    drop(driver);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_memory_store_is_sent_from_its_own_pages() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    let (store, _) = MemoryStore::new(65_536).unwrap();
    store.write_bytes(5000, b"stored").unwrap();
    let mut gather = inline(&mut driver, b"<");
    assert!(gather.push_store(&store, 5000, 6));
    assert!(gather.push_inline(b">"));
    assert!(!gather.push_store(&store, 65_535, 2));
    driver.send(socket, 1, gather).unwrap();
    drop(store);
    assert!(matches!(one(&mut driver), Completion::Sent { result: Ok(8), .. }));
    let mut got = [0; 8];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"<stored>");
}
