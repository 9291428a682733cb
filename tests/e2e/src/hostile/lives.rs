//! What hostile initiators do, from their login until the target ends them or the attack is over.

use std::time::{Duration, Instant};

use initiator::pdu::{self, TAG_NONE, opcode};
use initiator::{Command, Connection, Disk, Error, Login, Session, cdb};

use super::attack::{Place, Progress};

/// One life of a hostile initiator: it calls `begins` once it holds what it wants.
pub trait HostileLife:
    Fn(&Place, &Progress, &mut dyn FnMut()) -> Result<(), Error> + Clone + Send + 'static
{
}

impl<F> HostileLife for F where
    F: Fn(&Place, &Progress, &mut dyn FnMut()) -> Result<(), Error> + Clone + Send + 'static
{
}

/// Bytes of the transfers of hostile initiators.
const TRANSFER_BYTES: u32 = 1 << 20;

/// The longest list that the target takes.
const LIST_BYTES: u16 = 8192;

/// A hostile initiator that the target lets alone comes again after this time: a host that is
/// reset every now and then.
const LIFE_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a life looks whether the attack is over.
const LOOK: Duration = Duration::from_millis(1000 / LOOKS_PER_SECOND as u64);
const LOOKS_PER_SECOND: usize = 10;

/// Sends so many READs of 1 MiB, and reads nothing.
pub fn reads_never_read(count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut connection = send_reads(place, count)?;
        begins();
        hold(&mut connection, progress, LIFE_TIME_MAX, |_| Ok(()))
    }
}

/// Sends so many READs of 1 MiB, and reads so many bytes each second for as long as it may.
pub fn reads_at(bytes_per_second: usize, count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut connection = send_reads(place, count)?;
        begins();
        hold(&mut connection, progress, Duration::MAX, |connection| {
            connection.discard(bytes_per_second / LOOKS_PER_SECOND).map(drop)
        })
    }
}

/// Has so many READs of 1 MiB under way, as far as the window allows, and reads what comes: an
/// honest host, as slow as its link.
pub fn reads_as_they_come(count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut disk = place.disk(0)?;
        let blocks = TRANSFER_BYTES / disk.block_bytes();
        let mut has_read = 0_u64;
        while !progress.is_over() {
            while disk.session().outstanding() < count && disk.session().window_is_open() {
                let command = disk.read_command(0, blocks);
                disk.session().submit(command)?;
            }
            let (_, answer) = disk.session().collect_any()?;
            assert!(answer.is_good(), "a read of a slow host: {answer:?}");
            has_read += 1;
            if has_read == count as u64 {
                begins();
            }
        }
        println!("the slow host has read {has_read} MiB");
        Ok(())
    }
}

/// Sends WRITEs of 1 MiB as long as the window is open, up to so many at a time, and none of their
/// data. It answers pings, so that nothing but the data is missing.
pub fn writes_without_data(count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut disk = place.disk(0)?;
        let (lun, blocks) = (disk.lun(), TRANSFER_BYTES / disk.block_bytes());
        let session = disk.session();
        let cdb = cdb::write_16(0, blocks);
        let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
        let mut open = 0;
        loop {
            while open < count && session.window_is_open() {
                let tag = session.new_tag();
                let write = pdu::scsi_command(flags, lun, TRANSFER_BYTES, &cdb);
                session.send(write.with_u32(16, tag))?;
                open += 1;
            }
            begins();
            if progress.is_over() {
                return Ok(());
            }
            open -= usize::from(open > 0 && hear(session)?);
        }
    }
}

/// Takes what the target sends, for a moment; returns whether a command has ended.
fn hear(session: &mut Session) -> Result<bool, Error> {
    session.connection().limit_waits(LOOK)?;
    let pdu = match session.receive() {
        Ok(pdu) => pdu,
        Err(error) if error.is_timeout() => return Ok(false),
        Err(error) => return Err(error),
    };
    let asks = pdu.initiator_task_tag() == TAG_NONE && pdu.target_transfer_tag() != TAG_NONE;
    if pdu.opcode() == opcode::NOP_IN && asks {
        let tag = pdu.target_transfer_tag();
        session.send(pdu::nop_out(TAG_NONE, &[]).immediate().with_u32(20, tag))?;
    }
    Ok(pdu.opcode() == opcode::SCSI_RESPONSE)
}

/// Opens so many discovery sessions, and opens those again that the target ends.
pub fn discovery_sessions(count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let login = Login::discovery().as_initiator(&place.initiator_name());
        let mut sessions = Vec::new();
        let mut attempts = 0;
        while !progress.is_over() {
            if sessions.len() < count {
                attempts += 1;
                match open_soon(place, &login) {
                    Ok(session) => sessions.push(session),
                    Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
                }
            } else {
                std::thread::park_timeout(LOOK);
            }
            if attempts >= count {
                begins();
                // Those that the target has ended are opened again.
                sessions.retain_mut(|session: &mut Session| {
                    session.connection().is_ended().is_ok_and(|ended| !ended)
                });
            }
        }
        Ok(())
    }
}

fn open_soon(place: &Place, login: &Login) -> Result<Session, Error> {
    let mut connection = place.connect()?;
    connection.limit_waits(Duration::from_secs(1))?;
    Session::login(connection, login)
}

