//! What a wire test talks to: a daemon of its own, or a target that runs already.

use std::net::SocketAddr;

use initiator::{Connection, Disk, Login, Session};

use crate::daemon::{Daemon, Setup};
use crate::dialogue::inquiry_is_answered;

/// Name of the target of the embedded default.
const DEMO_TARGET: &str = "iqn.2026-11.local.pollux:demo";

/// A target to test.
#[derive(Debug)]
pub struct Subject {
    /// Portal to connect to.
    pub portal: SocketAddr,
    /// Name of the target.
    pub target: String,
    /// LUN of a disk whose content does not matter.
    pub lun: u16,
    daemon: Option<Daemon>,
}

impl Subject {
    /// The target named in the environment, or the embedded default of a fresh daemon.
    pub fn start() -> Self {
        Self::from_environment().unwrap_or_else(|| Self::own(Setup::demo()))
    }

    /// A fresh daemon whatever the environment says, unless it names another target: then the
    /// test has nothing to do, and this prints so.
    pub fn start_own(setup: Setup) -> Option<Self> {
        if Self::from_environment().is_some() {
            println!("skipped: this fact is about polluxd, and E2E_PORTAL names another target");
            return None;
        }
        Some(Self::own(setup))
    }

    /// Whether the environment names another target, which tests of polluxd have nothing to say
    /// about.
    pub fn is_foreign() -> bool {
        Self::from_environment().is_some()
    }

    fn own(setup: Setup) -> Self {
        let daemon = setup.start();
        Self {
            portal: daemon.portal(),
            target: DEMO_TARGET.to_owned(),
            lun: 0,
            daemon: Some(daemon),
        }
    }

    fn from_environment() -> Option<Self> {
        let portal = std::env::var("E2E_PORTAL").ok()?;
        // A wrong setting must stop the run, not test something else.
        let portal = portal.parse().expect("E2E_PORTAL is an address and a port");
        let target = std::env::var("E2E_TARGET").unwrap_or_else(|_| DEMO_TARGET.to_owned());
        let lun = std::env::var("E2E_LUN").ok().and_then(|lun| lun.parse().ok()).unwrap_or(0);
        Some(Self { portal, target, lun, daemon: None })
    }

    /// The daemon, if the test owns it.
    pub fn daemon(&mut self) -> &mut Daemon {
        // Tests that need it have asked for it with `start_own`.
        self.daemon.as_mut().expect("this test has a daemon of its own")
    }

    /// Whether it is the daemon of this project, held to every word of the standard.
    pub fn is_own(&self) -> bool {
        self.daemon.is_some()
    }

    /// A connection without a login.
    pub fn connect(&self) -> Connection {
        Connection::open(self.portal).unwrap_or_else(|error| panic!("cannot connect: {error}"))
    }

    /// The login that most tests use.
    pub fn login(&self) -> Login {
        Login::normal(&self.target)
    }

    /// A session with the usual login.
    pub fn session(&self) -> Session {
        self.session_with(&self.login())
    }

    /// A session with a login of the test's own.
    pub fn session_with(&self, login: &Login) -> Session {
        Session::open(self.portal, login).unwrap_or_else(|error| panic!("cannot log in: {error}"))
    }

    /// The disk in a session with the usual login; no unit attention waits for it.
    pub fn disk(&self) -> Disk {
        self.disk_with(&self.login())
    }

    /// The disk in a session with a login of the test's own.
    pub fn disk_with(&self, login: &Login) -> Disk {
        Disk::open(self.session_with(login), self.lun)
            .unwrap_or_else(|error| panic!("the disk does not answer: {error}"))
    }

    /// Asserts that a newcomer is served and that the session ends as it should.
    pub fn assert_serves(&self) {
        let mut disk = self.disk();
        inquiry_is_answered(disk.session(), self.lun);
        self.finish(disk.into_session());
    }

    /// Logs out, and asserts that the target kept to the standard all the time.
    pub fn finish(&self, mut session: Session) {
        let response = session.logout().unwrap_or_else(|error| panic!("cannot log out: {error}"));
        assert_eq!(response, 0, "the response to the logout");
        settle(&session, self.is_own());
    }
}

/// Asserts that a session saw no breach of the standard; of a foreign target it prints them.
pub fn settle(session: &Session, is_own: bool) {
    for violation in session.violations() {
        println!("breach: {violation}");
    }
    assert!(session.violations().is_empty() || !is_own, "the target broke the standard");
}
