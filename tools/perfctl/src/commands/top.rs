//! `perfctl top`: what the node does right now, drawn anew at each interval.

mod screen;
mod terminal;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use control_api::{StatsQuery, StatusQuery};
use screen::{Sort, View, screen};
use std::time::{Duration, Instant};
use terminal::{Heard, Terminal};

/// How the view is drawn.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Seconds between two pictures
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,
    /// What the volumes are sorted by; the key s changes it
    #[arg(long, value_enum, default_value_t = Sort::Iops)]
    sort: Sort,
}

/// Draws until q, Esc or Ctrl-C is pressed, or the daemon ends.
pub(crate) fn run(args: &TopArgs, client: &mut Client, output: &Output) -> Result<(), Failure> {
    if output.is_json() || !Terminal::is_there() {
        return Err(Failure::Usage(
            "top draws on a terminal, and the output is none; use `perfctl stats --watch`, for \
             programs with --json"
                .into(),
        ));
    }
    let interval = Duration::from_secs(args.interval.into());
    let mut sort = args.sort;
    // Asked before the screen is taken, so that what a daemon that is not there means for the
    // user stays to be read.
    let mut status = client.call(StatusQuery {})?;
    let mut stats = client.call(StatsQuery { since_last: true, ..StatsQuery::default() })?;
    let mut terminal = Terminal::enter().map_err(Failure::Terminal)?;
    let mut next = Instant::now() + interval;
    loop {
        let size = Terminal::size().map_err(Failure::Terminal)?;
        let view = View { status: &status, stats: &stats, sort };
        terminal.draw(&screen(&view, size)).map_err(Failure::Terminal)?;
        match Terminal::listen(next).map_err(Failure::Terminal)? {
            Heard::Nothing => {
                status = client.call(StatusQuery {})?;
                stats = client.call(StatsQuery { since_last: true, ..StatsQuery::default() })?;
                next = Instant::now() + interval;
            }
            Heard::Quit => return Ok(()),
            Heard::Resized => {}
            Heard::Sort => sort = sort.next(),
        }
    }
}
