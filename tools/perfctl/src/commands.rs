//! The subcommands. Each sends its requests and formats the results.

pub(crate) mod apply;
pub(crate) mod bench;
pub(crate) mod operation;
pub(crate) mod session;
pub(crate) mod shutdown;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod top;
pub(crate) mod volume;

use crate::cli::Cli;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use control_api::Started;
use std::path::Path;

/// Connects and runs the command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let mut output = Output::new(cli.connection.json);
    let socket = match cli.connection.control {
        Some(socket) => socket,
        None => Client::default_socket()?,
    };
    let mut client = Client::connect(&socket)?.waiting(!cli.connection.no_wait);
    match cli.command.run(&mut client, &mut output) {
        Err(Failure::GoesOn(id)) => output.answer(&Started { operation: id }, |started| {
            let id = started.operation;
            format!(
                "operation {id} is in progress; run \"perfctl operation wait {id}\" to wait for it"
            )
        }),
        ran => ran,
    }
}

/// An absolute path: the daemon's working directory differs from ours.
fn absolute(path: &Path) -> Result<String, Failure> {
    let usage = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    let absolute = std::path::absolute(path).map_err(|e| usage(e.to_string()))?;
    match absolute.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(usage("the path is not valid UTF-8".into())),
    }
}

/// LUNs as a list: `iqn.2026-11.org.example:a LUN 0`.
fn lun_names(luns: &[control_api::LunName]) -> String {
    let names: Vec<_> = luns.iter().map(|l| format!("{} LUN {}", l.target, l.lun)).collect();
    if names.is_empty() { "-".into() } else { names.join(", ") }
}
