//! What the shard asks for, carried out.

use super::{Mail, Reactor};
use crate::backends::Request;
use crate::handover::Destination;
use crate::initiator_link::{Agreed, Pdu};
use crate::streams::{Connection, Fate};
use shard::{Action, Closing, Event, HandedOver, IoResult, OpId, Placement, Progress, SendData};
use units::{BufId, ConnId, ReactorId};

impl Reactor {
    /// Carries out what the shard asks for, until it asks for nothing more.
    #[inline]
    pub(super) fn run_actions(&mut self) {
        if !self.actions.is_empty() {
            self.run_queued();
        }
    }

    /// Does that, and tells the shard of what has ended and which buffers are free.
    pub(super) fn run_queued(&mut self) {
        loop {
            match self.actions.front() {
                Some(Action::Send { .. }) => self.send_first(),
                Some(Action::Io { .. }) => self.submit_first(),
                Some(_) => self.execute_first(),
                None => {
                    if let Some(buf) = self.returned.pop_front() {
                        self.shard.handle_buffer_returned(self.now, buf, &mut self.actions);
                    } else if let Some((op, result)) = self.done.pop_front() {
                        self.shard.handle_io(self.now, op, result, &mut self.actions);
                    } else if let Some(conn) = self.probes.pop_front() {
                        if let Some(progress) = self.progress(conn) {
                            let actions = &mut self.actions;
                            self.shard.handle_progress(self.now, conn, progress, actions);
                        }
                    } else {
                        return;
                    }
                }
            }
        }
    }

    /// Begins the request of the oldest action.
    #[inline]
    fn submit_first(&mut self) {
        let Some(&Action::Io { op, volume, ref request }) = self.actions.front() else { return };
        let request = Request { op, volume, request };
        let ended = self.backends.submit(request, &mut self.buffers);
        self.actions.drop_front();
        if let Some(result) = ended {
            self.io_done(op, result);
        }
    }

    /// Carries out the oldest action.
    fn execute_first(&mut self) {
        let Some(action) = self.actions.pop() else { return };
        match action {
            Action::Send { .. } | Action::Io { .. } => unreachable!("carried out in place"),
            Action::Combine { op, by, first, second } => {
                let result = self.buffers.combine(by, first, second, &self.backends.volumes);
                self.io_done(op, result);
            }
            Action::Replicate { block, into } => {
                self.buffers.replicate(block, into, &self.backends.volumes);
            }
            Action::ZeroFill(into) => {
                // What uses the buffer next fails where it could not be filled.
                let _filled = self.buffers.zero(into);
            }
            Action::Close { conn, closing } => self.close(conn, closing),
            Action::EnterFullFeaturePhase {
                conn,
                header_digest,
                data_digest,
                max_data_segment_length,
            } => {
                let agreed = Agreed { header_digest, data_digest, max_data_segment_length };
                let key = self.names.find(conn);
                if let Some(connection) = key.and_then(|key| self.streams.get_mut(key)) {
                    connection.link.enter_full_feature_phase(agreed);
                }
            }
            Action::HandOver { conn, to, state } => self.hand_over(conn, to, state),
            Action::Place { conn, placement } => self.place(conn, placement),
            Action::Post { to, message } => {
                // The shard knows how many reactors there are.
                let unknown = self.outboxes.post(to, Mail::Message(message));
                debug_assert!(unknown.is_ok(), "a message to a reactor that does not exist");
            }
            Action::Probe(conn) => self.probes.push_back(conn),
            Action::Report(event) => self.note(*event),
            Action::Return { conn, buf } => self.return_buffer(conn, buf),
        }
    }

    /// Counts an event, and queues it for the control thread.
    fn note(&mut self, event: Event) {
        if let Event::Session(event) = &event {
            self.recorder.sessions.add(event.change);
        }
        self.events.add(event);
    }

    /// A request has ended at once.
    #[inline(always)]
    fn io_done(&mut self, op: OpId, result: IoResult) {
        if self.actions.is_empty() && self.returned.is_empty() && self.done.is_empty() {
            self.shard.handle_io(self.now, op, result, &mut self.actions);
        } else {
            // The shard is told when what it has asked for already has been done.
            self.done.push_back((op, result));
        }
    }

    /// Queues the PDU of the oldest action on its connection.
    #[inline]
    fn send_first(&mut self) {
        let Some(Action::Send { conn, header, data, sample }) = self.actions.front() else {
            return;
        };
        let found = self.names.find(*conn).and_then(|key| self.streams.get_listed(key));
        match found.filter(|connection| connection.stream.fate != Fate::Closed) {
            Some(connection) => {
                let pdu = Pdu { header, data, sample: sample.as_ref() };
                if !connection.queue(&pdu, &mut self.buffers, &self.backends.volumes) {
                    // Better no connection than one that sends something else.
                    tracing::error!(
                        reactor = self.id.0,
                        "closing a connection: the data of a PDU is not available to be sent"
                    );
                    self.buffers.ring.shutdown(connection.stream.socket);
                }
            }
            // The connection has ended meanwhile; the buffer goes back nevertheless.
            None => {
                if let SendData::Buffer { slice, last: true } = data {
                    self.returned.push_back(slice.buf);
                }
            }
        }
        self.actions.drop_front();
    }

    /// The shard has forgotten a connection.
    fn close(&mut self, conn: ConnId, closing: Closing) {
        // A connection that found no room here was never named.
        let Some(key) = self.names.remove(conn) else { return };
        if let Some(connection) = self.streams.get_mut(key) {
            connection.link.inbound.end();
        }
        match closing {
            Closing::Abandon => self.abandon(key),
            Closing::Drain => self.streams.drain(key, self.now, &mut self.buffers),
        }
    }

    /// The shard knows by now where the data segment of a connection goes.
    fn place(&mut self, conn: ConnId, placement: Placement) {
        // Its socket may have failed meanwhile.
        let Some(key) = self.names.find(conn) else { return };
        if let Some(connection) = self.streams.get_mut(key) {
            connection.link.inbound.begin(placement);
        }
        self.streams.list(key);
    }

    /// What a connection has moved, unless it was closed meanwhile. It costs a system call.
    #[cold]
    fn progress(&self, conn: ConnId) -> Option<Progress> {
        let Connection { stream, link } = self.streams.get(self.names.find(conn)?)?;
        let bytes = self.buffers.ring.bytes_moved(stream.socket)?;
        Some(Progress { bytes, is_due: stream.out.is_leaving() || link.inbound.is_filling() })
    }

    /// Another reactor gets a connection, once what is queued has left.
    fn hand_over(&mut self, conn: ConnId, to: ReactorId, state: Box<HandedOver>) {
        let Some(key) = self.names.remove(conn) else { return };
        if let Some(connection) = self.streams.get_mut(key) {
            connection.stream.fate = Fate::Departing;
            connection.link.destination = Some(Destination { to, state });
        }
        self.streams.list(key);
    }

    /// The shard wants a buffer back that a connection may be receiving into.
    fn return_buffer(&mut self, conn: ConnId, buf: BufId) {
        let key = self.names.find(conn);
        let connection = key.and_then(|key| self.streams.get_mut(key));
        if connection.is_none_or(|connection| connection.link.inbound.give_back(buf)) {
            self.returned.push_back(buf);
        }
    }
}
