//! Every bound of Pollux with its reason. Reaching one is a handled case.

use std::time::Duration;

/// Connections that one reactor holds. 1000 sessions are a large site; four times that leaves
/// room for reconnect storms, in which an old and a new connection live side by side.
pub const CONNECTIONS_PER_REACTOR_MAX: u32 = 4096;

/// Connections of one address in their login phase, on one reactor. A hypervisor with 256 paths
/// logs in on all of them at once after a power failure, and none of these logins may be turned
/// away; twice that leaves seven eighths of the reactor to other addresses. They cost some KiB
/// each, and [`LOGIN_TIME_MAX`] ends those that are silent.
pub const HALF_OPEN_LOGINS_PER_ADDRESS_MAX: u32 = 512;

/// Further connections of such an address whose first request is answered "out of resources", so
/// that an honest initiator knows why it is refused. What comes beyond is closed unanswered.
pub const REFUSED_LOGINS_PER_ADDRESS_MAX: u32 = 64;

/// How long a connection that is going to be refused may take to send its first request: an
/// initiator sends it at once.
pub const REFUSED_LOGIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Sessions of one address that one registrar admits: half of what a reactor holds, so that one
/// address does not fill a node of one reactor. Several initiators share an address behind a
/// router or on a host of virtual machines.
pub const SESSIONS_PER_ADDRESS_MAX: u32 = 2048;

/// Sessions of one initiator name: 64 targets on 16 paths each.
pub const SESSIONS_PER_INITIATOR_MAX: u32 = 1024;

/// All addresses of an IPv6 /64 together count for as many as this where sessions are capped. A
/// host may have all of them; on a storage network all hosts share one.
pub const ADDRESSES_PER_NETWORK: u32 = 4;

/// Discovery sessions of one address that one registrar admits. A host has one or two for the
/// moment of a SendTargets, and several hosts may share an address.
pub const DISCOVERY_SESSIONS_PER_ADDRESS_MAX: u32 = 64;

/// Discovery sessions of all addresses that one registrar admits: an eighth of the connections
/// that a reactor holds. They need no access to any target, so they must not take the places of
/// sessions that do I/O.
pub const DISCOVERY_SESSIONS_MAX: u32 = 512;

/// How long a discovery session may stay without a text request. Initiators discover targets in
/// well under a second and log out.
pub const DISCOVERY_IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a connection may stay in the login phase: open-iscsi gives up after 15 s itself.
pub const LOGIN_TIME_MAX: Duration = Duration::from_secs(15);

/// Commands in flight per session: the CmdSN window that is announced when it is all free, unless
/// data of the session has found no buffer.
/// 128 is open-iscsi's default queue depth (node.session.queue_depth 32, cmds_max 128).
pub const COMMAND_WINDOW_MAX: u32 = 128;

/// Tasks of one reactor: 512 sessions with their windows full, which is far more than its
/// buffers can serve at once. What is beyond is answered TASK SET FULL.
pub const TASKS_PER_REACTOR_MAX: u32 = 65_536;

/// Immediate SCSI commands in flight per session, beyond the window (RFC 7143 4.2.2.1). Initiators
/// hardly use them.
pub const IMMEDIATE_COMMANDS_MAX: u32 = 16;

/// Task management functions in flight per session, beyond those. On a disk that hangs, each abort
/// waits for its task: half of a window of them is more than initiators have open at a time, and
/// those that come then go on to a reset.
pub const IMMEDIATE_FUNCTIONS_MAX: u32 = 64;

/// Further immediate requests in flight per session: NOP-Out, text and logout. All but a logout are
/// answered at once, so these places are always free; without them an initiator takes a target
/// whose disk hangs for dead.
pub const IMMEDIATE_REQUESTS_MAX: u32 = 4;

/// Data segment length that the target declares for itself: one MaxBurstLength in one PDU.
pub const MAX_RECV_DATA_SEGMENT_LENGTH: u32 = 262_144;

