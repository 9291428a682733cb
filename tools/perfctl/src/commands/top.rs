//! `perfctl top`: live statistics of the node, refreshed at each interval.

mod screen;
mod terminal;

use crate::client::{Client, KEEP_ALIVE_INTERVAL};
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use control_api::{StatsQuery, StatusQuery};
use screen::{Sort, View, screen};
use std::time::{Duration, Instant};
use terminal::{Heard, Terminal};

/// Refresh interval and sort order.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Refresh interval in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,
    /// Sort order of volumes; press s to change it
    #[arg(long, value_enum, default_value_t = Sort::Iops)]
    sort: Sort,
}

/// Refreshes the screen until q, Esc or Ctrl-C is pressed, or the connection closes.
pub(crate) fn run(args: &TopArgs, client: &mut Client, output: &Output) -> Result<(), Failure> {
    if output.is_json() || !Terminal::is_there() {
        return Err(Failure::Usage(
            "top requires a terminal; use `perfctl stats --watch`, with --json for \
             machine-readable output"
                .into(),
        ));
    }
    let interval = Duration::from_secs(args.interval.into());
    let mut sort = args.sort;
    // Before the terminal switches to the alternate screen, so that an error stays visible.
    let mut status = client.call(StatusQuery {})?;
    let mut stats = client.call(StatsQuery { since_last: true, ..StatsQuery::default() })?;
    let mut terminal = Terminal::enter().map_err(Failure::Terminal)?;
    let mut next = Instant::now() + interval;
    loop {
        let size = Terminal::size().map_err(Failure::Terminal)?;
        let view = View { status: &status, stats: &stats, sort };
        terminal.draw(&screen(&view, size)).map_err(Failure::Terminal)?;
        let until = next.min(Instant::now() + KEEP_ALIVE_INTERVAL);
        match Terminal::listen(until).map_err(Failure::Terminal)? {
            Heard::Nothing if Instant::now() < next => client.keep_alive()?,
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
