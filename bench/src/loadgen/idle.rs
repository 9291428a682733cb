//! Sessions without commands: they are logged in, and answer the target's pings.

use super::login::Session;
use super::options::Options;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::time::Instant;

/// What is printed once all are logged in.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct IdleReport {
    /// Sessions.
    pub sessions: u16,
    /// How long their logins took, one after the other.
    pub seconds: f64,
}

/// Logs in, prints an [`IdleReport`] as JSON, and keeps the sessions until standard input ends.
pub fn hold(options: &Options, sessions: u16) -> Result<()> {
    if let Some(core) = options.core {
        uring::affinity::pin_current_thread(core)?;
    }
    uring::limits::raise_open_files();
    let begin = Instant::now();
    let mut held = (0..sessions)
        .map(|number| Session::open(options, number))
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("not all of {sessions} sessions can be had"))?;
    let report = IdleReport { sessions, seconds: begin.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&report)?);
    std::io::stdout().flush()?;
    loop {
        let input = std::io::stdin();
        let mut waiting: Vec<PollFd<'_>> = held
            .iter()
            .map(|session| PollFd::new(&session.stream, PollFlags::IN))
            .chain([PollFd::new(&input, PollFlags::IN)])
            .collect();
        match poll(&mut waiting, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.context("cannot wait for pings")?,
        };
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        drop(waiting);
        // Standard input is the last one.
        if ready.last() == Some(&true) && input.lock().fill_buf()?.is_empty() {
            return Ok(());
        }
        for (session, _) in held.iter_mut().zip(ready).filter(|(_, is_ready)| *is_ready) {
            session.answer_ping().context("an idle session")?;
        }
    }
}