/// Data segment length in the login phase (RFC 7143 13.12: the default until declared).
pub const LOGIN_DATA_SEGMENT_LENGTH_MAX: u32 = 8192;

/// The greatest MaxBurstLength and FirstBurstLength that the target agrees to. It is also the
/// largest buffer that a task holds at a time, so that a transfer of any length needs a
/// bounded amount of memory.
pub const BURST_LENGTH_MAX: u32 = 262_144;

/// How long a session may bring no data although it was asked for some (R2T) or has announced some:
/// then the tasks that wait for it fail. Linux fails a command itself after 30 s, and an initiator
/// that sends 10 KB/s brings the longest PDU in 26 s.
pub const DATA_OUT_TIME_MAX: Duration = Duration::from_secs(30);

/// The same while a session without any buffer waits for one: longer than a network that recovers
/// from lost packets needs.
pub const DATA_OUT_TIME_MAX_WANTED: Duration = Duration::from_secs(5);

/// Bytes that a connection must move in a second, on average, while its session holds buffers that
/// others want: single bytes would keep them without end. An initiator at 10 KB/s brings twice as
/// many.
pub const PROGRESS_PER_SECOND_MIN: u32 = 4096;

/// How long it is remembered that a session had no buffer for its data. Where the data is refused,
/// initiators send it again within a second or two.
pub const WANT_REMEMBERED: Duration = Duration::from_secs(5);

/// How long data that nobody asked for waits for a buffer, and all that its connection sends behind
/// it, while no buffer of its session comes back: a disk that works returns one within
/// milliseconds. Then the command is refused, so that requests to abort what hangs are heard long
/// before Linux gives up on them (15 s).
pub const PLACE_TIME_MAX: Duration = Duration::from_secs(1);

/// Of the free buffers of each size, data that nobody asked for leaves one in so many to sessions
/// that hold none: 36 of 256 KiB in the default pool. Eight sessions on a disk that hangs held all
/// of them before.
pub const PLACES_KEPT_PARTS: u32 = 4;

/// How many buffers of each size stay free for each that waits for one file system or block device.
/// So what hangs keeps at most a third: its hosts, which may hold half, can go on with other disks.
pub const MEDIUM_LEAVES: usize = 2;

/// A host or medium that holds less than one in so many of a size does not keep its own sessions
/// waiting: others do, and what they do not use is taken back sooner.
pub const PARTY_MUCH_PARTS: u32 = 8;

/// Of the buffers of each size, a session that has returned none lately may hold one in so many: 4
/// of 256 KiB and 64 of 4 KiB in the default pool. So 26 sessions that never return any leave more
/// than a quarter of the large buffers to others, while one task can keep its four bursts at work.
/// A session that returns buffers may hold half as many as it has returned in the last half second,
/// which is no limit for one whose buffers come back within a quarter of a second.
pub const FIRST_SHARE_PARTS: u32 = 32;

/// R2Ts in flight per task that the target agrees to (MaxOutstandingR2T).
pub const OUTSTANDING_R2T_MAX: u16 = 8;

/// Bursts of one task that are at the disk or on the wire at once. Two keep both busy.
pub const BURSTS_PER_TASK_MAX: usize = 4;

/// Buffers of [`BURST_LENGTH_MAX`] that one command needs at once: VERIFY compares one with
/// another.
pub const FULL_BUFFERS_PER_COMMAND: u32 = 2;

/// Buffers of any size that one command needs at once: VERIFY with BYTCHK 3 keeps the block that it
/// compares all others with in a third.
pub const BUFFERS_PER_COMMAND: u32 = 3;

/// Key text of one login or text negotiation, summed over its PDUs (C-bit): the keys of RFC
/// 7143 fit into 8 KiB, and an endless sequence must end somewhere.
pub const NEGOTIATION_TEXT_BYTES_MAX: usize = 65_536;

/// The list of targets that one SendTargets answers with: 1024 targets with names of 100 bytes
/// and a dozen portals each fit into it.
pub const DISCOVERY_TEXT_BYTES_MAX: usize = 1 << 20;

