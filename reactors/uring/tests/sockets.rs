//! Sockets through the driver, against ordinary sockets on the other side.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{connect, driver, inline, one, slice, wait_for};
use uring::{Completion, Driver};

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
            Completion::AcceptFailed { token: 3, errno: uring::Errno::CANCELED },
            Completion::Closed { socket }
        ] if socket == listener
    ));
}
