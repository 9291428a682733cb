//! An attack: threads that live one hostile life after the other.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use initiator::{Connection, Disk, Error, Login, Session};
use rustix::net::{bind, connect};

use super::lives::HostileLife;
use crate::daemon::Daemon;
use crate::process::tcp_socket;

/// How long an attack may take to begin on a slow machine.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a hostile initiator waits before it comes again.
const PAUSE: Duration = Duration::from_millis(50);

/// How long an initiator waits for an answer before its test fails.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A target, and the address from which an initiator comes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Portal to connect to.
    pub portal: SocketAddr,
    /// Name of the target.
    pub target: String,
    /// An address of loopback.
    pub from: Ipv4Addr,
}

impl Place {
    /// A target of a daemon, and 127.0.0.`last_byte`.
    pub fn new(daemon: &Daemon, target: &str, last_byte: u8) -> Self {
        Self {
            portal: daemon.portal(),
            target: format!("iqn.2026-11.local.pollux:{target}"),
            from: Ipv4Addr::new(127, 0, 0, last_byte),
        }
    }

    /// A connection from the address of the initiator.
    pub fn connect(&self) -> Result<Connection, Error> {
        let stream = tcp_socket()?;
        let address = SocketAddrV4::new(self.from, 0);
        bind(&stream, &address).map_err(std::io::Error::from)?;
        connect(&stream, &self.portal).map_err(std::io::Error::from)?;
        let mut connection = Connection::over(TcpStream::from(stream))?;
        connection.limit_waits(WAIT_MAX)?;
        Ok(connection)
    }

    /// The login of an initiator whose name says where it comes from.
    pub fn login(&self) -> Login {
        Login::normal(&self.target).as_initiator(&self.initiator_name())
    }

    /// The name of the initiator.
    pub fn initiator_name(&self) -> String {
        format!("iqn.2026-11.local.pollux:{}", self.from)
    }

    /// A session.
    pub fn session(&self) -> Result<Session, Error> {
        Session::login(self.connect()?, &self.login())
    }

    /// A disk of which no unit attention is pending.
    pub fn disk(&self, lun: u16) -> Result<Disk, Error> {
        Disk::open(self.session()?, lun)
    }
}

/// What the threads of an attack share.
#[derive(Debug, Default)]
pub struct Progress {
    is_over: AtomicBool,
    /// Threads whose attack has begun.
    begun: AtomicUsize,
}

impl Progress {
    /// Whether the attack is to end.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// An attack that goes on until it is dropped.
#[derive(Debug)]
pub struct Attack {
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Begins `count` hostile lives side by side, and waits until each holds what it wants.
    pub fn begin(count: usize, place: &Place, life: impl HostileLife) -> Self {
        let progress = Arc::new(Progress::default());
        let live = |_| {
            let (progress, place, life) = (Arc::clone(&progress), place.clone(), life.clone());
            std::thread::spawn(move || live_again_and_again(&progress, &place, &life))
        };
        let threads = (0..count).map(live).collect();
        let attack = Self { progress, threads };
        attack.wait_until_begun();
        attack
    }

    fn wait_until_begun(&self) {
        let until = Instant::now() + BEGIN_TIME_MAX;
        while self.progress.begun.load(Ordering::Relaxed) < self.threads.len() {
            // A target that refuses some of them defends itself, which is not what fails a test.
            if Instant::now() > until {
                println!("the target lets only a part of the attack begin");
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

fn live_again_and_again(progress: &Progress, place: &Place, life: &impl HostileLife) {
    let mut has_begun = false;
    while !progress.is_over() {
        let mut begins = || {
            if !std::mem::replace(&mut has_begun, true) {
                progress.begun.fetch_add(1, Ordering::Relaxed);
            }
        };
        // That the target refuses or ends it is its right: it comes again.
        let _ = life(place, progress, &mut begins);
        std::thread::park_timeout(PAUSE);
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.progress.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that has panicked has said why.
            let _ = thread.join();
        }
    }
}