/// Request and response pairs in one login: a real login needs at most 5.
pub const LOGIN_ROUNDS_MAX: u32 = 64;

/// Longest iSCSI name (RFC 7143 4.2.7.1).
pub const ISCSI_NAME_BYTES_MAX: usize = 223;

/// Longest key name (RFC 7143 6.1).
pub const KEY_NAME_BYTES_MAX: usize = 63;

/// Longest value of a text key, unless the definition of the key differs (RFC 7143 6.1).
pub const KEY_VALUE_BYTES_MAX: usize = 255;

/// Parameter data that a command may send besides block data (MODE SELECT, UNMAP, PERSISTENT
/// RESERVE OUT): an UNMAP list of 256 descriptors is 4104 bytes.
pub const PARAMETER_LIST_BYTES_MAX: u32 = 8192;

/// Block descriptors of one UNMAP, as reported in the Block Limits VPD page.
pub const UNMAP_DESCRIPTORS_MAX: u32 = 256;

/// Runs that one GET LBA STATUS reports: each costs a look at the backend's map.
pub const LBA_STATUS_DESCRIPTORS_MAX: usize = 64;

/// Blocks of one UNMAP in bytes: what a hole punch does in well under a second. It is 2^20
/// blocks of 512 bytes; libiscsi's conformance suite takes a greater count for a mistake.
pub const UNMAP_BYTES_MAX: u64 = 1 << 29;

/// Blocks that WRITE SAME covers at most, in bytes: 32 MiB keeps one command under a second.
pub const WRITE_SAME_BYTES_MAX: u64 = 32 << 20;

/// The largest transfer of one command in bytes, as reported in the Block Limits VPD page.
pub const TRANSFER_BYTES_MAX: u64 = 32 << 20;

/// The data that COMPARE AND WRITE compares, in bytes: half of one burst (the other half is
/// what it writes).
pub const COMPARE_AND_WRITE_BYTES_MAX: u32 = BURST_LENGTH_MAX / 2;

/// Logical units of one target: REPORT LUNS of all of them fits into one data segment.
pub const LUNS_PER_TARGET_MAX: usize = 256;

/// Targets of one node.
pub const TARGETS_MAX: usize = 1024;

/// Volumes of one node: each is a fixed file of every ring. It is a power of two, because the low
/// bits of a [`crate::VolumeId`] are the volume's place.
pub const VOLUMES_MAX: usize = 4096;

/// How long the start waits for volumes before it serves without those that do not open, which then
/// follow. The ring of a daemon that was killed holds the locks of its volumes for some
/// milliseconds, and initiators that come back at once are to find them.
pub const START_OPEN_TIME_MAX: Duration = Duration::from_secs(3);

/// How long the start waits for volumes without a word.
pub const START_OPEN_SILENT_TIME: Duration = Duration::from_millis(500);

/// How often a volume that is not served is tried again: an administrator who has attached a disk
/// or mounted a file system waits that long at most, and an attempt costs some system calls.
pub const OPEN_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Volumes that are tried again at once. A device that hangs keeps one of the
/// [`CONTROL_WORKERS_MAX`] workers, and most of them are for what the administrator asks for.
pub const OPEN_RETRIES_AT_ONCE_MAX: usize = 8;

/// Operations that follow the volumes which do not open at the start; they share them out. All of
/// them leave room for the administrator's.
pub const LATE_OPERATIONS_MAX: usize = 64;

/// How often the files of served volumes are looked at: whoever has deleted one by mistake has some
/// seconds until somebody notices anyway, and a look costs two system calls for each volume.
pub const VOLUME_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Files of the state directory that can be written while its file system is full. A LUN is
/// unmapped and its volume deleted with three of them, the catalog twice and a note.
pub const STATE_RESERVE_FILES: usize = 4;

/// Bytes of each of these files: a catalog of 4096 volumes with paths has 600 KiB.
pub const STATE_RESERVE_FILE_BYTES: u64 = 1 << 20;

