//! One connection to the control socket.

use crate::daemon::{Awaited, StatsMark};
use control_api::{
    ErrorCode, Id, LineBuffer, REQUEST_BYTES_MAX, Request, Response, RpcError, encode_line,
};
use mio::net::UnixStream;
use std::io::{self, Read, Write};

/// A client. It has at most one answer that it has not read yet: its further requests wait in
/// the socket until then.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    received: LineBuffer,
    unsent: Vec<u8>,
    /// What its last statistics were.
    pub(super) stats_mark: Option<StatsMark>,
    /// Its call that is answered later. Its further requests wait in the socket until then.
    pub(super) awaited: Option<(Id, Awaited)>,
    /// It gets what is unsent, and then the connection ends.
    is_leaving: bool,
}

/// What a client wants.
#[derive(Debug)]
pub(super) enum Wish {
    /// This call.
    Call(Request),
    /// Nothing now.
    Nothing,
    /// To go: the connection has ended, or must.
    Leave,
}

impl Client {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            received: LineBuffer::new(REQUEST_BYTES_MAX),
            unsent: Vec::new(),
            stats_mark: None,
            awaited: None,
            is_leaving: false,
        }
    }

    /// The next thing that the client wants, as far as it can be known without waiting.
    pub(super) fn next(&mut self) -> Wish {
        loop {
            if self.send().is_err() {
                return Wish::Leave;
            }
            if !self.unsent.is_empty() {
                return Wish::Nothing;
            }
            if self.is_leaving {
                return Wish::Leave;
            }
            if self.awaited.is_some() {
                return Wish::Nothing;
            }
            match self.received.next_line() {
                Ok(Some(line)) => match Request::parse(&line) {
                    Ok(request) => return Wish::Call(request),
                    Err(response) => self.answer(&response),
                },
                Ok(None) => match self.receive() {
                    Ok(true) => {}
                    Ok(false) => return Wish::Nothing,
                    Err(_) => return Wish::Leave,
                },
                Err(too_long) => {
                    let error = RpcError::new(ErrorCode::InvalidRequest, too_long.to_string());
                    self.answer(&Response::failure(Id::Null, error));
                    self.is_leaving = true;
                }
            }
        }
    }

    /// Queues an answer; [`Self::next`] sends it.
    pub(super) fn answer(&mut self, response: &Response) {
        match encode_line(response) {
            Ok(line) => self.unsent.extend_from_slice(&line),
            // No answer can be given, so the client must not wait for one.
            Err(_) => self.is_leaving = true,
        }
    }

    /// Sends what the client takes now. What goes wrong is found by [`Self::next`].
    pub(super) fn flush(&mut self) {
        let _ = self.send();
    }

    /// Receives what is there; tells whether there was anything.
    fn receive(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.received.push(chunk.get(..n).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends what the client takes.
    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => {
                    self.unsent.drain(..n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::Call;

    fn pair() -> (Client, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Client::new(UnixStream::from_std(ours)), theirs)
    }

    const STATUS: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";

    #[test]
    fn calls_come_one_by_one_however_they_arrive() {
        let (mut client, mut peer) = pair();
        let (first, second) = STATUS.split_at(10);
        peer.write_all(first.as_bytes()).unwrap();
        assert!(matches!(client.next(), Wish::Nothing));
        peer.write_all(second.as_bytes()).unwrap();
        peer.write_all(STATUS.as_bytes()).unwrap();
        for _ in 0..2 {
            let Wish::Call(request) = client.next() else { panic!("no call") };
            assert!(matches!(request.call, Call::StatusQuery(_)));
        }
        assert!(matches!(client.next(), Wish::Nothing));
        drop(peer);
        assert!(matches!(client.next(), Wish::Leave));
    }

    #[test]
    fn a_bad_line_is_answered_and_the_connection_goes_on() {
        let (mut client, mut peer) = pair();
        peer.write_all(b"hello\n").unwrap();
        peer.write_all(STATUS.as_bytes()).unwrap();
        assert!(matches!(client.next(), Wish::Call(_)));
        let mut answer = [0; 200];
        let n = peer.read(&mut answer).unwrap();
        assert!(std::str::from_utf8(&answer[..n]).unwrap().contains("-32700"));
    }

    #[test]
    fn an_endless_line_ends_the_connection() {
        let (mut client, mut peer) = pair();
        let flood = std::thread::spawn(move || {
            // The writer stops when the reader has gone.
            while peer.write_all(&[b'x'; 65_536]).is_ok() {}
        });
        let mut leaving = false;
        for _ in 0..1_000_000 {
            if matches!(client.next(), Wish::Leave) {
                leaving = true;
                break;
            }
            std::thread::yield_now();
        }
        assert!(leaving);
        drop(client);
        flood.join().unwrap();
    }

    #[test]
    fn a_client_that_does_not_read_gets_no_further_call_done() {
        let (mut client, mut peer) = pair();
        let long = Response::success(Id::Number(1), "x".repeat(4 << 20).into());
        client.answer(&long);
        peer.write_all(STATUS.as_bytes()).unwrap();
        assert!(matches!(client.next(), Wish::Nothing));
        assert!(matches!(client.next(), Wish::Nothing));
        let mut read = 0;
        let mut chunk = vec![0; 1 << 20];
        let call = loop {
            if read < 4 << 20 {
                read += peer.read(&mut chunk).unwrap();
            }
            match client.next() {
                Wish::Nothing => {}
                wish @ (Wish::Call(_) | Wish::Leave) => break wish,
            }
        };
        assert!(matches!(call, Wish::Call(_)));
    }
}
