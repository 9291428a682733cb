//! Command-line arguments.

use crate::commands::{
    apply, bench, operation, session, shutdown, stats, status, target, top, volume,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Manage and monitor a running polluxd
#[derive(Debug, Parser)]
#[command(name = "perfctl", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 request rejected or failed, 2 usage error, \
                          3 polluxd not reachable";

/// The heading of the options that every command has.
const GLOBAL: &str = "Global options";

/// Connection and output options.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// Control socket of polluxd [default: control.sock in /var/lib/pollux for root, in
    /// ~/.local/state/pollux for other users]
    #[arg(long, value_name = "PATH", global = true, help_heading = GLOBAL)]
    pub(crate) control: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Do not wait for the end of an operation that takes long: print its number, for "perfctl
    /// operation"
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) no_wait: bool,
}

/// The subcommands, one file each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show IOPS, bandwidth, latency and errors by volume, since startup or per interval
    Stats(stats::StatsArgs),
    /// Monitor reactors and volumes on the terminal, similar to top(1)
    Top(top::TopArgs),
    /// Benchmark a LUN of the running daemon with an initiator on this machine
    Bench(Box<bench::BenchArgs>),
    /// Show version, configuration, portals, volumes and warnings
    Status,
    /// List, create and delete volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// List, create, change and delete targets, and map volumes to their LUNs
    #[command(subcommand)]
    Target(target::TargetCommand),
    /// List, show, wait for and cancel operations
    #[command(subcommand)]
    Operation(operation::OperationCommand),
    /// List and drop sessions
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Check a configuration file and apply its changes
    Apply(apply::ApplyArgs),
    /// Make polluxd read its configuration file again, as SIGHUP does, and wait for the result
    Reload,
    /// Shut polluxd down gracefully, as SIGTERM does: initiators are asked to log out first
    Shutdown,
}

impl Command {
    /// Runs the command on a connection.
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
            Self::Reload => apply::reload(client, output),
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