/// Unit attentions that wait for one nexus at one logical unit. Further ones fold into
/// "power on, reset, or bus device reset occurred", which implies all of them (SAM-5 5.14.3).
pub const UNIT_ATTENTIONS_MAX: usize = 8;

/// How long a session may be silent before the target sends a NOP-In ping.
pub const NOP_IN_INTERVAL: Duration = Duration::from_secs(10);

/// How long an initiator may take to answer that ping, or to take or send anything else: one that
/// reads slowly finds the ping behind all that it has yet to read.
pub const NOP_IN_ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// How long a send may make no progress before the connection is given up.
pub const SEND_STALL_TIME_MAX: Duration = Duration::from_secs(90);

/// The same while a session without any buffer waits for one. A session that moves a single byte in
/// this time keeps its connection and its share, for at most [`SLOW_TIME_MAX_WANTED`].
pub const STALL_TIME_MAX_WANTED: Duration = Duration::from_secs(10);

/// The same for one that moves less than [`PROGRESS_PER_SECOND_MIN`] on average: a network that
/// recovers slowly may pause between a few bytes, as long as little is to be sent.
pub const SLOW_TIME_MAX_WANTED: Duration = Duration::from_secs(30);

/// How long what is queued on a connection may take to leave once its session has ended: a logout
/// response or a Reject. A peer that reads takes milliseconds; the buffers of one that does not
/// are wanted by others.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a new login waits for the tasks of the session that it reinstates; then it is
/// refused with "service unavailable" and may try again (RFC 7143 6.3.5).
pub const REINSTATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

/// Sessions that were displaced before the core of their login had handed them over. Each login
/// in flight can leave one, for the time of a mailbox.
pub const DOOMED_SESSIONS_MAX: usize = 1024;

/// How long the target waits for initiators to log out after it has asked them to.
pub const ASYNC_LOGOUT_TIME: Duration = Duration::from_secs(3);

/// Copied bytes that wait to be sent on one connection before nothing more is read from it: headers
/// and the answers to what is not READ. Nearly a send's worth, besides the one that is with the
/// kernel: honest initiators take their answers, and what waits for one that does not is memory
/// that it chose.
pub const SEND_QUEUE_COPIED_BYTES_MAX: usize = 48 << 10;

/// PDUs of one connection that one turn of a reactor handles: one connection cannot starve
/// its core.
pub const PDUS_PER_TURN_MAX: u32 = 256;

/// Operations of one file system or device that wait in the kernel's workers of one reactor, or for
/// its answers about allocation. A worker is a thread, and one that hangs holds it; a file in which
/// blocks are allocated gets no faster with more of them.
pub const WORKERS_PER_FILE_SYSTEM_MAX: u32 = 32;

/// Reactors of one node.
pub const REACTORS_MAX: usize = 64;

/// Connections to the control socket at once: a handful of people and a monitoring agent.
pub const CONTROL_CLIENTS_MAX: usize = 32;

/// Of these, places for root and the user of the daemon only: whoever else may use the socket
/// cannot take all of them, however busy.
pub const CONTROL_CLIENTS_KEPT: usize = 1;

/// How long a control connection may be idle. perfctl sends a request each minute where it waits
/// longer between two of its own.
pub const CONTROL_IDLE_TIME_MAX: Duration = Duration::from_secs(300);

/// How long a control request may take from its first byte to its last: they are sent in one
/// piece, over a local socket.
pub const CONTROL_REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Control connections that one turn of the control thread accepts. Its clients have their turn in
/// between, so that a flood of connections cannot displace one before its request was read.
pub const CONTROL_ACCEPTS_PER_TURN_MAX: usize = 8;

/// Messages between two reactors that wait to be read.
pub const MAILBOX_MESSAGES_MAX: usize = 1024;

/// Commands of the control thread that wait for one reactor; more wait in the control thread. A
/// reactor takes them all in each turn.
pub const REACTOR_COMMANDS_MAX: usize = 64;

