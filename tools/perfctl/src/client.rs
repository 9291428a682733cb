//! A connection to the daemon's control socket.

use crate::failure::Failure;
use control_api::{
    ANSWER_BYTES_MAX, Answered, CONTROL_SOCKET_NAME, Call, ErrorCode, Id, LineBuffer, Method,
    OperationInfo, OperationList, OperationState, OperationWait, Request, Response,
    default_state_dir, encode_line,
};
use serde_json::Value;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Response timeout. The daemon answers any call within 100 ms, and `operation.wait` within 5 s;
/// the rest is for an overloaded machine.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// How often a connection shows that it is still used: polluxd closes those that are idle for five
/// minutes.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long a connection that polluxd has closed for want of places is not opened again.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to polluxd.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    stream: UnixStream,
    received: LineBuffer,
    next_id: i64,
    /// Operations are followed to their end.
    waits: bool,
}

impl Client {
    /// Connects to a daemon's control socket.
    pub(crate) fn connect(socket: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::Connect { socket: socket.to_owned(), source };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_write_timeout(Some(ANSWER_TIME_MAX)).map_err(failed)?;
        Ok(Self {
            socket: socket.to_owned(),
            stream,
            received: LineBuffer::new(ANSWER_BYTES_MAX),
            next_id: 1,
            waits: true,
        })
    }

    /// Sets whether operations are followed to their end.
    pub(crate) fn waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// The default control socket of a daemon run by this user.
    pub(crate) fn default_socket() -> Result<PathBuf, Failure> {
        let xdg = std::env::var_os("XDG_STATE_HOME");
        let home = std::env::var_os("HOME");
        let is_root = rustix::process::geteuid().is_root();
        default_state_dir(is_root, xdg.as_deref(), home.as_deref())
            .map(|dir| dir.join(CONTROL_SOCKET_NAME))
            .ok_or(Failure::NoSocketName)
    }

    /// Sends a request and waits for its result, which is that of the operation if it started one.
    pub(crate) fn call<M: Method>(&mut self, method: M) -> Result<M::Answer, Failure> {
        let unexpected =
            |e: serde_json::Error| Failure::Answer(format!("{} answered {e}", M::NAME));
        let result = self.exchange(method.into())?;
        // `Answered` needs an owned type, which an answer is; its trait does not say so.
        match Answered::<Value>::from_value(result).map_err(unexpected)? {
            Answered::Done(result) => serde_json::from_value(result).map_err(unexpected),
            Answered::Started(id) if self.waits => {
                let result = self.follow(id)?;
                serde_json::from_value(result).map_err(unexpected)
            }
            Answered::Started(id) => Err(Failure::GoesOn(id)),
        }
    }

    /// Waits until an operation has completed; its steps are shown on a terminal.
    pub(crate) fn follow(&mut self, id: u64) -> Result<Value, Failure> {
        let mut printed = String::new();
        loop {
            let result = match self.exchange(OperationWait { id }.into()) {
                Ok(result) => result,
                // The place is needed for somebody who does not only wait.
                Err(Failure::Refused(error)) if error.code == ErrorCode::TooMany => {
                    // No event: polluxd does not say when it has a place.
                    std::thread::park_timeout(RECONNECT_INTERVAL);
                    *self = Self::connect(&self.socket)?.waiting(self.waits);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let info: OperationInfo = serde_json::from_value(result)
                .map_err(|e| Failure::Answer(format!("operation.wait answered {e}")))?;
            let step = match info.state {
                OperationState::Done { result } => return Ok(result),
                OperationState::Failed { error } => return Err(error.into()),
                OperationState::Running { step } => step,
                OperationState::Waiting => "waiting for an earlier operation".into(),
            };
            // Programs read the outcome; what is printed in between depends on time.
            if step != printed && io::stderr().is_terminal() {
                eprintln!("operation {id}: {step} (Ctrl-C leaves it running)");
                printed = step;
            }
        }
    }

    fn exchange(&mut self, call: Call) -> Result<Value, Failure> {
        let id = Id::Number(self.next_id);
        self.next_id += 1;
        let request = Request { id: id.clone(), call };
        let line = request.to_value().and_then(|v| encode_line(&v));
        let line = line.map_err(|e| Failure::Answer(e.to_string()))?;
        if let Err(error) = self.stream.write_all(&line) {
            // The daemon may have said why it closed the connection.
            return Err(match self.read_response().ok().and_then(|response| response.error) {
                Some(reason) => Failure::Refused(reason),
                None => self.lost(error),
            });
        }
        let response = self.read_response()?;
        match (response.error, response.result) {
            (Some(error), _) => Err(Failure::Refused(error)),
            (None, Some(_)) if response.id != id => {
                Err(Failure::Answer("the response id does not match the request".into()))
            }
            (None, Some(result)) => Ok(result),
            (None, None) => Err(Failure::Answer("neither result nor error is present".into())),
        }
    }

    /// Sends a request whose result nobody needs.
    pub(crate) fn keep_alive(&mut self) -> Result<(), Failure> {
        self.exchange(OperationList {}.into()).map(|_| ())
    }

    /// Sleeps for this time; fails immediately if the daemon closes the connection.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let mut left = time;
        while left > KEEP_ALIVE_INTERVAL {
            self.pause(KEEP_ALIVE_INTERVAL)?;
            self.keep_alive()?;
            left -= KEEP_ALIVE_INTERVAL;
        }
        self.pause(left)
    }

    fn pause(&mut self, time: Duration) -> Result<(), Failure> {
        self.stream.set_read_timeout(Some(time)).map_err(|e| self.lost(e))?;
        // The daemon sends nothing without a request, except why it closes the connection.
        let mut first = [0];
        match self.stream.read(&mut first) {
            Ok(n) => {
                self.received.push(first.get(..n).unwrap_or_default());
                Err(match self.read_response()?.error {
                    Some(reason) => Failure::Refused(reason),
                    None => Failure::Answer("unsolicited data".into()),
                })
            }
            Err(error) if is_timeout(&error) => Ok(()),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn read_response(&mut self) -> Result<Response, Failure> {
        let line = self.read_line()?;
        serde_json::from_slice(&line)
            .map_err(|e| Failure::Answer(format!("not a JSON-RPC 2.0 response ({e})")))
    }

    fn read_line(&mut self) -> Result<Vec<u8>, Failure> {
        self.stream.set_read_timeout(Some(ANSWER_TIME_MAX)).map_err(|e| self.lost(e))?;
        let mut chunk = [0; 16_384];
        loop {
            match self.received.next_line() {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(too_long) => return Err(Failure::Answer(too_long.to_string())),
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => self.received.push(chunk.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    fn lost(&self, source: io::Error) -> Failure {
        let closed = [
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
        ];
        let source = if closed.contains(&source.kind()) {
            io::Error::other("closed by polluxd")
        } else if is_timeout(&source) {
            io::Error::other(format!("no response within {} s", ANSWER_TIME_MAX.as_secs()))
        } else {
            source
        };
        Failure::Lost { socket: self.socket.clone(), source }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
