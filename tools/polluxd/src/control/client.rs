//! One connection to the control socket.

use super::places::Standing;
use crate::daemon::{Awaited, StatsMark};
use control_api::{
    ErrorCode, Id, LineBuffer, REQUEST_BYTES_MAX, Request, Response, RpcError, encode_line,
};
use mio::net::UnixStream;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use std::io::{self, Read, Write};
use std::time::Instant;
use units::limits::{CONTROL_IDLE_TIME_MAX, CONTROL_REQUEST_TIME_MAX};

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
    /// It is of root, or of the user of the daemon.
    is_privileged: bool,
    /// When it last sent or took anything.
    active_at: Instant,
    /// When the request began of which a part has come.
    partial_since: Option<Instant>,
    /// It has the last descriptor of the process, and must give it back by then.
    borrows_until: Option<Instant>,
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
    /// The client of a connection that was made now.
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        let is_own = |uid: rustix::process::Uid| uid.is_root() || uid == geteuid();
        Self {
            // Without credentials it is a stranger.
            is_privileged: socket_peercred(&stream).is_ok_and(|peer| is_own(peer.uid)),
            stream,
            received: LineBuffer::new(REQUEST_BYTES_MAX),
            unsent: Vec::new(),
            stats_mark: None,
            awaited: None,
            active_at: now,
            partial_since: None,
            borrows_until: None,
            is_leaving: false,
        }
    }

    /// The client has the last descriptor of the process.
    pub(super) fn borrow_descriptor(&mut self, now: Instant) {
        self.borrows_until = Some(now + CONTROL_REQUEST_TIME_MAX);
    }

    /// What it is where places are scarce. Whoever follows an operation can be told how far it is,
    /// and ask again later; it only waits.
    pub(super) fn standing(&self) -> Standing {
        let is_busy = self.awaited.as_ref().is_some_and(|(_, awaited)| !awaited.only_follows());
        let idle_since = if is_busy { None } else { Some(self.active_at) };
        Standing { is_privileged: self.is_privileged, idle_since }
    }

    /// When it must go unless it does something before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.awaited.is_some() {
            return None;
        }
        let idle_until = self.active_at + CONTROL_IDLE_TIME_MAX;
        let whole_by = self.partial_since.map(|since| since + CONTROL_REQUEST_TIME_MAX);
        [Some(idle_until), whole_by, self.borrows_until].into_iter().flatten().min()
    }

    /// Tells the client why it must go. Whether it reads that is its own affair.
    pub(super) fn dismiss(&mut self, error: RpcError, now: Instant) {
        // Behind a part of an answer nobody would find it.
        if self.unsent.is_empty() {
            self.answer(&Response::failure(Id::Null, error));
            self.flush(now);
        }
    }

    /// Why its time is over, once it is.
    pub(super) fn overdue(&self) -> RpcError {
        let sentence = match self.partial_since {
            _ if self.borrows_until.is_some() => {
                let limit = CONTROL_REQUEST_TIME_MAX.as_secs();
                format!(
                    "polluxd has no file descriptor left, and this connection used its reserve \
                     for {limit} s"
                )
            }
            Some(_) => {
                let limit = CONTROL_REQUEST_TIME_MAX.as_secs();
                format!("the request was not complete within {limit} s")
            }
            None => {
                let limit = CONTROL_IDLE_TIME_MAX.as_secs();
                format!("the connection was idle for {limit} s")
            }
        };
        RpcError::new(ErrorCode::TooMany, sentence).hint("Connect again.")
    }

    /// The next thing that the client wants, as far as it can be known without waiting.
    pub(super) fn next(&mut self, now: Instant) -> Wish {
        let wish = self.look(now);
        let is_partial = matches!(wish, Wish::Nothing)
            && self.awaited.is_none()
            && self.unsent.is_empty()
            && !self.received.is_empty();
        // Further bytes of a request do not extend its time.
        self.partial_since = if is_partial { self.partial_since.or(Some(now)) } else { None };
        wish
    }

    fn look(&mut self, now: Instant) -> Wish {
        loop {
            if self.send(now).is_err() {
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
                Ok(None) => match self.receive(now) {
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
    pub(super) fn flush(&mut self, now: Instant) {
        let _ = self.send(now);
    }

    /// Receives what is there; tells whether there was anything.
    fn receive(&mut self, now: Instant) -> io::Result<bool> {
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                self.active_at = now;
                self.received.push(chunk.get(..n).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends what the client takes.
    fn send(&mut self, now: Instant) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => {
                    self.active_at = now;
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
    use std::time::Duration;

    fn pair() -> (Client, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Client::new(UnixStream::from_std(ours), Instant::now()), theirs)
    }

    const STATUS: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";

    #[test]
    fn calls_come_one_by_one_however_they_arrive() {
        let (mut client, mut peer) = pair();
        let (first, second) = STATUS.split_at(10);
        peer.write_all(first.as_bytes()).unwrap();
        assert!(matches!(client.next(Instant::now()), Wish::Nothing));
        peer.write_all(second.as_bytes()).unwrap();
        peer.write_all(STATUS.as_bytes()).unwrap();
        for _ in 0..2 {
            let Wish::Call(request) = client.next(Instant::now()) else { panic!("no call") };
            assert!(matches!(request.call, Call::StatusQuery(_)));
        }
        assert!(matches!(client.next(Instant::now()), Wish::Nothing));
        drop(peer);
        assert!(matches!(client.next(Instant::now()), Wish::Leave));
    }

    #[test]
    fn a_bad_line_is_answered_and_the_connection_goes_on() {
        let (mut client, mut peer) = pair();
        peer.write_all(b"hello\n").unwrap();
        peer.write_all(STATUS.as_bytes()).unwrap();
        assert!(matches!(client.next(Instant::now()), Wish::Call(_)));
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
            if matches!(client.next(Instant::now()), Wish::Leave) {
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
        assert!(matches!(client.next(Instant::now()), Wish::Nothing));
        assert!(matches!(client.next(Instant::now()), Wish::Nothing));
        let mut read = 0;
        let mut chunk = vec![0; 1 << 20];
        let call = loop {
            if read < 4 << 20 {
                read += peer.read(&mut chunk).unwrap();
            }
            match client.next(Instant::now()) {
                Wish::Nothing => {}
                wish @ (Wish::Call(_) | Wish::Leave) => break wish,
            }
        };
        assert!(matches!(call, Wish::Call(_)));
    }

    #[test]
    fn a_silent_client_has_minutes_and_half_a_request_has_seconds() {
        let (mut client, mut peer) = pair();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        client.active_at = start;
        assert!(matches!(client.next(at(100)), Wish::Nothing));
        assert_eq!(client.deadline(), Some(at(300)));
        assert!(client.overdue().to_string().starts_with("the connection was idle for 300 s"));
        peer.write_all(b"{\"jsonrpc\"").unwrap();
        assert!(matches!(client.next(at(200)), Wish::Nothing));
        assert_eq!(client.deadline(), Some(at(210)));
        // More of it is no reason to wait longer.
        peer.write_all(b":").unwrap();
        assert!(matches!(client.next(at(205)), Wish::Nothing));
        assert_eq!(client.deadline(), Some(at(210)));
        let why = client.overdue().to_string();
        assert!(why.starts_with("the request was not complete within 10 s"), "{why}");
        peer.write_all(b"5}\n").unwrap();
        assert!(matches!(client.next(at(209)), Wish::Nothing));
        assert_eq!(client.deadline(), Some(at(509)));
    }

    #[test]
    fn root_and_the_user_of_the_daemon_are_privileged() {
        let (client, _peer) = pair();
        assert!(client.standing().is_privileged);
        assert_eq!(client.standing().idle_since, Some(client.active_at));
    }
}