/// Sends so many WRITEs of 4 KiB with their data to a disk that does not answer.
pub fn writes_held(lun: u16, count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut disk = place.disk(lun)?;
        let block_bytes = u64::from(disk.block_bytes());
        for index in 0..count as u64 {
            let lba = index * 4096 / block_bytes;
            let write = disk.write_command(lba, &[0x5a; 4096], false);
            disk.session().submit(write.without_unsolicited_data())?;
        }
        begins();
        let session = disk.session();
        while !progress.is_over() {
            hear(session)?;
        }
        Ok(())
    }
}

/// Sends so many WRITEs of 256 KiB with their data to a disk that does not answer, as far as they
/// are taken. Then it comes again at once, or stays.
pub fn large_writes_held(count: usize, comes_again: bool) -> impl HostileLife {
    move |place, progress, begins| {
        let mut disk = disk_for_large_data(place)?;
        let block_bytes = u64::from(disk.block_bytes());
        disk.session().connection().limit_waits(LOOK)?;
        for index in 0..count as u64 {
            let write = disk.write_command(index * 262_144 / block_bytes, &DATA, false);
            match disk.session().submit(write) {
                Ok(_) => {}
                Err(error) if error.is_timeout() => break,
                Err(error) => return Err(error),
            }
        }
        begins();
        let time_max = if comes_again { LOOK } else { LIFE_TIME_MAX };
        hold(disk.session().connection(), progress, time_max, |_| Ok(()))
    }
}

/// A disk to which 256 KiB go with a command.
fn disk_for_large_data(place: &Place) -> Result<Disk, Error> {
    let login = place.login().key("FirstBurstLength", "262144");
    Disk::open(Session::login(place.connect()?, &login)?, 0)
}

/// What is written in one piece.
static DATA: [u8; 262_144] = [0x5a; 262_144];

/// Sends one WRITE of 256 KiB and its data, so many bytes each second.
pub fn write_at(bytes_per_second: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut disk = disk_for_large_data(place)?;
        let write = disk.write_command(0, &DATA, false);
        let (_, bytes) = disk.session().submit_later(write);
        let mut connection = disk.into_session().into_connection();
        begins();
        let mut pieces = bytes.chunks(bytes_per_second / LOOKS_PER_SECOND);
        hold(&mut connection, progress, Duration::MAX, |connection| {
            pieces.next().map_or(Err(Error::Closed), |piece| connection.send_bytes(piece))
        })
    }
}

/// Sends pings with data for as long as the target takes them, and reads no answer.
pub fn pings_never_read(data_bytes: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut session = place.session()?;
        session.connection().limit_waits(LOOK)?;
        let data = vec![0x5a; data_bytes];
        loop {
            let tag = session.new_tag();
            match session.send(pdu::nop_out(tag, &data).immediate()) {
                Ok(()) if progress.is_over() => return Ok(()),
                Ok(()) => {}
                Err(error) if error.is_timeout() => break,
                Err(error) => return Err(error),
            }
        }
        begins();
        hold(session.connection(), progress, LIFE_TIME_MAX, |_| Ok(()))
    }
}

/// Sends so many UNMAPs, each without the last bytes of its list, and a ping of 256 KiB that lacks
/// its last byte.
pub fn requests_cut_short(count: usize) -> impl HostileLife {
    move |place, progress, begins| {
        let mut disk = place.disk(0)?;
        let lun = disk.lun();
        let session = disk.session();
        let flags = pdu::FINAL | pdu::WRITE | pdu::SIMPLE;
        for _ in 0..count {
            let tag = session.new_tag();
            let unmap = pdu::scsi_command(flags, lun, LIST_BYTES.into(), &cdb::unmap(LIST_BYTES));
            session.send(unmap.with_u32(16, tag).with_data(&[0; LIST_BYTES as usize - 4]))?;
        }
        let ping = pdu::nop_out(session.new_tag(), &[0x5a; 256 << 10]).immediate();
        let mut connection = disk.into_session().into_connection();
        let bytes = ping.encode(connection.digests());
        connection.send_bytes(&bytes[..bytes.len() - 1])?;
        begins();
        hold(&mut connection, progress, LIFE_TIME_MAX, |_| Ok(()))
    }
}

fn send_reads(place: &Place, count: usize) -> Result<Connection, Error> {
    let mut disk = place.disk(0)?;
    let blocks = TRANSFER_BYTES / disk.block_bytes();
    let mut requests = Vec::new();
    for _ in 0..count {
        let command = Command::read(disk.lun(), cdb::read_16(0, blocks), TRANSFER_BYTES);
        let (_, bytes) = disk.session().submit_later(command);
        requests.extend_from_slice(&bytes);
    }
    let mut connection = disk.into_session().into_connection();
    connection.send_bytes(&requests)?;
    Ok(connection)
}

/// Keeps a connection until the target resets it or the attack is over.
fn hold(
    connection: &mut Connection,
    progress: &Progress,
    time_max: Duration,
    mut each_look: impl FnMut(&mut Connection) -> Result<(), Error>,
) -> Result<(), Error> {
    let begin = Instant::now();
    while !progress.is_over() && begin.elapsed() < time_max {
        each_look(connection)?;
        if connection.is_ended()? {
            return Err(Error::Closed);
        }
        std::thread::park_timeout(LOOK);
    }
    Ok(())
}
