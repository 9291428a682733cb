//! `perfctl shutdown`.

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use control_api::Shutdown;

/// Asks and prints.
pub(crate) fn run(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    output.answer(&client.call(Shutdown {})?, |answer| {
        format!("the daemon ends; {} sessions are asked to log out", answer.sessions)
    })
}