/// Notices of all reactors that wait for the control thread; more wait in their reactors. One
/// report and one change of state of each of 64 reactors fit, with room for closed volumes.
pub const CONTROL_NOTICES_MAX: usize = 256;

/// Failed operations of different volumes or with different error codes that wait in a reactor for
/// the control thread: a node with more of them at once has lost a whole controller, and one line
/// for each of 64 says so.
pub const IO_FAILURE_KINDS_MAX: usize = 64;

/// Logins, refusals and ends of sessions that wait in a reactor for the control thread: those of a
/// reconnect storm of a large site within [`EVENTS_INTERVAL`].
pub const SESSION_EVENTS_WAITING_MAX: usize = 1024;

/// How often a reactor hands its events over at most. The first one goes at once.
pub const EVENTS_INTERVAL: Duration = Duration::from_millis(100);

/// Lines of the log that wait to be written, about 1 MiB. What is beyond is dropped and counted:
/// nothing waits for whoever reads the log.
pub const LOG_LINES_MAX: usize = 4096;

/// How often memory goes back to the kernel that ended connections have freed. It takes up to 40 ms
/// for 100 MiB in small pieces, in which a login or a ping may wait.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How often failed operations of one volume with one error code are a line of the log.
pub const IO_ERROR_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Lines of the log about failed operations of one volume in a minute: two error codes, each every
/// [`IO_ERROR_LINE_INTERVAL`].
pub const IO_ERROR_LINES_PER_MINUTE_MAX: usize = 12;

/// Lines of the log in [`SESSION_LINES_INTERVAL`] about logins that are refused for one reason: a
/// misconfigured host tries again every second or so.
pub const REFUSAL_LINES_MAX: usize = 10;

/// The same about logins, or ends of sessions for one reason: every session of a large site may
/// come or go at once.
pub const SESSION_LINES_MAX: usize = 1024;

/// See [`REFUSAL_LINES_MAX`] and [`SESSION_LINES_MAX`].
pub const SESSION_LINES_INTERVAL: Duration = Duration::from_secs(10);

/// How long after its last I/O error `perfctl status` warns about a volume: an administrator who
/// looks every few minutes sees it, and it goes when its cause has gone.
pub const IO_ERROR_WARNING_TIME: Duration = Duration::from_secs(600);

/// Threads that open, create, sync, close and remove files. One that hangs in a device holds one;
/// 32 devices that hang at once are an outage of the storage, and what comes then waits.
pub const CONTROL_WORKERS_MAX: usize = 32;

/// Threads that read the configurations that callers name, with their secrets. They are not those
/// that open volumes: a file that does not answer holds up no volume, and nobody applies eight
/// configurations at once.
pub const CONTROL_READERS_MAX: usize = 8;

/// A configuration is read whole. Targets and LUNs at their limits, each LUN with the longest name
/// and in its longest form, take 32 MiB; the rest is for volumes and initiators.
pub const CONFIG_FILE_BYTES_MAX: u64 = 64 << 20;

/// Operations that are under way or wait. Nobody makes that many changes by hand, and a program
/// that does must wait for some of them.
pub const OPERATIONS_MAX: usize = 256;

/// Ended operations whose outcome can still be read: whoever follows one reads its outcome within
/// seconds.
pub const OPERATIONS_KEPT_MAX: usize = 256;

/// How long a control call is held back because what it began may end at once; then it is answered
/// with an operation to follow. The rest of the promised 100 ms is for the way.
pub const CONTROL_ANSWER_TIME: Duration = Duration::from_millis(50);

/// How long the sessions of a reactor are waited for that is too busy to report them at once: a
/// turn is far shorter.
pub const REPORT_TIME_MAX: Duration = Duration::from_secs(1);

/// How long one `operation.wait` is held back at most. A client that waits longer calls again, so
/// that one that has gone is noticed.
pub const OPERATION_WAIT_TIME_MAX: Duration = Duration::from_secs(5);
