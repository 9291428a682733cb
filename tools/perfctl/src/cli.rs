//! What can be typed.

use crate::commands::{
    apply, bench, operation, session, shutdown, stats, status, target, top, volume,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Ask a running Pollux daemon, or tell it what to do.
#[derive(Debug, Parser)]
#[command(name = "perfctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the daemon said no, 2 the command line makes no \
                          sense, 3 no daemon could be reached";

/// How to reach the daemon, and how to print its answer.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The daemon's control socket [default: control.sock in the state directory of a daemon
    /// of this user]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) control: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print the number of an operation that takes longer, instead of waiting for its end
    #[arg(long, global = true)]
    pub(crate) no_wait: bool,
}

/// The subcommands, one file each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show IOPS, bandwidth and latency by volume, operation and stage
    Stats(stats::StatsArgs),
    /// Watch reactors and volumes on the terminal, as top does with processes
    Top(top::TopArgs),
    /// Measure a LUN of the running daemon: makes load as an initiator on this machine does
    Bench(Box<bench::BenchArgs>),
    /// Show how the daemon runs
    Status,
    /// List, create and delete volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// List, create and delete targets, and map volumes to their LUNs
    #[command(subcommand)]
    Target(target::TargetCommand),
    /// List operations, and wait for them
    #[command(subcommand)]
    Operation(operation::OperationCommand),
    /// List and drop sessions
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Check a configuration and make the daemon follow it
    Apply(apply::ApplyArgs),
    /// End the daemon as SIGTERM does: sessions are asked to log out first
    Shutdown,
}

impl Command {
    /// Runs the command over a connection.
    pub(crate) fn run(
        self,
        client: &mut crate::client::Client,
        output: &mut crate::output::Output,
    ) -> Result<(), crate::failure::Failure> {
        match self {
            Self::Stats(args) => stats::run(&args, client, output),
            Self::Bench(args) => bench::run(&args, client, output),
            Self::Top(args) => top::run(&args, client, output),
            Self::Status => status::run(client, output),
            Self::Volume(command) => volume::run(command, client, output),
            Self::Target(command) => target::run(command, client, output),
            Self::Operation(command) => operation::run(command, client, output),
            Self::Session(command) => session::run(command, client, output),
            Self::Apply(args) => apply::run(args, client, output),
            Self::Shutdown => shutdown::run(client, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
